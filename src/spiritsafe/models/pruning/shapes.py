"""Shapes of students that fit a byte budget, few and different, for a race to choose between.

In: a teacher's ``config.json`` and a budget: bytes of weights at a quantisation plus KV cache at a context. Out: a
handful of :class:`StudentShape`, none of which another fitting shape contains. Sizes are multiples of what
quantisation blocks and matrix units want.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from spiritsafe.core.errors import BudgetError
from spiritsafe.models.cost.footprint import Quantisation, predict_footprint
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.pruning.cut import StudentShape, family_of, resized

_MAX_LEVELS = 8
_LARGER_CUTS = (0.5, 2 / 3, 0.8)
_AXES = tuple(StudentShape.model_fields)

_Fits = Callable[[StudentShape], bool]


def candidates(
    config: Mapping[str, Any],
    max_bytes: int,
    *,
    quantisation: Quantisation = "bf16",
    context: int = 0,
    kv_dtype: str = "bf16",
    vocab_sizes: Sequence[int] = (),
    cut_kv_heads: bool = False,
    max_cut: float = 1 / 3,
    num_candidates: int = 6,
    hidden_multiple: int = 32,
    neuron_multiple: int = 32,
) -> tuple[StudentShape, ...]:
    """Shapes within a budget, the same for the same arguments.

    NVIDIA's rules are the defaults (Minitron, arXiv 2407.14679 and 2408.11796; Model-Optimizer's guide): no axis loses
    more than a third in one step, heads stay. When nothing fits that way, axes may lose a half, then two thirds, then
    four fifths. Of each combination of the other axes the widest feed-forward that fits is taken; a shape that another
    one contains is dropped; and of the rest those are chosen that differ most, beginning with: layers only
    (offered whenever it fits at all, with the whole and with the smallest vocabulary), widths only, all axes alike.

    Args:
        config: The teacher's ``config.json``.
        max_bytes: Weights plus KV cache.
        quantisation: How the weights are stored.
        context: Tokens of KV cache that count; 0 counts weights only.
        kv_dtype: How the cache is stored.
        vocab_sizes: Trimmed vocabularies on offer (sizes of what :func:`choose_vocabulary` gave), beside the whole one.
        cut_kv_heads: Whether key-value heads, with their query heads, may go.
        max_cut: Largest share that one axis may lose; vocabularies are not bound by it.
        num_candidates: Most shapes.
        hidden_multiple: The hidden width is a multiple of it, or the teacher's; of a Llama with biases it is a multiple
            of the number of heads, too.
        neuron_multiple: The same for the feed-forward width.

    Raises:
        BudgetError: Not even the smallest shape fits; the message says what it takes.
        CompatibilityError: Another architecture than the Decoder's family.
    """
    teacher = DecoderConfig.from_hf(config)
    whole = StudentShape.of_decoder(teacher)
    if teacher.architecture.uneven_as and (teacher.qkv_bias or teacher.mlp_bias):  # see family_of
        hidden_multiple = math.lcm(hidden_multiple, teacher.num_heads)
    sizes: dict[StudentShape, int] = {}

    def bytes_of(shape: StudentShape) -> int:
        if shape not in sizes:
            footprint = predict_footprint(resized(config, shape), quantisation, context=context, kv_dtype=kv_dtype)
            sizes[shape] = footprint.total_bytes
        return sizes[shape]

    def fits(shape: StudentShape) -> bool:
        return family_of(teacher, shape) is not None and bytes_of(shape) <= max_bytes

    vocabularies = sorted({whole.vocab_size, *vocab_sizes})
    if fits(whole):
        return (whole,)
    found: list[StudentShape] = []
    for largest_cut in (max_cut, *(larger for larger in _LARGER_CUTS if larger > max_cut)):
        levels = {
            "num_layers": _levels(whole.num_layers, 1, largest_cut),
            "hidden_size": _levels(whole.hidden_size, hidden_multiple, largest_cut),
            "intermediate_size": _levels(whole.intermediate_size, neuron_multiple, largest_cut),
            "num_kv_heads": _levels(whole.num_kv_heads, 1, largest_cut) if cut_kv_heads else (whole.num_kv_heads,),
            "vocab_size": tuple(vocabularies),
        }
        found = _widest(levels, fits)
        if found:
            break
    trimmed = whole.model_copy(update={"vocab_size": vocabularies[0]})
    depths = [shape for start in dict.fromkeys((whole, trimmed)) if (shape := _only_layers(start, fits)) is not None]
    if not found and not depths:
        smallest = _smallest(levels, teacher)
        raise BudgetError(
            f"The smallest student, {_describe(smallest)}, takes {bytes_of(smallest):,} bytes in {quantisation} with "
            f"{context} tokens of cache; the budget is {max_bytes:,}.",
            hint=f"Allow {bytes_of(smallest):,} bytes, quantise harder, offer a trimmed vocabulary, count a shorter "
            "context, or start from a smaller teacher.",
        )
    return _different(_maximal(found), whole, depths, num_candidates)


def _smallest(levels: Mapping[str, Sequence[int]], teacher: DecoderConfig) -> StudentShape:
    """The smallest shape of these levels that can be written for transformers; the teacher's own always can."""
    least = {axis: min(sizes) for axis, sizes in levels.items()}
    for groups, hidden in itertools.product(sorted(levels["num_kv_heads"]), sorted(levels["hidden_size"])):
        shape = StudentShape(**{**least, "num_kv_heads": groups, "hidden_size": hidden})
        if family_of(teacher, shape) is not None:
            break
    return shape


def _describe(shape: StudentShape) -> str:
    return (
        f"{shape.num_layers} layers of {shape.hidden_size} channels, {shape.intermediate_size} neurons and "
        f"{shape.num_kv_heads} key-value heads over {shape.vocab_size} tokens"
    )


def _levels(size: int, multiple: int, max_cut: float) -> tuple[int, ...]:
    """At most eight sizes from the whole down to the smallest allowed, evenly spread, descending."""
    smallest = max(1, math.ceil(size * (1.0 - max_cut) / multiple - 1e-9)) * multiple
    allowed = list(range(smallest, size, multiple))
    if len(allowed) >= _MAX_LEVELS:
        spread = [allowed[round(i * (len(allowed) - 1) / (_MAX_LEVELS - 2))] for i in range(_MAX_LEVELS - 1)]
        allowed = sorted(set(spread))
    return (size, *reversed(allowed))


def _widest(levels: Mapping[str, Sequence[int]], fits: _Fits) -> list[StudentShape]:
    """For each combination of the other axes the shape with the widest feed-forward that fits."""
    others = [axis for axis in _AXES if axis != "intermediate_size"]
    found: list[StudentShape] = []
    for values in itertools.product(*(levels[axis] for axis in others)):
        base = dict(zip(others, values, strict=True))
        if not fits(StudentShape(**base, intermediate_size=min(levels["intermediate_size"]))):
            continue
        for neurons in levels["intermediate_size"]:
            shape = StudentShape(**base, intermediate_size=neurons)
            if fits(shape):
                found.append(shape)
                break
    return found


def _only_layers(whole: StudentShape, fits: _Fits) -> StudentShape | None:
    """The deepest model that fits when layers alone go."""
    depths = (whole.model_copy(update={"num_layers": n}) for n in range(whole.num_layers, 0, -1))
    return next((shape for shape in depths if fits(shape)), None)


def _sizes(shape: StudentShape) -> tuple[int, ...]:
    return tuple(int(getattr(shape, axis)) for axis in _AXES)


def _maximal(shapes: Sequence[StudentShape]) -> list[StudentShape]:
    """Those that no other contains (at least as large on every axis)."""
    sizes = [_sizes(shape) for shape in shapes]
    return [
        shape
        for shape, mine in zip(shapes, sizes, strict=True)
        if not any(theirs != mine and all(t >= m for t, m in zip(theirs, mine, strict=True)) for theirs in sizes)
    ]


def _different(
    shapes: Sequence[StudentShape], whole: StudentShape, depths: Sequence[StudentShape], count: int
) -> tuple[StudentShape, ...]:
    """The anchors, then again and again the shape farthest from all chosen ones (by logarithms of sizes)."""

    def place(shape: StudentShape) -> tuple[float, ...]:
        return tuple(math.log(mine / full) for mine, full in zip(_sizes(shape), _sizes(whole), strict=True))

    def evenness(shape: StudentShape, axes: Iterable[int]) -> tuple[float, ...]:
        return min(place(shape)[axis] for axis in axes), sum(place(shape))

    widths = [shape for shape in shapes if shape.num_layers == whole.num_layers]
    chosen = list(depths)
    if widths:
        chosen.append(max(widths, key=lambda shape: evenness(shape, (1, 2))))
    if shapes:
        chosen.append(max(shapes, key=lambda shape: evenness(shape, (0, 1, 2))))
    chosen = list(dict.fromkeys(chosen))[:count]
    left = [shape for shape in shapes if shape not in chosen]
    while left and len(chosen) < count:
        farthest = max(left, key=lambda shape: min(math.dist(place(shape), place(other)) for other in chosen))
        chosen.append(farthest)
        left.remove(farthest)
    return tuple(chosen)
