"""Which of a layer's projections a family's linear layers are, by the names that families give them.

In: the path of a module or tensor. Out: what it computes: ``("q",)``, or ``("q", "k", "v")`` of a fused one. Adapters
and their sizes are found by it; a new name is a line of the table.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Literal, get_args

from spiritsafe.models.checkpoints.tensors import TensorInfo

LoraTarget = Literal["q", "k", "v", "o", "gate", "up", "down"]
LORA_TARGETS: tuple[LoraTarget, ...] = get_args(LoraTarget)

ATTENTION: frozenset[LoraTarget] = frozenset(("q", "k", "v", "o"))
"""The projections that a mixture of experts has as plain matrices in every layer."""

_QKV: tuple[LoraTarget, ...] = ("q", "k", "v")
_NAMES: dict[str, tuple[LoraTarget, ...]] = {
    **{f"{projection}_proj": (projection,) for projection in LORA_TARGETS},
    **dict.fromkeys(("qkv_proj", "query_key_value", "c_attn", "Wqkv", "qkv"), _QKV),
    **dict.fromkeys(("q_a_proj", "q_b_proj"), ("q",)),  # DeepSeek's latent attention: two products each
    **dict.fromkeys(("kv_a_proj_with_mqa", "kv_b_proj"), ("k", "v")),
    **{f"{attention}.{name}": ("o",) for attention in ("attn", "self_attn", "attention", "self_attention")
       for name in ("out_proj", "dense", "c_proj")},
    "gate_up_proj": ("gate", "up"),
    "feed_forward.w1": ("gate",), "feed_forward.w3": ("up",), "feed_forward.w2": ("down",),  # LFM2
    **dict.fromkeys(("fc1", "fc_in", "c_fc", "dense_h_to_4h"), ("up",)),
    **dict.fromkeys(("fc2", "fc_out", "mlp.c_proj", "dense_4h_to_h"), ("down",)),
}  # fmt: skip
"""The last name of a path, or the last two → what it computes. Paths that are not here get no adapter: routers,
convolutions, recurrent mixers (whose kernels pass by a layer's forward)."""

_MAY_BE_TRANSPOSED = frozenset(("c_attn", "c_fc", "c_proj"))


def projections_of(path: str) -> tuple[LoraTarget, ...]:
    """What the linear layer at a path computes; empty where its name says nothing."""
    parts = path.split(".")
    return _NAMES.get(".".join(parts[-2:]), _NAMES.get(parts[-1], ()))


def may_be_transposed(path: str) -> bool:
    """Whether some families (GPT-2) hold the matrix of this name as [input, output]."""
    return path.rpartition(".")[2] in _MAY_BE_TRANSPOSED


def is_wanted(path: str, targets: Collection[LoraTarget]) -> bool:
    """Whether all that a layer computes is among some projections, and there is something."""
    found = projections_of(path)
    return bool(found) and set(found) <= set(targets)


def targets_of(paths: Iterable[str]) -> tuple[LoraTarget, ...]:
    """What some layers compute together, in the order of :data:`LORA_TARGETS`."""
    found = {projection for path in paths for projection in projections_of(path)}
    return tuple(projection for projection in LORA_TARGETS if projection in found)


def widths_of(table: Mapping[str, TensorInfo], *, has_experts: bool) -> dict[str, int]:
    """Input and output widths of a model's projections, added up over its layers, by what they compute.

    Args:
        table: Of its tensors.
        has_experts: Whether it is a mixture of experts: its attention alone counts.

    Returns:
        ``"q+k+v"`` → numbers that adapters of rank 1 on these matrices would hold.
    """
    widths: dict[str, int] = {}
    for name, info in table.items():
        path = name.removesuffix(".weight")
        found = projections_of(path)
        if path == name or not found or len(info.shape) != 2 or (has_experts and not ATTENTION.issuperset(found)):
            continue
        key = "+".join(found)
        widths[key] = widths.get(key, 0) + sum(info.shape)
    return widths


def adapter_numbers(widths: Mapping[str, int], rank: int, targets: Collection[LoraTarget]) -> int:
    """Numbers that adapters hold, of what :func:`widths_of` found."""
    return rank * sum(width for key, width in widths.items() if set(key.split("+")) <= set(targets))
