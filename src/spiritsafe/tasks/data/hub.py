"""Data sets of the Hugging Face hub: which files one has at a commit, their digests, and the files themselves.

In: ``org/name`` and a revision. Out: a :class:`HubSet`. What the hub said of a revision is kept in the cache, so that a
second run asks nobody and reads the same data, whatever was published since; files are kept where the hub's client
keeps them. A newer state is had by naming its commit, or by deleting the file that errors name.

A file's digest is the one on record for its commit (:mod:`spiritsafe.tasks.data.published`); else the hub's; else, the
hub keeping none of small files, the one that this machine saw when it first read it. Each later read is held to it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, final
from urllib.parse import quote

from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.core.files.atomic import write_json
from spiritsafe.core.files.cache import default_cache
from spiritsafe.core.files.hub import hub_client, hub_errors
from spiritsafe.core.files.reading import parse_json, read_bytes
from spiritsafe.tasks.data.layout import is_data_file
from spiritsafe.tasks.data.published import published_file

CONVERTED = "refs/convert/parquet"
"""The branch on which the hub itself keeps every public set as Parquet, ``CONFIG/SPLIT/0000.parquet``."""

_COMMIT = re.compile(r"[0-9a-f]{40}")
_DIGEST = re.compile(r"[0-9a-f]{64}")
_PAGE = "https://huggingface.co/datasets"


@final
class HubSet:
    """A data set at one commit.

    Args:
        name: ``org/name``.
        revision: Branch, tag or commit; "" for the default branch.
        hint: What to do if there is no such revision.

    Attributes:
        commit: The revision's, 40 hex digits.
        digests: By its name, ``sha256:<hex>`` of each file that may hold rows or tell of them; "" where it is neither
            on record nor the hub says it, which it does of large ones, nor was the file read before.

    Raises:
        SourceError: There is no such set or revision, the hub cannot be reached and nothing is kept of it, or the
            package huggingface-hub is missing.
        IntegrityError: The hub has another file than the one on record for this commit.
        StorageError: The cache cannot be written.
    """

    def __init__(self, name: str, revision: str = "", *, hint: str = "Check revision=.") -> None:
        self.name = name
        self._hint = hint
        self._revision = revision
        self._kept = self._place(revision)
        self.commit, self.digests = self._read_kept() or self._ask()
        for file, said in self.digests.items():
            known = published_file(name, self.commit, file)
            if known is None or not known.sha256:
                continue
            if said not in ("", f"sha256:{known.sha256}"):
                raise IntegrityError(
                    f"{name}/{file} is on record as sha256:{known.sha256} at commit {self.commit}, and the hub says "
                    f"{said}.",
                    hint=f"Check HF_ENDPOINT, delete {self._kept} and try again; a commit's files cannot change.",
                )
            self.digests[file] = f"sha256:{known.sha256}"

    def names(self) -> list[str]:
        """Of all its files."""
        return list(self.digests)

    def hold(self, name: str, digest: str, path: Path) -> None:
        """Hold a file to its digest; the first one that is seen of it is kept where none is known.

        Args:
            name: The file's.
            digest: ``sha256:<hex>`` of what was read.
            path: Where it was read from.

        Raises:
            IntegrityError: It is another file.
            StorageError: The cache cannot be written.
        """
        known = self.digests[name]
        if known and digest != known:
            raise IntegrityError(
                f"{self.name}/{name} has digest {digest}; {known} is on record, the hub says, or an earlier run saw.",
                hint=f"Delete {path} and run the same command again.",
            )
        if not known:
            self.digests[name] = digest
            self._keep(self._place(self.commit), self._kept)

    def _keep(self, *places: Path) -> None:
        """Write down what is known, under the commit too: a task's name has it, and needs no hub a second time."""
        for place in places:
            write_json(place, {"commit": self.commit, "files": dict(self.digests)})

    def path(self, name: str) -> Path:
        """One of its files, fetched if it is not here.

        Raises:
            SourceError: It cannot be fetched.
        """
        client = hub_client(f"The data set {self.name}")
        with hub_errors(self.name, revision=self.commit, page=_PAGE):
            try:
                return Path(client.hf_hub_download(self.name, name, repo_type="dataset", revision=self.commit))
            except client.errors.RevisionNotFoundError as error:
                raise SourceError(
                    f"{self.name} has no commit {self.commit} any more.",
                    hint=f"Name another by revision=, or delete {self._kept} to take the newest.",
                ) from error

    def _place(self, revision: str) -> Path:
        """Where it is kept what the hub said of a revision."""
        return default_cache() / "data" / self.name.replace("/", "--") / f"{quote(revision, safe='') or 'default'}.json"

    def _read_kept(self) -> tuple[str, dict[str, str]] | None:
        if not self._kept.is_file():
            return None
        value = parse_json(read_bytes(self._kept), self._kept, hint="Delete it and run the same command again.")
        try:
            commit, files = value["commit"], value["files"]
            if _COMMIT.fullmatch(commit) and all(is_file_name(name) and _is_digest(files[name]) for name in files):
                return commit, dict(files)
        except (KeyError, TypeError, AttributeError):
            pass
        raise SourceError(
            f"{self._kept} is damaged.", hint="Delete it and run the same command again; it is made anew."
        )

    def _ask(self) -> tuple[str, dict[str, str]]:
        client = hub_client(f"The data set {self.name}")
        with hub_errors(self.name, revision=self._revision, page=_PAGE, hint=self._hint):
            found: Any = client.HfApi().dataset_info(
                self.name, revision=self._revision or None, files_metadata=True, timeout=60
            )
            commit = str(found.sha)
            files = {
                str(file.rfilename): f"sha256:{file.lfs['sha256']}" if file.lfs else ""
                for file in found.siblings or ()
                if is_data_file(file.rfilename) or file.rfilename == "README.md" or file.rfilename.endswith(".py")
            }
        if not _COMMIT.fullmatch(commit) or not all(is_file_name(name) and _is_digest(files[name]) for name in files):
            raise SourceError(
                f"What the hub says of {self.name} makes no sense.", hint="Check HF_ENDPOINT, and try again later."
            )
        self.commit, self.digests = commit, files
        self._keep(self._kept, self._place(commit))
        return commit, files


def is_file_name(name: object) -> bool:
    """Whether a name is that of a file inside its repository."""
    return isinstance(name, str) and not name.startswith("/") and ".." not in name.split("/")


def _is_digest(value: object) -> bool:
    return value == "" or (
        isinstance(value, str)
        and value.startswith("sha256:")
        and bool(_DIGEST.fullmatch(value.removeprefix("sha256:")))
    )
