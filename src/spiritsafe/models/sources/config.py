"""What a plan needs of a model before its weights are here.

In: any source. Out: a :class:`SourceConfig`: configuration, sizes, licence, and a directory with tokenizer and chat
template. Of a repository on the hub its small files are fetched and the headers of its weight files read, a few
megabytes in all; of a GGUF file its header; nothing is hashed or converted. The sizes are those of the directory that
:func:`spiritsafe.models.resolve_source` makes.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, final

from spiritsafe.core.canonical import JSON, digest, short
from spiritsafe.core.errors import SourceError
from spiritsafe.core.files.atomic import ensure_directory, read_json, write_json
from spiritsafe.core.files.cache import default_cache
from spiritsafe.core.files.lock import OTHERS_WORK_S, locked
from spiritsafe.core.records import Parent, Record
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.chat.options import ChatOptions
from spiritsafe.models.checkpoints.directory import new_directory
from spiritsafe.models.checkpoints.lineage import LINEAGE, parent_of, read_checkpoint
from spiritsafe.models.checkpoints.tensors import TensorInfo, read_tensor_table
from spiritsafe.models.lora.decoder_adapters import lora_shapes
from spiritsafe.models.lora.files import check_shapes, read_lora
from spiritsafe.models.sources.adapter import adapter_checkpoint, merged_name, merged_shapes
from spiritsafe.models.sources.download import PinnedWheel, has_wheel
from spiritsafe.models.sources.gguf_convert import gguf_license, write_gguf_config
from spiritsafe.models.sources.hub import fetch_small_files, remote_tensors
from spiritsafe.models.sources.resolve import find_source, find_whole_repository, options_of, require_whole_model
from spiritsafe.models.sources.spec import (
    card_license,
    gguf_file,
    model_folder,
    pinned_wheel,
    repository_of,
    snapshot_name,
    tiny_of,
)
from spiritsafe.models.sources.tiny import write_tiny_config
from spiritsafe.models.transformers_backend.sizes import (
    decoder_config,
    measured_config,
    read_config,
    read_model_config,
    size_of,
)

_FLOAT32_BYTES = 4
_VERSION = 1
"""Part of the cached files' names; raise it when the same source gives others."""


@final
@dataclass(frozen=True, kw_only=True)
class SourceConfig:
    """A model that may not be here yet.

    Attributes:
        name: As its lineage will say.
        config: ``config.json``, as ``read_model_config`` gives it: with its size where the Decoder does not implement
            it.
        license: SPDX id; "LicenseRef-unknown" where the source states none.
        num_parameters: Numbers in its tensors.
        weight_bytes: Bytes of its tensors in the directory that ``resolve_source`` makes.
        download_bytes: Bytes of weights that are still to be fetched.
        directory: Configuration, tokenizer and chat template (and the weights, if the source is a directory); None
            where even these are to be fetched.
        options: What its chat template is told.
        adapter_license: SPDX id of the adapters' licence, where there are adapters.
        parents: As its lineage will say; digests of what is not here yet are missing.
    """

    name: str
    config: Mapping[str, Any]
    license: str
    num_parameters: int
    weight_bytes: int
    download_bytes: int = 0
    directory: Path | None
    options: ChatOptions = field(default_factory=ChatOptions)
    adapter_license: str | None = None
    parents: tuple[Parent, ...] = ()

    def chat_format(self) -> ChatFormat:
        """How its chats become tokens.

        Raises:
            SourceError: Its tokenizer is not here yet, or damaged.
            CompatibilityError: It has no chat template, or an option has no effect on it.
        """
        if self.directory is None:
            raise SourceError(
                f"The tokenizer of {self.name} is not on this machine yet.", hint="Fetch it: spiritsafe models fetch …."
            )
        return ChatFormat(self.directory, self.options)


_Told = tuple[str | None, Mapping[str, JSON]]


@final
class _Sizes(Record):
    """What the headers of a repository's weight files say, kept by its commit."""

    config: dict[str, Any]
    num_parameters: int
    weight_bytes: int

    @classmethod
    def of(cls, config: Mapping[str, Any], table: Mapping[str, TensorInfo]) -> _Sizes:
        return cls(
            config=measured_config(config, table),
            num_parameters=sum(info.num_elements for info in table.values()),
            weight_bytes=sum(info.num_bytes for info in table.values()),
        )


def source_config(
    spec: str,
    *,
    cache: Path | None = None,
    date: str | None = None,
    template_kwargs: Mapping[str, JSON] | None = None,
    adapter: Path | None = None,
) -> SourceConfig:
    """What is to be known of a source without its weights.

    Args:
        spec: As :func:`spiritsafe.models.resolve_source` takes it.
        cache: Where small files go that are made here; default :func:`default_cache`.
        date: What its chat template takes for today.
        template_kwargs: Options of its chat template; both are checked by :meth:`SourceConfig.chat_format`.
        adapter: Adapters in peft's layout that are folded into the weights; whether they fit is checked here.

    Raises:
        SourceError: The source does not exist, is incomplete, damaged, or out of reach.
        CompatibilityError: A GGUF of an architecture or tokenizer that is not converted, or adapters that do not fit.
        StorageError: The cache cannot be written.
    """
    found = _source_config(spec, default_cache() if cache is None else cache, (date, template_kwargs or {}))
    return found if adapter is None else _with_adapter(found, adapter)


def _source_config(spec: str, cache: Path, told: _Told) -> SourceConfig:
    kind, _, rest = spec.partition(":")
    if kind == "hf":
        return _of_repository(rest, cache, told)
    if kind == "gguf":
        return _of_gguf(gguf_file(rest), cache, told)
    if kind == "wheel":
        return _of_wheel(spec, pinned_wheel(rest), cache, told)
    if kind == "tiny":
        return _of_seed(rest, cache, told)
    folder = model_folder(spec)
    return _of_directory(folder, folder.name, told)


def _with_adapter(base: SourceConfig, adapter: Path) -> SourceConfig:
    given = adapter_checkpoint(adapter)
    lora, tensors = read_lora(adapter)
    if (config := decoder_config(base.config)) is not None:
        check_shapes(adapter, tensors, lora_shapes(config, lora))
    num_changed = sum(rows * columns for rows, columns in merged_shapes(adapter, lora, tensors).values())
    more = num_changed * (_FLOAT32_BYTES - base.weight_bytes / base.num_parameters)  # those are stored in float32
    return replace(
        base,
        name=merged_name(base.name, given.name),
        weight_bytes=base.weight_bytes + round(more),
        adapter_license=given.license,
        parents=(
            Parent(name=base.name, digest=f"planned:{base.name}", license=base.license, used_as=("weights",)),
            parent_of(given, "weights"),
        ),
    )


def _of_directory(directory: Path, name: str, told: _Told) -> SourceConfig:
    require_whole_model(directory)
    if (directory / LINEAGE).is_file():
        checkpoint = read_checkpoint(directory)
        name, license, parents = checkpoint.name, checkpoint.license, checkpoint.parents
    else:
        license, parents = card_license(directory), ()
    table = read_tensor_table(directory)
    return SourceConfig(
        name=name,
        config=read_model_config(directory),
        license=license,
        num_parameters=sum(info.num_elements for info in table.values()),
        weight_bytes=sum(info.num_bytes for info in table.values()),
        directory=directory,
        options=options_of(directory, *told),
        parents=parents,
    )


def _of_repository(rest: str, cache: Path, told: _Told) -> SourceConfig:
    name, revision = repository_of(rest)
    if whole := find_whole_repository(rest):
        return _of_directory(whole, snapshot_name(name, whole), told)
    snapshot = fetch_small_files(name, revision)
    if missing := [file for file in ("config.json", "tokenizer.json") if not (snapshot / file).is_file()]:
        raise SourceError(
            f"{name} is not a whole model: {', '.join(missing)} missing.",
            hint="Give a repository in Hugging Face's layout with safetensors weights and a fast tokenizer.",
        )
    kept = cache / "configs" / f"hub-{short(digest([name, snapshot.name]))}-v{_VERSION}.json"
    if kept.is_file():  # a commit does not change
        sizes = _Sizes.from_json(read_json(kept))
    else:
        sizes = _Sizes.of(read_config(snapshot), remote_tensors(name, snapshot.name))
        ensure_directory(kept.parent)
        write_json(kept, sizes.to_json())
    return SourceConfig(
        name=snapshot_name(name, snapshot),
        config=sizes.config,
        license=card_license(snapshot),
        num_parameters=sizes.num_parameters,
        weight_bytes=sizes.weight_bytes,
        download_bytes=sizes.weight_bytes,
        directory=snapshot,
        options=options_of(snapshot, *told),
    )


def _of_gguf(path: Path, cache: Path, told: _Told) -> SourceConfig:
    state = os.stat(path)
    key = digest([str(path.resolve()), state.st_size, str(state.st_mtime_ns)])
    directory = _small_files(f"gguf-{short(key)}", cache, lambda target: write_gguf_config(path, target))
    return _converted(path.stem, gguf_license(path), directory, read_config(directory), told)


def _of_wheel(spec: str, wheel: PinnedWheel, cache: Path, told: _Told) -> SourceConfig:
    if found := find_source(spec, cache=cache):
        return _of_directory(found, wheel.name, told)
    if wheel.config is None:
        raise SourceError(f"{wheel.name} is not on this machine yet.", hint=f"Fetch it: spiritsafe models fetch {spec}")
    num_bytes = 0 if has_wheel(wheel, cache) else wheel.num_bytes
    return _converted(wheel.name, wheel.license, None, wheel.config, told, num_bytes)


def _of_seed(rest: str, cache: Path, told: _Told) -> SourceConfig:
    name, _, sizes = tiny_of(rest)
    key = digest(dict(sizes))

    def make(target: Path) -> None:
        write_tiny_config(target, **sizes)

    directory = _small_files(f"tiny-{short(key)}", cache, make)
    return _converted(name, "Apache-2.0", directory, read_config(directory), told)


def _converted(
    name: str,
    license: str,
    directory: Path | None,
    config: Mapping[str, Any],
    told: _Told,
    download_bytes: int = 0,
) -> SourceConfig:
    """Of a source that becomes a Decoder's model in float32."""
    count = size_of(config).num_parameters
    date, template_kwargs = told
    options = {} if date is None else {"date": date}
    return SourceConfig(
        name=name,
        config=dict(config),
        license=license,
        num_parameters=count,
        weight_bytes=_FLOAT32_BYTES * count,
        download_bytes=download_bytes,
        directory=directory,
        options=ChatOptions(**options, template_kwargs=dict(template_kwargs)),
    )


def _small_files(name: str, cache: Path, make: Callable[[Path], None]) -> Path:
    """The cache's directory of that name, filled once."""
    target = ensure_directory(cache / "configs") / f"{name}-v{_VERSION}"
    with locked(target.parent / f".{name}.lock", wait_s=OTHERS_WORK_S):
        if not (target / "config.json").is_file():
            with new_directory(target) as temporary:
                make(temporary)
    return target
