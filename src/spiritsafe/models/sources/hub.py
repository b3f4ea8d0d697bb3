"""Repositories of the Hugging Face hub: whole, or only what a plan needs of them.

In: a repository's name. Out: a directory of the hub's own cache, or what the headers of its weight files say; or a
:class:`SourceError` that says how to go on without a network. Which hub is the client's affair (``HF_ENDPOINT``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from huggingface_hub import HfApi, snapshot_download
from huggingface_hub.errors import (
    HFValidationError,
    LocalEntryNotFoundError,
    NotASafetensorsRepoError,
    SafetensorsParsingError,
)
from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]  # shown on that page of its documentation

from spiritsafe.core.errors import SourceError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.hub import hub_errors
from spiritsafe.models.checkpoints.tensors import TensorInfo

_SMALL = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_options.json",
    "README.md",
]
"""All that says how a model is built, tokenised and licensed, without its weights."""

_ALL = ["*.json", "*.safetensors", "*.jinja", "*.txt", "tokenizer.model", "README.md", "LICEN[CS]E*", "NOTICE*"]


@contextmanager
def _named(name: str, revision: str | None) -> Iterator[None]:
    """What the hub's client raises, as one error that names the repository."""
    with hub_errors(name, revision=revision, hint="Check the part after '@'."):
        try:
            yield
        except (NotASafetensorsRepoError, SafetensorsParsingError) as error:
            raise SourceError(
                f"{name} has no whole safetensors weights: {' '.join(str(error).split())[:200].rstrip('.')}.",
                hint="Give a repository in Hugging Face's layout with safetensors weights; pickled ones are not read.",
            ) from error


def _bar(events: EventSink, note: str) -> type[tqdm]:
    """A progress bar of the hub's client that draws nothing and tells the bytes that arrived."""
    lock = Lock()  # files arrive in several threads

    class Told(tqdm):
        def __init__(self, *args: Any, **options: Any) -> None:
            # One bar counts files, and there is one of bytes on the wire beside that of bytes in files.
            self._is_told = options.get("unit") == "B" and not str(options.get("name", "")).endswith(".transfer")
            super().__init__(*args, **{**options, "disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            with lock:
                self.n += n or 0
                if self._is_told:
                    events.progress(self.n, self.total or None, "bytes", note)

    return Told


def fetch_repository(name: str, revision: str | None, *, events: EventSink) -> Path:
    """A repository's model files in the hub's own cache; interrupted downloads resume, present ones are reused.

    Args:
        name: ``organisation/name``.
        revision: Branch, tag or commit; None is the default branch.
        events: Hears how much has arrived.

    Raises:
        SourceError: No such repository or revision, no access, or no network and nothing in the cache.
    """
    events.progress(0, None, "files", f"fetching {name}")
    path = _fetch(name, revision, _ALL, events)
    events.progress(1, 1, "files", f"fetched {name}")
    return path


def fetch_small_files(name: str, revision: str | None) -> Path:
    """The same, without weights: configuration, tokenizer, chat template and model card.

    Raises:
        SourceError: As :func:`fetch_repository`.
    """
    return _fetch(name, revision, _SMALL, NullSink())


def fetch_config(name: str, revision: str | None) -> Path:
    """A folder with the repository's ``config.json``; nothing else of it is fetched.

    Raises:
        SourceError: As :func:`fetch_repository`.
    """
    return _fetch(name, revision, ["config.json"], NullSink())


def _fetch(name: str, revision: str | None, patterns: list[str], events: EventSink) -> Path:
    with _named(name, revision):
        return Path(
            snapshot_download(
                name,
                revision=revision,
                allow_patterns=patterns,
                ignore_patterns="original/*",
                tqdm_class=_bar(events, f"fetching {name}"),
            )
        )


def remote_tensors(name: str, revision: str) -> dict[str, TensorInfo]:
    """Every tensor of a repository, from the headers of its weight files: a few kilobytes of each are read.

    Args:
        name: ``organisation/name``.
        revision: A commit.

    Raises:
        SourceError: It has no safetensors weights, or the hub cannot be reached.
    """
    with _named(name, revision):
        found = HfApi().get_safetensors_metadata(name, revision=revision)
    return {
        tensor_name: TensorInfo(
            dtype=tensor.dtype,
            shape=tuple(tensor.shape),
            num_bytes=tensor.data_offsets[1] - tensor.data_offsets[0],
            file=file,
        )
        for file, metadata in found.files_metadata.items()
        for tensor_name, tensor in metadata.tensors.items()
    }


def find_repository(name: str, revision: str) -> Path | None:
    """A repository's snapshot if the hub's cache on this machine holds some of it; asks nobody.

    Args:
        name: ``organisation/name``.
        revision: Branch, tag or commit; empty is the default branch.
    """
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=_ALL, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None
