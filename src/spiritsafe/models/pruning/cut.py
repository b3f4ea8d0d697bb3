"""Cutting a student out of a teacher: fewer layers, channels, neurons, key-value groups and tokens, all uniform.

In: a model directory, the shape wanted and the scores of a calibration pass. Out: a plain Hugging Face directory,
written tensor by tensor, with ``cut.json``: which parts of the teacher the student is made of. Shapes: L layers,
H hidden width, F feed-forward width, K key-value heads, W head width, V vocabulary.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

import numpy as np
import torch
import transformers
from pydantic import Field
from torch import Tensor

from spiritsafe.core.errors import BudgetError, CompatibilityError
from spiritsafe.core.files.atomic import read_json, write_json, write_text
from spiritsafe.core.records import Record
from spiritsafe.models.chat.format import TOKENIZER_FILES
from spiritsafe.models.checkpoints.directory import new_directory, write_lineage
from spiritsafe.models.checkpoints.lineage import parent_of, read_checkpoint
from spiritsafe.models.checkpoints.tensors import (
    TensorInfo,
    open_shards,
    read_tensor_table,
    torch_dtype,
    write_weights,
)
from spiritsafe.models.cost.footprint import shallower
from spiritsafe.models.decoder.architectures import LAYER_TENSORS, TensorAxis
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.pruning.importance import Importance
from spiritsafe.models.pruning.vocabulary import renumber_config, trim_vocabulary

_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")


@final
class StudentShape(Record):
    """The sizes of a student. Head width and query heads per key-value head stay the teacher's."""

    num_layers: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    num_kv_heads: int = Field(ge=1)
    vocab_size: int = Field(ge=1)

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> StudentShape:
        """The sizes of a ``config.json``.

        Raises:
            CompatibilityError: Another architecture than the Decoder's family.
        """
        return cls.of_decoder(DecoderConfig.from_hf(config))

    @classmethod
    def of_decoder(cls, config: DecoderConfig) -> StudentShape:
        """The sizes of a Decoder."""
        return cls(**{name: getattr(config, name) for name in cls.model_fields})


@final
class CutPlan(Record):
    """Which parts of a teacher a student is made of; every index counts in the teacher, ascending.

    Attributes:
        source: Digest of the teacher's directory.
        importance: Digest of the scores that the choice was made by.
        kept_layers: Student layer i was teacher layer ``kept_layers[i]``.
        kept_channels: The same for channels of the hidden width.
        kept_neurons: For each kept layer its feed-forward neurons.
        kept_groups: For each kept layer its key-value heads.
        kept_ids: The same for token ids; None: all.
        norm_scales: What each norm's weights were multiplied by: two a kept layer, then the final norm. 1 where no
            channel was cut.
    """

    shape: StudentShape
    source: str
    importance: str
    kept_layers: tuple[int, ...]
    kept_channels: tuple[int, ...]
    kept_neurons: tuple[tuple[int, ...], ...]
    kept_groups: tuple[tuple[int, ...], ...]
    kept_ids: tuple[int, ...] | None
    norm_scales: tuple[float, ...]


def resized(config: Mapping[str, Any], shape: StudentShape, kept_layers: Sequence[int] | None = None) -> dict[str, Any]:
    """The ``config.json`` of a student: the teacher's with other sizes, ``head_dim`` written out.

    transformers refuses a Llama whose hidden width is not a multiple of its number of heads, though ``head_dim`` says
    all there is to know. A Llama without biases is then written as what computes the same, a Mistral without window.

    Args:
        kept_layers: Which layers stay (lists with an entry a layer follow); None: the first ones.

    Raises:
        CompatibilityError: Another architecture than the Decoder's family, or a Llama with biases and such a width.
    """
    teacher = DecoderConfig.from_hf(config)
    family = family_of(teacher, shape)
    if family is None:
        raise CompatibilityError(
            f"A {teacher.architecture.title} with biases cannot have {shape.hidden_size} channels and "
            f"{_num_heads(teacher, shape)} heads.",
            hint="Choose a hidden width that is a multiple of the number of heads.",
        )
    sizes = {
        "hidden_size": shape.hidden_size,
        "intermediate_size": shape.intermediate_size,
        "num_attention_heads": _num_heads(teacher, shape),
        "num_key_value_heads": shape.num_kv_heads,
        "head_dim": teacher.head_dim,
        "vocab_size": shape.vocab_size,
    }
    if family == teacher.family:
        return shallower(config, range(shape.num_layers) if kept_layers is None else kept_layers) | sizes
    # transformers takes the tokenizer beside a Mistral of an old or unknown version for one with a known mistake.
    metadata = {**teacher.metadata, "transformers_version": transformers.__version__}
    windows = (None,) * shape.num_layers
    changes = {"family": family, "metadata": metadata, "num_layers": shape.num_layers, "windows": windows}
    return teacher.model_copy(update=changes).to_hf() | sizes


def family_of(teacher: DecoderConfig, shape: StudentShape) -> str | None:
    """The ``model_type`` of a student; None when transformers has none for it (see :func:`resized`)."""
    uneven_as = teacher.architecture.uneven_as
    if uneven_as is None or shape.hidden_size % _num_heads(teacher, shape) == 0:
        return teacher.family
    return None if teacher.qkv_bias or teacher.mlp_bias else uneven_as


def _num_heads(teacher: DecoderConfig, shape: StudentShape) -> int:
    return shape.num_kv_heads * (teacher.num_heads // teacher.num_kv_heads)


def read_cut_plan(directory: Path) -> CutPlan | None:
    """The plan that a directory was cut by; None if it was not cut.

    Raises:
        IntegrityError: The file is damaged.
    """
    path = directory / CUT_PLAN
    return CutPlan.from_json(read_json(path)) if path.is_file() else None


def cut(
    source: Path,
    target: Path,
    shape: StudentShape,
    importance: Importance,
    *,
    name: str,
    layers: Sequence[int] | None = None,
    kept_ids: Sequence[int] | None = None,
    recipe: str | None = None,
    dtype: torch.dtype | None = None,
) -> CutPlan:
    """Write a student made of the most important parts of a teacher.

    Channels are the same everywhere; neurons and key-value heads (with their query heads) are chosen in each layer.
    A norm over fewer channels divides by another root mean square than the teacher's: its weights are multiplied by
    the ratio of the two, as the calibration pass saw it, ``sqrt(mean over kept channels of E[x² / mean(x²)])``.

    Args:
        source: The teacher's directory, of the Decoder's family, with its lineage.
        target: The student's; it appears when it is whole.
        shape: Sizes, none above the teacher's.
        layers: Layers to keep, ascending (:func:`spiritsafe.models.choose_layers` finds better ones by loss); None
            keeps those of most block influence.
        kept_ids: What :func:`spiritsafe.models.choose_vocabulary` gave; ``shape.vocab_size`` is their number. None
            keeps all.
        recipe: Digest of the recipe that asked for it.
        dtype: Of the student's weights, rounded to nearest, ties to even; None: each as the teacher's.

    Raises:
        BudgetError: The shape is larger than the teacher, or contradicts ``layers`` or ``kept_ids``.
        CompatibilityError: Another architecture, an unknown tensor, scores of another model, or a vocabulary that
            cannot be trimmed.
        SourceError: The teacher is damaged.
        StorageError: The student cannot be written.
    """
    config = read_json(source / "config.json")
    teacher = DecoderConfig.from_hf(config)
    parent = read_checkpoint(source)
    _check(teacher, shape, importance, layers, kept_ids)
    plan = _plan(shape, importance, layers, kept_ids, source=parent.digest)
    student = resized(config, shape, plan.kept_layers)
    if kept_ids is not None:
        student = renumber_config(student, kept_ids)
    if dtype is not None:
        student = {**student, "dtype": str(dtype).removeprefix("torch.")}
        student.pop("torch_dtype", None)
    with new_directory(target) as temporary:
        write_json(temporary / "config.json", student)
        _write_weights(source, temporary, teacher, plan, dtype)
        if kept_ids is not None:
            trim_vocabulary(source, temporary, kept_ids)
        else:
            for file in TOKENIZER_FILES:
                if (source / file).is_file():
                    (temporary / file).write_bytes((source / file).read_bytes())
        write_text(temporary / CUT_PLAN, json.dumps(plan.to_json(), sort_keys=True) + "\n")
        parents = (parent_of(parent, "weights"),)
        write_lineage(temporary, name=name, license=parent.license, parents=parents, recipe=recipe)
    return plan


CUT_PLAN = "cut.json"


def _check(
    teacher: DecoderConfig,
    shape: StudentShape,
    importance: Importance,
    layers: Sequence[int] | None,
    kept_ids: Sequence[int] | None,
) -> None:
    whole = StudentShape.of_decoder(teacher)
    if too_large := [name for name, size in shape.to_json().items() if size > getattr(whole, name)]:
        raise BudgetError(
            f"A student with {too_large[0]}={getattr(shape, too_large[0])} cannot be cut from a teacher with "
            f"{getattr(whole, too_large[0])}.",
            hint="Choose sizes up to the teacher's.",
        )
    if layers is not None and (
        len(layers) != shape.num_layers
        or list(layers) != sorted(set(layers))
        or not 0 <= layers[0] <= layers[-1] < whole.num_layers
    ):
        raise BudgetError(
            f"Layers {list(layers)} are not {shape.num_layers} of a model with layers 0 to {whole.num_layers - 1}.",
            hint="List as many as the shape says, ascending, each once.",
        )
    if shape.vocab_size != (whole.vocab_size if kept_ids is None else len(kept_ids)):
        raise BudgetError(
            f"The shape wants {shape.vocab_size} tokens, "
            + (f"the teacher has {whole.vocab_size}." if kept_ids is None else f"{len(kept_ids)} are kept."),
            hint="Give the kept ids that choose_vocabulary found, and a shape with as many tokens.",
        )
    scored = importance.neurons_LF.shape + importance.groups_LK.shape[1:] + importance.channels_H.shape
    sizes = (whole.num_layers, whole.intermediate_size, whole.num_kv_heads, whole.hidden_size)
    if scored != sizes:
        raise CompatibilityError(
            f"The scores are of a model with sizes {scored}, this one has {sizes}.",
            hint="Run the calibration pass on this model.",
        )


def _best(scores: Any, count: int) -> tuple[int, ...]:
    """The ``count`` highest, ascending; of equal ones the earlier."""
    return tuple(sorted(np.argsort(-np.asarray(scores), kind="stable")[:count].tolist()))


def _plan(
    shape: StudentShape,
    importance: Importance,
    layers: Sequence[int] | None,
    kept_ids: Sequence[int] | None,
    *,
    source: str,
) -> CutPlan:
    kept = tuple(layers) if layers is not None else _best(importance.influence_L, shape.num_layers)
    channels = _best(importance.channels_H, shape.hidden_size)
    return CutPlan(
        shape=shape,
        source=source,
        importance=importance.digest,
        kept_layers=kept,
        kept_channels=channels,
        kept_neurons=tuple(_best(importance.neurons_LF[layer], shape.intermediate_size) for layer in kept),
        kept_groups=tuple(_best(importance.groups_LK[layer], shape.num_kv_heads) for layer in kept),
        kept_ids=None if kept_ids is None else tuple(kept_ids),
        norm_scales=_norm_scales(importance, kept, channels),
    )


def _norm_scales(importance: Importance, layers: Sequence[int], channels: Sequence[int]) -> tuple[float, ...]:
    norms = [index for layer in layers for index in (2 * layer, 2 * layer + 1)] + [len(importance.energy_JH) - 1]
    if len(channels) == importance.energy_JH.shape[1]:
        return (1.0,) * len(norms)
    return tuple(math.sqrt(float(importance.energy_JH[index, list(channels)].mean())) for index in norms)


@final
@dataclass(frozen=True, kw_only=True)
class _Piece:
    """One tensor of the student: which rows and columns of which tensor of the teacher, times what."""

    origin: str
    rows: tuple[int, ...] | None = None
    columns: tuple[int, ...] | None = None
    scale: float = 1.0

    def shape(self, whole: Sequence[int]) -> tuple[int, ...]:
        sizes = list(whole)
        for axis, kept in enumerate((self.rows, self.columns)):
            if kept is not None:
                sizes[axis] = len(kept)
        return tuple(sizes)

    def take(self, whole: Tensor, dtype: torch.dtype) -> Tensor:
        for axis, kept in enumerate((self.rows, self.columns)):
            if kept is not None and len(kept) < whole.shape[axis]:
                whole = whole.index_select(axis, torch.tensor(kept))
        return whole.to(dtype) if self.scale == 1.0 else (whole.double() * self.scale).to(dtype)


def _layer_pieces(teacher: DecoderConfig, plan: CutPlan, index: int) -> dict[str, tuple[tuple[int, ...] | None, ...]]:
    """Rows and columns of each tensor of student layer ``index``."""
    width, heads = teacher.head_dim, teacher.num_heads // teacher.num_kv_heads
    groups = plan.kept_groups[index]
    kept: dict[TensorAxis, tuple[int, ...] | None] = {
        "hidden": plan.kept_channels,
        "queries": tuple(group * heads * width + at for group in groups for at in range(heads * width)),
        "keys": tuple(group * width + at for group in groups for at in range(width)),
        "neurons": plan.kept_neurons[index],
        "head": None,
    }
    return {
        tensor.name: tuple(kept[axis] for axis in (tensor.rows, tensor.columns) if axis is not None)
        for tensor in LAYER_TENSORS
    }


def _pieces(teacher: DecoderConfig, plan: CutPlan, names: Mapping[str, TensorInfo]) -> dict[str, _Piece]:
    """Name in the student → piece of the teacher, for every tensor that stays."""
    outer = {
        "model.embed_tokens.weight": (plan.kept_ids, plan.kept_channels, 1.0),
        "lm_head.weight": (plan.kept_ids, plan.kept_channels, 1.0),
        "model.norm.weight": (plan.kept_channels, None, plan.norm_scales[-1]),
    }
    place = {layer: index for index, layer in enumerate(plan.kept_layers)}
    parts = [_layer_pieces(teacher, plan, index) for index in range(len(plan.kept_layers))]
    out: dict[str, _Piece] = {}
    for name in sorted(names):
        if name.endswith("rotary_emb.inv_freq") or (name == "lm_head.weight" and teacher.tied):
            continue  # both follow from the rest
        match = _LAYER.fullmatch(name)
        if match is None:
            if name not in outer:
                raise _unknown(name)
            rows, columns, scale = outer[name]
            out[name] = _Piece(origin=name, rows=rows, columns=columns, scale=scale)
        elif (layer := int(match[1])) in place:
            index = place[layer]
            part, _, kind = match[2].rpartition(".")
            kept = parts[index].get(part)
            if kept is None or kind not in ("weight", "bias"):
                raise _unknown(name)
            norm = {"input_layernorm": 0, "post_attention_layernorm": 1}.get(part)
            out[f"model.layers.{index}.{match[2]}"] = _Piece(
                origin=name,
                rows=kept[0],
                columns=kept[1] if kind == "weight" and len(kept) > 1 else None,
                scale=1.0 if norm is None else plan.norm_scales[2 * index + norm],
            )
    return out


def _unknown(name: str) -> CompatibilityError:
    return CompatibilityError(
        f"How to cut the tensor {name!r} is not known.", hint="Cut models of the Decoder's family only."
    )


def _write_weights(
    source: Path, target: Path, teacher: DecoderConfig, plan: CutPlan, dtype: torch.dtype | None
) -> None:
    table = read_tensor_table(source)
    pieces = _pieces(teacher, plan, table)
    handles = open_shards(source)

    def produce(name: str) -> Tensor:
        piece = pieces[name]
        return piece.take(handles[table[piece.origin].file].get_tensor(piece.origin), types[name])

    types = {name: dtype or torch_dtype(table[piece.origin].dtype) for name, piece in pieces.items()}
    layout = [(name, types[name], piece.shape(table[piece.origin].shape)) for name, piece in pieces.items()]
    write_weights(target, layout, produce)
