"""Rows of a data set: of files, of a folder laid out as the hub's sets are, or of a set of the hub.

In: where the rows are, and optionally the digest they must have. Out: the rows, one after the other, each with the
place that errors name, and the digest of all of them. Files are read, and fetched, when their rows are wanted: who
takes the first hundred rows has read one file. The digest becomes part of a task's name, so a certificate says which
data it was about, and a task whose name carries the digest can grade without having the data.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any, final

from spiritsafe.core.canonical import digest_bytes
from spiritsafe.core.errors import IntegrityError, TaskError
from spiritsafe.core.files.digests import digest_file
from spiritsafe.core.files.reading import read_bytes
from spiritsafe.core.files.tables import ENDINGS, RowFile
from spiritsafe.tasks.data.hub import CONVERTED, HubSet
from spiritsafe.tasks.data.layout import Chosen, choose_files, has_configs, is_data_file, loose_files
from spiritsafe.tasks.data.locations import files_of, names_in, names_several
from spiritsafe.tasks.data.published import published_as, published_file

_DIGEST_CHARACTERS = 32
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_MOST_CARD_BYTES = 4 << 20
_CARD = "README.md"


def is_hub_name(location: str) -> bool:
    """True for ``org/name`` where nothing of that name is here and no data file's ending is given."""
    return bool(_HUB_NAME.fullmatch(location)) and not location.endswith(ENDINGS) and not Path(location).exists()


def is_set(location: str) -> bool:
    """True where there may be several splits: a set of the hub, or a folder."""
    return is_hub_name(location) or Path(location).is_dir()


@final
@dataclass(frozen=True, slots=True)
class _Part:
    """One file: what errors call it, what fetches it and says where it is; its name in which set, if it is of one."""

    place: str
    path: Callable[[], Path]
    name: str = ""
    hub: HubSet | None = None

    def digest(self) -> str:
        known = self.hub.digests[self.name] if self.hub is not None else ""
        if known:
            return known
        found = digest_file(self.path())
        self.hold(found)
        return found

    def hold(self, digest: str) -> None:
        """Hold a file of the hub to what is known of it."""
        if self.hub is not None:
            self.hub.hold(self.name, digest, self.path())

    def check_rows(self, num_rows: int) -> None:
        """Hold the number of its rows to what is on record."""
        known = published_file(self.hub.name, self.hub.commit, self.name) if self.hub is not None else None
        if known is not None and num_rows != known.rows:
            raise IntegrityError(
                f"{self.place} has {num_rows:,} rows; on record are {known.rows:,}.",
                hint=f"Delete {self.path()} and run the same command again.",
            )


@final
class DataSource:
    """Where rows come from; nothing is opened before it is needed.

    Args:
        location: Of files (:mod:`spiritsafe.tasks.data.locations`) as :mod:`spiritsafe.core.files.tables` reads them; a
            folder; or ``org/name`` of a set of the Hugging Face hub. Of folder and set,
            :mod:`spiritsafe.tasks.data.layout` says which files are read.
        sha256: The first 32 hex digits of the digest that the data must have; empty to accept what is there.
        config: Configuration of a set; empty for the only or default one.
        split: Split of a set; empty for ``train``, or the only one.
        revision: Branch, tag or commit of a set of the hub; empty for the default branch.
    """

    def __init__(
        self, location: str, *, sha256: str = "", config: str = "", split: str = "", revision: str = ""
    ) -> None:
        self.location = location
        self.config, self.split, self.revision = config, split, revision
        self._expected = sha256
        self._digest = sha256
        self._parts: list[_Part] | None = None
        self._rows: list[Mapping[str, Any]] | None = None
        self._ends: list[int] = []  # of each file's rows among all
        given = [knob for knob, value in (("config", config), ("split", split), ("revision", revision)) if value]
        several = names_several(location)
        if given and (several or location.endswith(ENDINGS) or Path(location).is_file()):
            raise TaskError(
                f"{location} {'are files' if several else 'is a file'}, so "
                f"{', '.join(f'{knob}=' for knob in given)} cannot take effect.",
                hint="Take them out of the spec, or give a folder or a set of the hub.",
            )
        if revision and Path(location).is_dir():
            raise TaskError(
                f"{location} is a folder, so revision= cannot take effect.", hint="Take it out of the spec."
            )

    def digest(self) -> str:
        """The first 32 hex digits of the data's SHA-256; looks at the data only when no digest was given.

        Of one file it is the file's own; of several, that of theirs in order. A set of the hub has its digest from the
        hub, so that the same files in a folder have the same. Afterwards :attr:`config`, :attr:`split` and
        :attr:`revision` say what was chosen, a revision by its commit.

        Raises:
            SourceError: The data cannot be read.
            TaskError: There is no such split.
        """
        if not self._digest:
            self._digest = _digest_of([part.digest() for part in self._files()])
        return self._digest

    def stream(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """The rows in order, each behind its place for errors: ``data/train-00000-of-00002.parquet, row 3``.

        Raises:
            SourceError: The data cannot be read.
            IntegrityError: A file of the hub is not the one on record.
            TaskError: The data has another digest than was asked for, or a row is not an object.
        """
        if self._expected:
            self._check(_digest_of([part.digest() for part in self._files()]))
        for part in self._files():
            for number, row in enumerate(self._read(part), start=1):
                yield f"{part.place}, row {number}", row

    def heads(self, count: int) -> list[Mapping[str, Any]]:
        """The first rows of each file; of a set of the hub, of it as a whole, so that no more is fetched.

        Raises:
            SourceError: The data cannot be read.
            TaskError: A row is not an object.
        """
        if is_hub_name(self.location):
            return [row for _, row in islice(self.stream(), count)]
        return list(chain.from_iterable(islice(self._read(part), count) for part in self._files()))

    def rows(self) -> list[Mapping[str, Any]]:
        """All rows, kept in memory.

        Raises:
            SourceError: The data cannot be read.
            IntegrityError: A file of the hub is not the one on record.
            TaskError: It has another digest than the name says, or a row is not an object.
        """
        if self._rows is None:
            rows: list[Mapping[str, Any]] = []
            ends: list[int] = []
            digests: list[str] = []
            for part in self._files():
                rows.extend(self._read(part, digests))
                ends.append(len(rows))
            found = _digest_of(digests)
            self._check(found)
            self._rows, self._ends, self._digest = rows, ends, found
        return self._rows

    def published(self) -> tuple[str, str] | None:
        """The set, and the file of it, that the data are, digest for digest; None if they are not on record.

        Raises:
            SourceError: No digest was given, and the data cannot be read.
        """
        return published_as(self.digest())

    def place(self, index: int) -> str:
        """What errors call a row of :meth:`rows`, by its index."""
        part = bisect.bisect_right(self._ends, index)
        return f"{self._files()[part].place}, row {index - (self._ends[part - 1] if part else 0) + 1}"

    def tables(self) -> list[tuple[str, range]]:
        """What errors call the files, and which of :meth:`rows` are theirs.

        Raises:
            SourceError: As :meth:`rows`.
            TaskError: As :meth:`rows`.
        """
        self.rows()
        starts = [0, *self._ends]
        return [(part.place, range(*ends)) for part, ends in zip(self._files(), pairwise(starts), strict=True)]

    def _check(self, found: str) -> None:
        if self._expected and found != self._expected:
            raise TaskError(
                f"{self.location} is not the data that the task names: digest {found}, not {self._expected}.",
                hint="Use the original data, or take sha256 out of the spec to name the new.",
            )

    def _read(self, part: _Part, digests: list[str] | None = None) -> Iterator[Mapping[str, Any]]:
        """A file's rows; at its end, its digest is put into ``digests``."""
        file, number = RowFile(part.path()), 0
        for number, row in enumerate(file.rows(), start=1):
            if not isinstance(row, Mapping):
                raise TaskError(
                    f"{part.place}, row {number}: not an object.", hint='Each line must be like {"question": …}.'
                )
            yield row
        part.hold(file.digest)
        part.check_rows(number)
        if digests is not None:
            digests.append(file.digest)

    def _files(self) -> list[_Part]:
        if self._parts is None:
            path = Path(self.location)
            if is_hub_name(self.location):
                self._parts = self._of_hub()
            elif path.is_dir():
                self._parts = self._of_folder(path)
            else:
                self._parts = [_Part(place=str(path), path=partial(Path, path)) for path in files_of(self.location)]
        return self._parts

    def _of_folder(self, folder: Path) -> list[_Part]:
        names = names_in(folder)
        card = _card(folder / _CARD) if _CARD in names else ""
        if loose := loose_files(names, card) if not (self.config or self.split) else ():
            raise TaskError(
                f"{folder} is not laid out as a set of the hub: of which split is {loose[0]}?",
                hint=f"Write {folder}/** for all files in it; or name a split by split=.",
            )
        chosen = self._choose(names, card)
        return [_Part(place=str(folder / name), path=partial(Path, folder / name)) for name in chosen.files]

    def _of_hub(self) -> list[_Part]:
        hub = HubSet(self.location, self.revision)
        names, revision = hub.names(), hub.commit
        card = _card(hub.path(_CARD)) if _CARD in names else ""
        script = f"{self.location.partition('/')[2]}.py"
        has_rows = has_configs(card) or (script not in names and any(map(is_data_file, names)))
        if not has_rows and not self.revision:  # other kinds of files, or rows that only its program finds
            hub = HubSet(self.location, CONVERTED, hint=f"It has no files of rows ({', '.join(ENDINGS)}) either.")
            names, card, revision = hub.names(), "", CONVERTED
        chosen = self._choose(names, card)
        self.revision = revision
        return [
            _Part(place=f"{self.location}/{name}", path=partial(hub.path, name), name=name, hub=hub)
            for name in chosen.files
        ]

    def _choose(self, names: Sequence[str], card: str) -> Chosen:
        chosen = choose_files(names, card, place=self.location, config=self.config, split=self.split)
        self.config, self.split = chosen.config, chosen.split
        return chosen


def _card(path: Path) -> str:
    return read_bytes(path, most_bytes=_MOST_CARD_BYTES).decode("utf-8", "replace")


def _digest_of(digests: Sequence[str]) -> str:
    whole = digests[0] if len(digests) == 1 else digest_bytes("\n".join(digests).encode())
    return whole.removeprefix("sha256:")[:_DIGEST_CHARACTERS]
