"""Rows of a data set: a file of rows, or a Hugging Face data set.

In: where the rows are, and optionally the digest they must have. Out: a list of dictionaries and their digest. The
digest becomes part of the task's name, so a certificate says which data it was about, and a task whose name carries the
digest can grade without having the file.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from spiritsafe.core.canonical import canonical_json, digest_bytes
from spiritsafe.core.errors import SourceError, TaskError
from spiritsafe.core.files.tables import ENDINGS, RowFile
from spiritsafe.tasks.families.locations import files_of

_DIGEST_CHARACTERS = 32
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def is_hub_name(location: str) -> bool:
    """True for ``org/name`` where no such file exists and no data file's ending is given."""
    return bool(_HUB_NAME.fullmatch(location)) and not location.endswith(ENDINGS) and not Path(location).exists()


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:_DIGEST_CHARACTERS]


@final
class DataSource:
    """Where rows come from; reads them once, when first needed.

    Args:
        location: Of files (:mod:`spiritsafe.tasks.families.locations`) as :mod:`spiritsafe.core.files.tables` reads
            them, or ``org/name`` of a Hugging Face data set.
        sha256: The first 32 hex digits of the digest that the data must have; empty to accept what is there.
        config: Configuration of a Hugging Face data set; empty for its default.
        split: Split of a Hugging Face data set.
    """

    def __init__(self, location: str, *, sha256: str = "", config: str = "", split: str = "train") -> None:
        self.location = location
        self._expected = sha256
        self._config = config
        self._split = split
        self._rows: list[Mapping[str, Any]] | None = None
        self._tables: list[tuple[str, int]] = []  # the names of files and where in the rows theirs begin
        self._digest = sha256

    def digest(self) -> str:
        """The first 32 hex digits of the data's SHA-256; reads the data only when no digest was given.

        Raises:
            SourceError: The data cannot be read.
        """
        if not self._digest:
            self.rows()
        return self._digest

    def rows(self) -> list[Mapping[str, Any]]:
        """All rows.

        Raises:
            SourceError: The data cannot be read.
            TaskError: It has another digest than the name says, or a row is not an object.
        """
        if self._rows is None:
            rows, found = self._load()
            if self._expected and found != self._expected:
                raise TaskError(
                    f"{self.location} is not the data that the task names: digest {found}, not {self._expected}.",
                    hint="Use the original file, or take sha256 out of the spec to name the new data.",
                )
            for index, row in enumerate(rows):
                if not isinstance(row, Mapping):
                    raise TaskError(
                        f"{self.place(index)}: not an object.", hint='Each line must be like {"question": …}.'
                    )
            self._rows, self._digest = rows, found
        return self._rows

    def tables(self) -> list[tuple[str, range]]:
        """The names of the files and which of :meth:`rows` are theirs.

        Raises:
            SourceError: As :meth:`rows`.
            TaskError: As :meth:`rows`.
        """
        num_rows = len(self.rows())
        ends = [*(start for _, start in self._tables[1:]), num_rows]
        return [(name, range(start, end)) for (name, start), end in zip(self._tables, ends, strict=True)]

    def place(self, index: int) -> str:
        """Where a row stands, for errors: its file and its number there."""
        name, start = next(table for table in reversed(self._tables) if table[1] <= index)
        return f"{name}, row {index - start + 1}"

    def _load(self) -> tuple[list[Any], str]:
        self._tables = [(self.location, 0)]
        if is_hub_name(self.location):
            rows = self._load_hub()
            return rows, _short(
                digest_bytes(b"\n".join(canonical_json(json.loads(json.dumps(row, default=str))) for row in rows))
            )
        paths = files_of(self.location)
        if len(paths) == 1:
            file = RowFile(paths[0])
            return list(file.rows()), _short(file.digest)
        rows, digests, self._tables = [], [], []
        for path in paths:
            file = RowFile(path)
            self._tables.append((str(path), len(rows)))
            rows += file.rows()
            digests.append(file.digest)
        return rows, _short(digest_bytes("\n".join(digests).encode()))

    def _load_hub(self) -> list[Any]:
        ways = {"datasets": self._by_datasets, "huggingface_hub": self._by_hub}
        load = next((way for library, way in ways.items() if importlib.util.find_spec(library)), None)
        if load is None:
            raise TaskError(
                f"{self.location} is no file here, and reading it from Hugging Face needs the package datasets.",
                hint="Run `pip install datasets`, or download the data as a JSON-lines file and give its path.",
            )
        try:
            return load()
        except (OSError, ValueError, RuntimeError) as error:
            raise SourceError(
                f"The data set {self.location} cannot be loaded: {error}.",
                hint="Check its name, config= and split=, and the network; or give the path of a JSON-lines file.",
            ) from error

    def _by_datasets(self) -> list[Any]:
        datasets: Any = importlib.import_module("datasets")
        return [dict(row) for row in datasets.load_dataset(self.location, self._config or None, split=self._split)]

    def _by_hub(self) -> list[Any]:
        """The Parquet files that the hub makes of every public data set, as ``CONFIG/SPLIT/NUMBER.parquet``."""
        hub: Any = importlib.import_module("huggingface_hub")
        place = {"repo_type": "dataset", "revision": "refs/convert/parquet"}
        names = sorted(name for name in hub.list_repo_files(self.location, **place) if name.endswith(".parquet"))
        configs = sorted({name.split("/")[0] for name in names})
        config = self._config or ("default" if "default" in configs else configs[0] if len(configs) == 1 else "")
        chosen = [name for name in names if name.startswith(f"{config}/{self._split}/")]
        if not chosen:
            there = ", ".join(sorted({"/".join(name.split("/")[:2]) for name in names})) or "nothing"
            raise ValueError(f"it has no {config or 'single configuration'}/{self._split}; there is {there}")
        files = [RowFile(Path(hub.hf_hub_download(self.location, name, **place))) for name in chosen]
        return [row for file in files for row in file.rows()]
