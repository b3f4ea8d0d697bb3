"""Licence texts and notices that lie beside a model's weights, where its maker put them.

In: a source. Out: their paths. A model directory that is made of a source holds none of them, since they would be part
of what it is known by.
"""

from __future__ import annotations

import os
from pathlib import Path

from spiritsafe.models.sources.hub import find_repository
from spiritsafe.models.sources.spec import plain_file, repository_of

_TEXTS = ("license", "licence", "notice")


def source_texts(spec: str) -> tuple[Path, ...]:
    """The files ``LICENSE``, ``LICENCE.md``, ``NOTICE.txt`` and the like of a directory, or of a fetched repository.

    None of other sources: beside a GGUF file may lie anybody's. Asks nobody. A link that leads out of the directory is
    none: whoever made the directory would choose what of this machine is published.

    Args:
        spec: As :func:`spiritsafe.models.resolve_source` takes it.
    """
    folder = _folder(spec)
    if folder is None or not folder.is_dir():
        return ()
    top = folder.resolve()
    inside = top.parents[1] if spec.startswith("hf:") else top  # the hub's cache holds snapshots of links to its blobs
    return tuple(
        path
        for path in sorted(folder.iterdir())
        if path.stem.lower() in _TEXTS and path.is_file() and path.resolve().is_relative_to(inside)
    )


def _folder(spec: str) -> Path | None:
    kind, _, rest = spec.partition(":")
    if kind == "hf":
        name, revision = repository_of(rest)
        return find_repository(name, revision or "")
    if kind in ("gguf", "wheel", "tiny") or plain_file(spec) is not None:
        return None
    return Path(os.path.expanduser(spec))
