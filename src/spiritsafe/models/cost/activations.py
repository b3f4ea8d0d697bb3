"""What a Decoder's forward keeps for its backward, operator by operator.

In: the decoder's configuration, a batch's documents, the formats of numbers. Out: bytes.

Shapes: N tokens of a micro-batch, P of them with attention's padding, H hidden width, S heads, K key-value heads, W
head_dim, F feed-forward width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from spiritsafe.models.decoder.attention import band_blocks, group_lengths
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.models.transformers_backend.projections import LORA_TARGETS

_BATCH_BYTES_PER_TOKEN = 28
"""Ids, positions and targets in int64, weights in float32."""


@final
@dataclass(frozen=True, kw_only=True)
class Formats:
    """Bytes of a number: ``narrow`` of what is computed in, ``wide`` of statistics and logits; and who computes."""

    narrow: int
    wide: int
    on_gpu: bool


def are_alike(lengths: Sequence[int] | None) -> bool:
    """Whether documents are known to be all of one length."""
    return lengths is not None and len(set(lengths)) == 1


def activation_bytes(
    c: DecoderConfig,
    num_tokens: int,
    lengths: Sequence[int] | None,
    formats: Formats,
    lora: LoraConfig | None,
    *,
    checkpointing: bool,
) -> int:
    """What one forward keeps for its backward.

    Exact for the Decoder's operators on a CPU (a test sums what autograd saves): each norm keeps its input and, if its
    weight learns, the normalised rows, both in float32; each linear layer that learns keeps its input; the feed-forward
    keeps gate, up and activation; adapters keep their low-rank rows.

    Args:
        num_tokens: N.
        lengths: Of the documents; None: not known, and they are thought to be alike.
    """
    rectangles = [[num_tokens]]
    if lengths is not None:
        groups = group_lengths(lengths, "cuda" if formats.on_gpu else "cpu")
        rectangles = [[lengths[document] for document in group] for group in groups]
    padding, bands = _padded(lengths, rectangles), _band_bytes(c, rectangles, formats)
    narrow, hidden, is_whole = formats.narrow, c.hidden_size, lora is None
    learning = set(LORA_TARGETS if lora is None else lora.targets)
    norm = _norm_bytes(hidden, formats, is_whole=is_whole)
    inputs = hidden * (not learning.isdisjoint("qkv")) + hidden * (not learning.isdisjoint(("gate", "up")))
    inputs += c.intermediate_size * ("down" in learning) + (0 if lora is None else lora.rank * len(learning))
    layer = 2.0 * norm + _attention_bytes(c, padding, formats, is_whole=is_whole)
    if padding and "o" in learning:  # the output is gathered back from rectangles
        inputs += c.num_heads * c.head_dim
    layer += (3 * c.intermediate_size + inputs) * narrow
    shared = c.head_dim * narrow + _BATCH_BYTES_PER_TOKEN  # cosines and sines of each position serve all layers
    last = norm + hidden * narrow
    first = 0 if is_whole or checkpointing else norm  # nothing below the first layer learns
    kept = c.num_layers * hidden * narrow + layer if checkpointing else c.num_layers * layer
    if checkpointing and bands:
        bands = math.ceil(bands / sum(window is not None for window in c.windows))
    return num_tokens * (int(kept) + shared + last - first) + bands


def _norm_bytes(width: int, formats: Formats, *, is_whole: bool) -> int:
    """A norm's input and, where it is not fused and its weight learns, the normalised rows; a statistic of each row."""
    if formats.on_gpu:
        return width * formats.narrow + formats.wide
    return (1 + is_whole) * width * formats.wide + formats.wide


def _attention_bytes(c: DecoderConfig, padding: float, formats: Formats, *, is_whole: bool) -> float:
    """Queries, keys and values as the kernel reads them, its output, and the log-normalisers."""
    heads, groups, width = c.num_heads, c.num_kv_heads, c.head_dim
    per_row = heads * formats.wide
    if padding == 0.0:  # values stay in the fused projection, rotated queries and keys are new
        numbers = (heads + 2 * groups) * width + (heads + groups) * width + heads * width
        kept = float(numbers * formats.narrow + per_row)
    else:  # all are gathered into rectangles
        kept = padding * ((2 * heads + 2 * groups) * width * formats.narrow + per_row)
    return kept + (_head_norm_bytes(c, padding, formats, is_whole=is_whole) if c.qk_norm else 0)


def _head_norm_bytes(c: DecoderConfig, padding: float, formats: Formats, *, is_whole: bool) -> int:
    """Norms of queries and keys: their input is part of the fused projection, unless it is copied to be made wide."""
    rows, width = c.num_heads + c.num_kv_heads, c.head_dim
    is_copied = formats.narrow < formats.wide and not formats.on_gpu
    copies = 0 if formats.on_gpu else is_whole + is_copied
    kept = rows * (copies * width + 1) * formats.wide
    if padding and not is_copied:  # nothing else would keep the projection
        kept += (rows + c.num_kv_heads) * width * formats.narrow
    return kept


def _band_bytes(c: DecoderConfig, rectangles: Sequence[Sequence[int]], formats: Formats) -> int:
    """What windowed layers keep beyond others: bands of keys and values, each block's output and the joined one.

    Of documents whose lengths are unknown the longest possible one is thought.
    """
    heads, groups, width = c.num_heads, c.num_kv_heads, c.head_dim
    kept, mask = 0, 0
    for group in rectangles:
        longest = max(group)
        for window in c.windows:
            if window is None or window >= longest:
                continue
            block, reach = band_blocks(window)
            num_blocks = -(-longest // block)
            # the first blocks have fewer keys before them
            keys = sum(min(index + 1, reach) * block for index in range(num_blocks))
            mask = max(mask, block * min(reach * block, longest) * formats.narrow)  # all layers share it
            row = longest * heads * width * formats.narrow
            kept += len(group) * (min(keys, num_blocks * longest) * 2 * groups * width * formats.narrow + row)
    return kept + mask


def _padded(lengths: Sequence[int] | None, rectangles: Sequence[Sequence[int]]) -> float:
    """P / N for documents of mixed lengths; 0 when all are alike, which needs no padded copies at all."""
    if lengths is None or are_alike(lengths):
        return 0.0
    return sum(max(group) * len(group) for group in rectangles) / sum(lengths)
