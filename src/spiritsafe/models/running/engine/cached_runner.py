"""The Decoder with a key-value cache: training's own weights and blocks, one token a slot and step.

In: as every runner. Out: the same tokens as without a cache. Prompts that begin alike are computed once; what they
begin with is kept for later ones. Shapes: B slots, Q tokens of a slot in one step, N = B · Q or packed tokens, S heads,
K key-value heads, G = S / K, W head_dim, L live positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache, partial
from itertools import groupby
from typing import final

import torch
from torch import Tensor

from spiritsafe.core.errors import BudgetError
from spiritsafe.core.process.free_memory import free_bytes
from spiritsafe.models.decoder.attention import attend, make_layout
from spiritsafe.models.decoder.cpu.packing import (
    HalfWeight,
    HugePages,
    PackedWeight,
    can_pack,
    pack_head,
    packed_linear,
)
from spiritsafe.models.decoder.cpu.step import CpuStep, can_fuse
from spiritsafe.models.decoder.head_product import head_logits
from spiritsafe.models.decoder.module import SIZE_STEP, Block, Decoder
from spiritsafe.models.decoder.sampling_mode import sampling_mode
from spiritsafe.models.interface.language_model import Head
from spiritsafe.models.running.engine.cuda_graphs import StepGraphs, bucket
from spiritsafe.models.running.engine.decode_state import NO_EXTRAS, Admission, DecodeState, Extras, SlotReading
from spiritsafe.models.running.engine.kv_cache import KVCache
from spiritsafe.models.running.engine.plain_runner import LOGIT_ROWS
from spiritsafe.models.running.engine.prefix_store import PrefixStore
from spiritsafe.models.running.engine.runner import PREFILL_TOKENS, PrefillWork, Runner, common_prefix
from spiritsafe.models.running.engine.sampler import RowSampling, draw

PACK_LIMIT_BYTES = 2 << 30
"""Beyond it a second copy of the weights costs more memory than its speed is worth."""
_MANY_ROWS = 64
"""Beyond them a head of bfloat16 that is held in float16 is multiplied faster by that format's own units."""
_SLOT_STEP = 16
_LENGTH_STEP = {"cpu": 16, "cuda": 64}
_CALL_COST = 1000
"""What another call of the attention costs, in positions of a slot that are looked at in vain."""
_MEMORY_SHARE = 0.5
"""Of the free memory, for keys and values of running sequences."""
_PREFIX_SHARE = 0.05
"""Of the free memory, for what prompts begin with."""
_MOST_PREFIX_BYTES = 2 << 30

Segment = tuple[int, int, int]
"""First slot, the slot behind the last, live positions."""


@lru_cache(maxsize=512)
def plan_segments(lengths: tuple[int, ...]) -> tuple[Segment, ...]:
    """Cut slots into runs that are attended together, each to its longest, so that little is looked at in vain.

    Args:
        lengths: Live positions of each slot.
    """
    best: list[tuple[int, int]] = [(0, 0)]
    for end in range(1, len(lengths) + 1):
        longest, options = 0, []
        for start in range(end - 1, -1, -1):
            longest = max(longest, lengths[start])
            options.append((best[start][0] + _CALL_COST + longest * (end - start), start))
        best.append(min(options))
    segments: list[Segment] = []
    end = len(lengths)
    while end:
        start = best[end][1]
        segments.insert(0, (start, end, max(lengths[start:end])))
        end = start
    return tuple(segments)


def _packed_logits(head: Head, hidden_BH: Tensor, packed: PackedWeight | None) -> Tensor:
    """As :func:`head_logits`, by the weight that :mod:`~spiritsafe.models.decoder.cpu.packing` laid out, if any."""
    many = isinstance(packed, HalfWeight) and hidden_BH.dtype == torch.bfloat16 and len(hidden_BH) > _MANY_ROWS
    if packed is None or many:
        return head_logits(head, hidden_BH)
    logits_BV = packed_linear(hidden_BH, packed, None, torch.float32)
    return logits_BV if head.scale == 1.0 else logits_BV * head.scale


def _attend_step(query_NSW: Tensor, keys: Tensor, values: Tensor, mask: Tensor, block: Block) -> Tensor:
    """Q queries a slot and head against cached keys: queries of the G heads of a key-value head are rows of a product.

    Scores and weights are float32. Faster than scaled_dot_product_attention for few queries, and nothing is repeated
    for grouped heads.
    """
    num_kv_heads, width = block.num_kv_heads, block.head_dim
    group = block.num_heads // num_kv_heads
    num_slots = keys.shape[0] // num_kv_heads
    queries = query_NSW.shape[0] // num_slots
    if queries == 1:
        query = query_NSW.reshape(num_slots * num_kv_heads, group, width)
    else:
        split = query_NSW.reshape(num_slots, queries, num_kv_heads, group, width)
        query = split.permute(0, 2, 3, 1, 4).reshape(num_slots * num_kv_heads, group * queries, width)
    if keys.dtype == torch.float32:
        scores = torch.baddbmm(mask, query.float(), keys.transpose(1, 2), alpha=block.scale)
        mixed = torch.bmm(scores.softmax(-1), values)
    else:
        scores = torch.bmm(query, keys.transpose(1, 2), out_dtype=torch.float32) * block.scale + mask
        mixed = torch.bmm(scores.softmax(-1).to(values.dtype), values)
    if queries > 1:
        mixed = mixed.view(num_slots, num_kv_heads, group, queries, width).permute(0, 3, 1, 2, 4)
    return mixed.to(query_NSW.dtype).reshape(num_slots * queries, block.num_heads, width)


@final
class CachedRunner(Runner):
    """Slots of a :class:`~spiritsafe.models.running.engine.kv_cache.KVCache`.

    A prompt's last token is fed by the first step, not by the prefill, so that every token is drawn by the same code.

    Args:
        model: Training may change its weights between :meth:`end` and :meth:`begin`.
        for_few_rows: Where no loops of our own multiply them, hold bfloat16 weights of a CPU a third time, for single
            sequences: from the first step on, so that the same call gives the same tokens.
    """

    def __init__(self, model: Decoder, *, for_few_rows: bool = False) -> None:
        self._model = model
        self._for_few_rows = for_few_rows
        self._blocks = [block for block in model.blocks if isinstance(block, Block)]
        self._is_cpu = model.device.type == "cpu"
        self._fuses = can_fuse(model)
        self._fused: CpuStep | None = None
        kind = "cuda" if model.device.type == "cuda" else "cpu"
        self.length_step = _LENGTH_STEP[kind]
        self.steps_per_look = 8 if kind == "cuda" else 1
        self.can_draft = self._is_cpu
        self._packed_head: PackedWeight | None = None
        self._addresses: tuple[int, ...] = ()
        self._has_begun = False
        self._num_staged = 0
        config = model.config
        # torch on a CPU multiplies single rows of bfloat16 slowly and imprecisely: for it the cache is float32
        self._cache_dtype = model.dtype if self._fuses or not self._is_cpu else torch.float32
        self._token_bytes = 2 * config.num_layers * config.num_kv_heads * config.head_dim * self._cache_dtype.itemsize
        self._free = free_bytes()
        self._store = PrefixStore(min(_MOST_PREFIX_BYTES, int(self._free * _PREFIX_SHARE)))
        self.cache = self._new_cache(1, self.length_step)
        self.state = DecodeState(0, self.length_step, model.device)
        self._graphs = self._new_graphs() if kind == "cuda" else None

    def _new_cache(self, num_slots: int, num_positions: int) -> KVCache:
        config = self._model.config
        if self._is_cpu and num_positions * self._token_bytes > self._free:  # of several, they come one after another
            raise BudgetError(
                f"A sequence of {num_positions} tokens needs {num_positions * self._token_bytes / 1e9:.1f} GB of keys "
                f"and values; {self._free / 1e9:.1f} GB are free.",
                hint="Lower max_context or max_tokens.",
            )
        return KVCache(
            num_layers=config.num_layers,
            num_slots=num_slots,
            num_kv_heads=config.num_kv_heads,
            num_positions=bucket(num_positions, self.length_step),
            head_dim=config.head_dim,
            dtype=self._cache_dtype,
            device=self._model.device,
        )

    # ---- life

    def begin(self, num_slots: int, num_positions: int, *, same_weights: bool = False) -> None:
        """Lay out the weights as they are now; a cache that is large enough is used again."""
        if not (same_weights and self._has_begun):
            self._store.clear()
            self._pack()
        self._has_begun = True
        slots, positions = max(num_slots, self.state.num_slots), max(num_positions, self.cache.num_positions)
        if slots > self.state.num_slots or positions > self.cache.num_positions:
            self.cache = self._new_cache(slots + 1, positions)  # one more, for a prompt that is staged
            self.state = DecodeState(slots, self.cache.num_positions, self._model.device)
            self._tables()
        self._renew()

    def end(self) -> None:
        """Drop what belongs to these weights."""
        self._has_begun = False
        self._store.clear()
        self._packed_head = self._fused = None
        for block in self._blocks:
            for projection in block.projections():
                projection.packed = None

    def reserve(self, num_positions: int, lengths: Sequence[int]) -> None:
        """Twice as long, or longer: what is in the slots is copied, and nothing else, which would take memory."""
        if num_positions <= self.cache.num_positions:
            return
        longer = min(max(num_positions, 2 * self.cache.num_positions), self._model.max_context)
        positions = bucket(max(longer, num_positions), self.length_step)
        free = self.state.num_slots - len(lengths)
        live = [*lengths, *[0] * free, self._num_staged]
        self.cache = self.cache.grown(self.cache.num_slots, positions, live)
        self.state = self.state.grown(self.state.num_slots, positions)
        self._tables()
        self._renew()

    def held_tokens(self) -> int | None:
        """As many as fit half of the memory that was free when the model was loaded."""
        return max(1, int(self._free * _MEMORY_SHARE) // self._token_bytes) if self._is_cpu else None

    def _tables(self) -> None:
        self._cos_PE, self._sin_PE = self._model.rope_tables(self.cache.num_positions)
        self._position_L = torch.arange(self.cache.num_positions, device=self._model.device)

    def _project(self, block: Block) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The block's first half; on a CPU never the compiled one, which knows nothing of packed weights."""
        return partial(Block.project, block) if self._is_cpu else block.project

    def _finish(self, block: Block) -> Callable[[Tensor, Tensor], Tensor]:
        """Its second half."""
        return partial(Block.finish, block) if self._is_cpu else block.finish

    def _new_graphs(self) -> StepGraphs:
        return StepGraphs(self._graph_step, (*self.state.tensors(), *self.state.counters()))

    def _renew(self) -> None:
        """Lay steps out for the weights and the cache that there are now."""
        if self._fuses:
            self._fused = CpuStep(self._model, self._cos_PE, self._sin_PE, self.cache.data)
        self._renew_graphs()

    def _renew_graphs(self) -> None:
        """Forget captured steps if weights or cache have moved, or adapters have come or gone: a replay would not see.

        An update in place needs no new capture.
        """
        moving = (*self._model.parameters(), self.cache.data, self.state.tokens_B)
        addresses = tuple(tensor.data_ptr() for tensor in moving)
        if self._graphs is not None and self._addresses != addresses:
            self._graphs, self._addresses = self._new_graphs(), addresses

    def _pack(self) -> None:
        """Copy the weights, as they are now, into the layout that a CPU multiplies a few rows with fastest."""
        head = self._model.head().weight_VH
        size = self._model.config.num_parameters * head.itemsize
        if size > PACK_LIMIT_BYTES or not can_pack(head):
            return
        memory = HugePages()
        self._packed_head = pack_head(head, memory)
        for block in self._blocks:
            for projection in block.projections():
                projection.pack(head.dtype, memory)
                if self._for_few_rows and head.dtype == torch.bfloat16 and 2 * size <= PACK_LIMIT_BYTES:
                    projection.pack_few()

    # ---- prefill

    def known(self, prompt_ids: tuple[int, ...], cache_key: str | None) -> int:
        """Of all but its last token."""
        return 0 if cache_key is None else self._store.count(cache_key, prompt_ids[:-1])

    def prefill_tokens(self, past: int) -> int:
        """By the work that they are; a GPU computes as many as are computed at once at all."""
        if not self._is_cpu:
            return PREFILL_TOKENS
        return PrefillWork.of(self._model.config, torch.get_num_threads()).part_tokens(past)

    def _restore(self, slot: int, ids: tuple[int, ...], cache_key: str | None) -> int:
        """Fill a slot with what is known of a prompt; returns how much that is."""
        done = 0
        for stored in () if cache_key is None else self._store.find(cache_key, ids[:-1]):
            self.cache.fill_slot(slot, done, stored)
            done += stored.shape[3]
        return done

    def _keep(self, slot: int, ids: tuple[int, ...], cache_key: str | None) -> None:
        if cache_key is not None:
            self._store.keep(cache_key, ids, partial(self.cache.read_slot, slot))

    def admit(self, admissions: Sequence[Admission]) -> list[int]:
        """Fill slots: each distinct prompt is computed once and copied to its other samples."""
        slots: dict[tuple[str | None, tuple[int, ...]], list[int]] = {}
        for admission in admissions:
            slots.setdefault((admission.cache_key, admission.prompt_ids), []).append(admission.slot)
        staged = {admission.slot for admission in admissions if admission.is_staged}
        known: dict[int, int] = {}
        waiting: list[tuple[str | None, tuple[int, ...], int, int]] = []
        for (key, ids), (first, *others) in slots.items():
            if first in staged:
                self.cache.copy_slot(self.state.num_slots, [first], len(ids) - 1)
                done = len(ids) - 1
            else:
                done = self._restore(first, ids, key)
            known |= {first: done, **dict.fromkeys(others, len(ids) - 1)}
            if done < len(ids) - 1:
                waiting.append((key, ids, first, done))
        self._compute(waiting)
        for (key, ids), (first, *others) in slots.items():
            self._keep(first, ids[:-1], key)
            self.cache.copy_slot(first, others, len(ids) - 1)
        self.state.start(admissions)
        return [known[admission.slot] for admission in admissions]

    def _compute(self, waiting: Sequence[tuple[str | None, tuple[int, ...], int, int]]) -> None:
        """Compute prompts of (key, tokens, slot, known tokens); what those of one key begin with only once."""

        def alike(item: tuple[str | None, tuple[int, ...], int, int]) -> tuple[str, int, tuple[int, ...]]:
            key, ids, _, done = item
            return key or "", done, ids[:done]

        for (_, done, _), members in groupby(sorted(waiting, key=alike), key=alike):
            prompts = [(ids, slot) for _, ids, slot, _ in members]
            shared = common_prefix([ids for ids, _ in prompts]) if len(prompts) > 1 else done
            if shared > done:
                ids, first = prompts[0]
                self._prefill([(first, ids[:shared])], done)
                self.cache.copy_slot(first, [slot for _, slot in prompts[1:]], shared)
            else:
                shared = done
            rest = [(slot, ids[:-1]) for ids, slot in prompts if len(ids) - 1 > shared]
            while rest:
                count, size = 0, 0
                while count < len(rest) and (count == 0 or size + len(rest[count][1]) - shared <= PREFILL_TOKENS):
                    size += len(rest[count][1]) - shared
                    count += 1
                self._prefill(rest[:count], shared)
                rest = rest[count:]

    def stage(self, prompt_ids: tuple[int, ...], cache_key: str | None, start: int, end: int) -> int:
        """Compute a part of a prompt in a slot of its own."""
        slot = self.state.num_slots
        if start == 0:
            start = self._restore(slot, prompt_ids, cache_key)
        end = min(max(end, start), len(prompt_ids) - 1)
        if end > start:
            self._prefill([(slot, prompt_ids[:end])], start)
        self._num_staged = end
        return end

    def _prefill(self, sequences: Sequence[tuple[int, tuple[int, ...]]], past: int) -> None:
        """Compute keys and values of (slot, tokens) from position ``past`` on; no logits are needed of any of them."""
        self._feed(self.cache, sequences, past, through=False)

    @sampling_mode()
    def _feed(
        self, cache: KVCache, sequences: Sequence[tuple[int, tuple[int, ...]]], past: int, *, through: bool
    ) -> Tensor:
        """Compute (slot, tokens) from position ``past`` on; the first tokens of all are the same and in the slots.

        Args:
            through: To the end of the last block too, whose keys and values need nothing behind them.

        Returns:
            The stream ``[N, H]``.
        """
        model, device = self._model, self._model.device
        tokens = [token for _, ids in sequences for token in ids[past:]]
        positions_N = torch.cat([torch.arange(past, len(ids)) for _, ids in sequences])
        slots_N = torch.cat([torch.full((len(ids) - past,), slot) for slot, ids in sequences])
        rows = cache.rows(slots_N.to(device), positions_N.to(device))
        lengths = [len(ids) - past for _, ids in sequences]
        filler = self._filler(len(tokens))
        if filler:
            tokens += [0] * filler
            lengths.append(filler)
            positions_N = torch.cat((positions_N, torch.zeros(filler, dtype=torch.int64)))
        real = len(tokens) - filler
        layout = make_layout(tuple(lengths), device)
        cos_NE, sin_NE = (table_PE[positions_N.to(device)] for table_PE in model.rope_tables(cache.num_positions))
        stream_NH = model.embed(torch.tensor(tokens, device=device))
        for layer, block in enumerate(self._blocks):
            rotated_NRW, value_NKW = self._project(block)(stream_NH, cos_NE, sin_NE)
            cache.write(layer, rows, rotated_NRW[:real, block.num_heads :], value_NKW[:real])
            if layer == len(self._blocks) - 1 and not through:
                break
            prefix = None
            if past:
                stored = cache.data[layer, :, sequences[0][0], :, :past].to(model.dtype)
                prefix = (stored[0], stored[1])
            attended_NSW = attend(rotated_NRW, value_NKW, layout, scale=block.scale, window=block.window, prefix=prefix)
            stream_NH = self._finish(block)(stream_NH, attended_NSW)
        return stream_NH[:real]

    def _filler(self, num_tokens: int) -> int:
        """Rows to add, because for each size of a half-precision product oneDNN keeps kernels for ever."""
        return -num_tokens % SIZE_STEP if self._is_cpu and self._model.dtype == torch.bfloat16 else 0

    # ---- decode

    def move(self, source: int, target: int, num_positions: int) -> None:
        """Copy cache and state."""
        self.cache.copy_slot(source, (target,), num_positions)
        self.state.move(source, target)

    def free(self, slot: int, num_positions: int, *, wipe: bool = False) -> None:
        """Give the slot's memory back."""
        if wipe:
            self.cache.data[:, :, slot].zero_()
        self.cache.release(slot, num_positions)

    def advance(self, lengths: Sequence[int], num_steps: int, extras: Extras = NO_EXTRAS) -> None:
        """Run steps over the first slots, attending to the live positions only (rounded up to ``length_step``)."""
        count = len(lengths)
        if self._graphs is not None and extras is NO_EXTRAS:
            wide = min(bucket(count, _SLOT_STEP), self.state.num_slots)
            self._graphs.replay(wide, self._live(max(lengths) + num_steps), num_steps, self.state.sampling(count, wide))
            return
        how = self.state.sampling(count)
        for step in range(num_steps):
            live = tuple(self._live(length + step + 1) for length in lengths)
            self.state.record(self._logits_of(self.state.tokens_B[:count, None], live), how, extras)

    def _live(self, num_positions: int) -> int:
        return min(bucket(num_positions, self.length_step), self.cache.num_positions)

    def _graph_step(self, num_slots: int, num_positions: int, how: RowSampling) -> None:
        """One token for each of slots 0..num_slots-1; reads and writes fixed tensors only."""
        tokens_B1 = self.state.tokens_B[:num_slots, None]
        self.state.record(self._logits_of(tokens_B1, (num_positions,) * num_slots), how)
        self.state.stay_inside(num_slots)

    def advance_drafts(self, lengths: Sequence[int], drafts: Sequence[Sequence[int]]) -> list[SlotReading]:
        """Draw the next token of slots 0..n-1, and of each those behind it for as long as drafts foretold them.

        Args:
            lengths: Positions that the slots hold.
            drafts: For each slot what may come next, all of one length.
        """
        count, width = len(lengths), 1 + len(drafts[0])
        drafts_BQ = torch.tensor([list(draft) for draft in drafts], dtype=torch.int64).view(count, width - 1)
        tokens_BQ = torch.cat((self.state.tokens_B[:count, None], drafts_BQ), dim=1)
        logits_NV = self._logits_of(tokens_BQ, tuple(self._live(length + width) for length in lengths))
        seeds_N = self.state.seeds_B[:count].repeat_interleave(width)
        steps_N = (self.state.steps_B[:count, None] + torch.arange(width)).flatten()
        drawn = draw(logits_NV, seeds_N, steps_N, self.state.sampling(count).repeated(width))
        return self.state.accept(drawn, drafts)

    def _masks(self, positions_BQ: Tensor, num_positions: int) -> dict[int | None, Tensor]:
        """For each window in use an additive mask, 0 where a token may look, else -inf: ``[B * K, 1 or G * Q, L]``."""
        distance_BQL = positions_BQ[:, :, None] - self._position_L[None, None, :num_positions]
        num_kv_heads = self.cache.num_kv_heads
        group = self._blocks[0].num_heads // num_kv_heads
        masks: dict[int | None, Tensor] = {}
        for window in {block.window for block in self._blocks}:
            hidden = distance_BQL < 0 if window is None else (distance_BQL < 0) | (distance_BQL >= window)
            mask_BQL = torch.zeros(hidden.shape, device=hidden.device).masked_fill_(hidden, float("-inf"))
            if positions_BQ.shape[1] > 1:
                mask_BQL = mask_BQL.repeat(1, group, 1)
            masks[window] = mask_BQL.repeat_interleave(num_kv_heads, dim=0)
        return masks

    @sampling_mode()
    def _logits_of(self, tokens_BQ: Tensor, live_B: tuple[int, ...]) -> Tensor:
        """Feed Q tokens to each of the first slots; logits ``[B * Q, V]`` behind them.

        Args:
            live_B: Positions of each slot that hold something then, or more.
        """
        model, (count, width) = self._model, tokens_BQ.shape
        positions_BQ = self.state.positions_B[:count, None]
        if width > 1:
            positions_BQ = positions_BQ + torch.arange(width, device=positions_BQ.device)
        slots_N = torch.arange(count, device=positions_BQ.device).repeat_interleave(width)
        stream_NH = model.embed(tokens_BQ.flatten())
        if self._fused is not None:
            hidden_NH = self._fused(stream_NH, slots_N, positions_BQ.flatten(), width)
        else:
            hidden_NH = model.norm(self._plain_step(stream_NH, slots_N, positions_BQ, live_B))
        return _packed_logits(model.head(), hidden_NH, self._packed_head)

    def _plain_step(self, stream_NH: Tensor, slots_N: Tensor, positions_BQ: Tensor, live_B: tuple[int, ...]) -> Tensor:
        """The stream behind the last block, by the module's own operations."""
        width, positions_N = positions_BQ.shape[1], positions_BQ.flatten()
        rows = self.cache.rows(slots_N, positions_N)
        segments = plan_segments(live_B)
        masks = [self._masks(positions_BQ[start:end], live) for start, end, live in segments]
        cos_NE, sin_NE = self._cos_PE[positions_N], self._sin_PE[positions_N]
        for layer, block in enumerate(self._blocks):
            rotated_NRW, value_NKW = self._project(block)(stream_NH, cos_NE, sin_NE)
            self.cache.write(layer, rows, rotated_NRW[:, block.num_heads :], value_NKW)
            query_NSW = rotated_NRW[:, : block.num_heads]
            parts = []
            for (start, end, live), mask in zip(segments, masks, strict=True):
                keys, values = self.cache.view(layer, slice(start, end), live)
                query = query_NSW if len(segments) == 1 else query_NSW[start * width : end * width]
                parts.append(_attend_step(query, keys, values, mask[block.window], block))
            stream_NH = self._finish(block)(stream_NH, parts[0] if len(parts) == 1 else torch.cat(parts))
        return stream_NH

    def logits(self, prompt_ids: tuple[int, ...]) -> Iterator[Tensor]:
        """In the parts of a long prompt, each behind what is kept of those before it in a cache of its own."""
        cache, done = self._new_cache(1, len(prompt_ids)), 0
        while done < len(prompt_ids):
            end = min(done + self.prefill_tokens(done), len(prompt_ids))
            hidden_NH = self._model.norm(self._feed(cache, [(0, prompt_ids[:end])], done, through=True))
            for rows_RH in torch.split(hidden_NH, LOGIT_ROWS):
                yield _packed_logits(self._model.head(), rows_RH, self._packed_head)
            done = end
