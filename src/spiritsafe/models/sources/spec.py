"""What the text of a source names, before anything is made of it.

In: the text behind the colon of ``tiny:``, ``wheel:``, ``gguf:`` and ``hf:``, or the path of a directory or a file.
Out: its parts.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from spiritsafe.core.errors import SourceError
from spiritsafe.core.records import UNKNOWN_LICENCE
from spiritsafe.models.gguf.convert import spdx_license
from spiritsafe.models.sources.download import PINNED_WHEELS, PinnedWheel

_TINY_SIZES = {
    "layers": "num_layers",
    "hidden": "hidden_size",
    "heads": "num_heads",
    "kv_heads": "num_kv_heads",
    "context": "max_context",
}


def tiny_of(rest: str) -> tuple[str, int, dict[str, int]]:
    """Name, seed and sizes of ``tiny:<rest>``.

    Raises:
        SourceError: It is written wrongly.
    """
    seed, _, query = rest.partition("?")
    if not re.fullmatch(r"\d{1,15}", seed):
        raise SourceError(f"'tiny:{rest}' names no seed.", hint="Write a whole number: tiny:0.")
    sizes = _sizes(query) if query else {}
    name = "-".join((f"tiny-{int(seed)}", *(f"{key}{sizes[key]}" for key in _TINY_SIZES if key in sizes)))
    return name, int(seed), {_TINY_SIZES[key]: size for key, size in sizes.items()}


def _sizes(query: str) -> dict[str, int]:
    """``layers=4&hidden=256``."""
    sizes: dict[str, int] = {}
    for part in query.split("&"):
        key, _, value = part.partition("=")
        if key not in _TINY_SIZES or key in sizes or not re.fullmatch(r"[1-9]\d{0,5}", value):
            raise SourceError(
                f"'{part}' is no size of a tiny model.",
                hint=f"Known, once each and as whole numbers: {', '.join(_TINY_SIZES)}; tiny:0?layers=4&hidden=256.",
            )
        sizes[key] = int(value)
    return sizes


def pinned_wheel(rest: str) -> PinnedWheel:
    """The pin behind ``wheel:<rest>``.

    Raises:
        SourceError: There is none.
    """
    if rest not in PINNED_WHEELS:
        raise SourceError(
            f"There is no pinned wheel {rest!r}.", hint=f"Known: {', '.join(f'wheel:{n}' for n in PINNED_WHEELS)}."
        )
    return PINNED_WHEELS[rest]


def gguf_file(rest: str) -> Path:
    """The file behind ``gguf:<rest>``.

    Raises:
        SourceError: There is none.
    """
    path = Path(os.path.expanduser(rest))
    if not os.path.isfile(path):  # unlike Path.is_file, no name is too long for it
        raise SourceError(f"There is no file {path}.", hint="Check the path behind 'gguf:'.")
    return path


def plain_file(spec: str) -> Path | None:
    """The GGUF file that a source is as it stands, to be run as it is; None of other sources."""
    path = Path(os.path.expanduser(spec))
    return path.resolve() if path.suffix == ".gguf" and os.path.isfile(path) else None


def repository_of(rest: str) -> tuple[str, str | None]:
    """Name and revision of ``hf:<rest>``.

    Raises:
        SourceError: It is written wrongly.
    """
    name, _, revision = rest.partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise SourceError(f"'hf:{rest}' names no repository.", hint="Write hf:organisation/name or …/name@revision.")
    return name, revision or None


def snapshot_name(name: str, snapshot: Path) -> str:
    """A repository and its commit."""
    return f"{name}@{snapshot.name[:12]}"


def model_folder(spec: str) -> Path:
    """The directory that a source is.

    Raises:
        SourceError: There is none.
    """
    path = Path(os.path.expanduser(spec))
    if not os.path.isdir(path):  # unlike Path.is_dir, no name is too long for it
        hint = "Give an existing directory or GGUF file, or one of hf:…, gguf:…, wheel:…, tiny:…."
        if re.fullmatch(r"\w[\w.-]*/[\w.-]+", spec):
            hint = f"For a repository of the Hugging Face hub write hf:{spec}."
        raise SourceError(f"There is no model directory {spec}.", hint=hint)
    return path.resolve()


def card_license(directory: Path) -> str:
    """SPDX id of the licence in the front matter of a directory's model card; of "other" the name that it gives.

    Of several all are named: ``MIT AND LicenseRef-llama3.1``. What is no id is kept whole, so that nobody takes a part
    of it for one.
    """
    card = directory / "README.md"
    if not card.is_file():
        return UNKNOWN_LICENCE
    text = card.read_text("utf-8", errors="replace")
    front = text.split("---", 2)[1] if text.startswith("---") and text.count("---") >= 2 else ""
    name = next(iter(_front_values(front, "license_name")), "other")
    own = [name if said == "other" else said for said in _front_values(front, "license")]
    return " AND ".join(dict.fromkeys(map(spdx_license, own))) or UNKNOWN_LICENCE


def _front_values(front: str, key: str) -> list[str]:
    """What stands in front matter under a key: a text, or a list in either of YAML's forms."""
    found = re.search(rf"^{key}:[ \t]*(\[[^\]]*\]|.*)((?:\n[ \t]*-[ \t].*)*)", front, flags=re.MULTILINE)
    if found is None:
        return []
    row, block = found[1].strip(), re.findall(r"^[ \t]*-[ \t]+(.*)$", found[2], flags=re.MULTILINE)
    values = row[1:-1].split(",") if row.startswith("[") and row.endswith("]") else [row, *block]
    plain = (re.sub(r"(^|\s+)#.*", "", value).strip().strip("'\"").strip() for value in values)
    return [value for value in plain if value]
