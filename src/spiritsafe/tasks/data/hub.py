"""Data sets of the Hugging Face hub: which files one has at a commit, their digests, and the files themselves.

In: ``org/name`` and a revision. Out: a :class:`HubSet`. What the hub said of a revision is kept in the cache, so that a
second run asks nobody and reads the same data, whatever was published since; files are kept where the hub's client
keeps them. A newer state is had by naming its commit, or by deleting the file that errors name.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, final
from urllib.parse import quote

from spiritsafe.core.errors import SourceError
from spiritsafe.core.files.atomic import write_json
from spiritsafe.core.files.cache import default_cache
from spiritsafe.core.files.hub import hub_client, hub_errors
from spiritsafe.core.files.reading import parse_json, read_bytes
from spiritsafe.tasks.data.layout import is_data_file

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
        digests: By its name, ``sha256:<hex>`` of each file that may hold rows or tell of them; "" where the hub does
            not say it, which it does of large ones.

    Raises:
        SourceError: There is no such set or revision, the hub cannot be reached and nothing is kept of it, or the
            package huggingface-hub is missing.
        StorageError: The cache cannot be written.
    """

    def __init__(self, name: str, revision: str = "", *, hint: str = "Check revision=.") -> None:
        self.name = name
        self._hint = hint
        self._revision = revision
        self._kept = self._place(revision)
        self.commit, self.digests = self._read_kept() or self._ask()

    def names(self) -> list[str]:
        """Of all its files."""
        return list(self.digests)

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
        for place in (self._kept, self._place(commit)):  # a task's name has the commit, and needs no hub a second time
            write_json(place, {"commit": commit, "files": dict(files)})
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
