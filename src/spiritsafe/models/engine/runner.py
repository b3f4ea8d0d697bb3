"""What turns slots of tokens into one more token each: the cached runner for the Decoder, the plain one for others.

In: prompts for slots, then steps over slots 0..n-1. Out: drawn tokens and log-probabilities, on the device until the
scheduler reads them. Shapes: B slots, T most tokens of a completion, N packed tokens, S heads, K key-value heads,
G = S / K, W head_dim, L live positions.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import torch
from torch import Tensor

from spiritsafe.core.records import Sampling
from spiritsafe.models.decoder.attention import attend, make_layout
from spiritsafe.models.decoder.cpu_packing import can_pack, pack_weight, packed_linear
from spiritsafe.models.decoder.head_product import head_logits
from spiritsafe.models.decoder.module import Block, Decoder
from spiritsafe.models.engine.cuda_graphs import StepGraphs, bucket
from spiritsafe.models.engine.kv_cache import KVCache
from spiritsafe.models.engine.sampler import draw
from spiritsafe.models.interface.batch import Document, pack_documents
from spiritsafe.models.interface.language_model import Head, LanguageModel

_PREFILL_TOKENS = 8192
PACK_LIMIT_BYTES = 2 << 30
"""Beyond it a second copy of the weights costs more memory than its speed is worth."""
_SLOT_STEP = 16
_LENGTH_STEP = {"cpu": 16, "cuda": 64}


@final
@dataclass(frozen=True)
class Admission:
    """A sequence that enters a slot.

    Attributes:
        keep_prompt: More samples of this prompt will be admitted later, so its keys and values are kept.
    """

    slot: int
    prompt_ids: tuple[int, ...]
    seed: int
    keep_prompt: bool


@final
class DecodeState:
    """What a step reads and writes, as fixed tensors (a CUDA graph replays on their addresses).

    Attributes:
        tokens_B: The token each slot feeds next.
        positions_B: The position it stands at.
        steps_B: Tokens drawn so far.
        logprobs_BT: Their log-probabilities.
        broken_B: Whether any logits of the sequence were not finite.
    """

    def __init__(self, num_slots: int, num_positions: int, max_tokens: int, device: torch.device) -> None:
        self._last_position = num_positions - 1
        self.tokens_B = torch.zeros(num_slots, dtype=torch.int64, device=device)
        self.positions_B = torch.zeros_like(self.tokens_B)
        self.steps_B = torch.zeros_like(self.tokens_B)
        self.seeds_B = torch.zeros_like(self.tokens_B)
        self.drawn_BT = torch.zeros((num_slots, max_tokens), dtype=torch.int64, device=device)
        self.logprobs_BT = torch.zeros((num_slots, max_tokens), dtype=torch.float32, device=device)
        self.broken_B = torch.zeros(num_slots, dtype=torch.bool, device=device)

    def start(self, admissions: Sequence[Admission]) -> None:
        """Reset the slots of new sequences: the last prompt token is what they feed first."""
        device = self.tokens_B.device
        slots = torch.tensor([a.slot for a in admissions], device=device)
        self.tokens_B[slots] = torch.tensor([a.prompt_ids[-1] for a in admissions], device=device)
        self.positions_B[slots] = torch.tensor([len(a.prompt_ids) - 1 for a in admissions], device=device)
        self.seeds_B[slots] = torch.tensor([a.seed for a in admissions], device=device)
        self.steps_B[slots] = 0
        self.broken_B[slots] = False

    def tensors(self) -> tuple[Tensor, ...]:
        """All of them."""
        return (
            self.tokens_B,
            self.positions_B,
            self.steps_B,
            self.seeds_B,
            self.drawn_BT,
            self.logprobs_BT,
            self.broken_B,
        )

    def move(self, source: int, target: int) -> None:
        """Copy one slot's state into another."""
        for tensor in self.tensors():
            tensor[target] = tensor[source]

    def record(self, logits_BV: Tensor, sampling: Sampling) -> None:
        """Draw for slots 0..B-1 of the logits, write it down, and make the drawn tokens the next to feed."""
        count = logits_BV.shape[0]
        steps_B = self.steps_B[:count]
        drawn = draw(logits_BV, self.seeds_B[:count], steps_B, sampling)
        self.drawn_BT[:count].scatter_(1, steps_B[:, None], drawn.token_ids_B[:, None])
        self.logprobs_BT[:count].scatter_(1, steps_B[:, None], drawn.logprobs_B[:, None])
        self.tokens_B[:count] = drawn.token_ids_B
        self.broken_B[:count] |= drawn.broken_B
        # Idle slots of a CUDA graph's bucket step along; they must stay inside their buffers.
        self.positions_B[:count].add_(1).clamp_(max=self._last_position)
        steps_B.add_(1).clamp_(max=self.drawn_BT.shape[1] - 1)


def _packed_logits(head: Head, hidden_BH: Tensor, packed: Tensor | None) -> Tensor:
    """As :func:`head_logits`, by the weight that :mod:`~spiritsafe.models.decoder.cpu_packing` laid out, if any."""
    if packed is None:
        return head_logits(head, hidden_BH)
    logits_BV = packed_linear(hidden_BH, packed, None)
    return logits_BV if head.scale == 1.0 else logits_BV * head.scale


def common_prefix(prompts: Sequence[tuple[int, ...]]) -> int:
    """How many leading tokens all prompts share, leaving at least one of each."""
    if not prompts:
        return 0
    first, last = min(prompts), max(prompts)
    limit = min(len(prompt) for prompt in prompts) - 1
    shared = 0
    while shared < limit and first[shared] == last[shared]:
        shared += 1
    return shared


class Runner(ABC):
    """Slots 0..B-1, of which the scheduler keeps the first n busy."""

    state: DecodeState

    @abstractmethod
    def begin(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Learn all prompts of a call, before any is admitted."""

    def end(self) -> None:  # noqa: B027  # nothing to do for most
        """The call is over."""

    @abstractmethod
    def admit(self, admissions: Sequence[Admission]) -> None:
        """Put sequences into slots."""

    @abstractmethod
    def move(self, source: int, target: int, num_positions: int) -> None:
        """Move the sequence in one slot, now ``num_positions`` tokens long, to another."""

    @abstractmethod
    def advance(self, num_slots: int, num_positions: int, num_steps: int, sampling: Sampling) -> None:
        """Draw ``num_steps`` tokens in each of slots 0..n-1; after them no sequence exceeds ``num_positions``."""


@final
class PlainRunner(Runner):
    """Any LanguageModel: recomputes every sequence at each step. Slow and simple; the measure of the cached runner."""

    def __init__(self, model: LanguageModel, *, num_slots: int, max_tokens: int) -> None:
        self._model = model
        self._prompts: list[tuple[int, ...]] = [()] * num_slots
        self._device = model.head().weight_VH.device
        self.state = DecodeState(num_slots, model.max_context, max_tokens, self._device)

    def begin(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Nothing is shared."""

    def admit(self, admissions: Sequence[Admission]) -> None:
        """Remember the prompts."""
        for admission in admissions:
            self._prompts[admission.slot] = admission.prompt_ids
        self.state.start(admissions)

    def move(self, source: int, target: int, num_positions: int) -> None:
        """Move prompt and state."""
        self._prompts[target] = self._prompts[source]
        self.state.move(source, target)

    def advance(self, num_slots: int, num_positions: int, num_steps: int, sampling: Sampling) -> None:
        """Run whole sequences through the model, once for each step."""
        for _ in range(num_steps):
            counts = self.state.steps_B[:num_slots].tolist()
            drawn = self.state.drawn_BT[:num_slots].tolist()
            sequences = [self._prompts[s] + tuple(drawn[s][: counts[s]]) for s in range(num_slots)]
            documents = [Document(token_ids=ids, supervised=(False,) * len(ids)) for ids in sequences]
            hidden_NH = self._model(pack_documents(documents).to(self._device))
            ends = torch.tensor([len(ids) for ids in sequences], device=self._device).cumsum(0) - 1
            self.state.record(head_logits(self._model.head(), hidden_NH[ends]), sampling)


def _attend_step(query_BSW: Tensor, keys: Tensor, values: Tensor, mask: Tensor, block: Block) -> Tensor:
    """One query per head against cached keys: the G heads of a key-value head are rows of one product.

    Scores and weights are float32. Faster than scaled_dot_product_attention for single queries, and nothing is
    repeated for grouped heads.
    """
    num_slots = query_BSW.shape[0]
    group = block.num_heads // block.num_kv_heads
    query = query_BSW.reshape(num_slots * block.num_kv_heads, group, block.head_dim)
    if keys.dtype == torch.float32:
        scores = torch.baddbmm(mask, query.float(), keys.transpose(1, 2), alpha=block.scale)
        mixed = torch.bmm(scores.softmax(-1), values)
    else:
        scores = torch.bmm(query, keys.transpose(1, 2), out_dtype=torch.float32) * block.scale + mask
        mixed = torch.bmm(scores.softmax(-1).to(values.dtype), values)
    return mixed.to(query_BSW.dtype).view(num_slots, block.num_heads, block.head_dim)


@final
class CachedRunner(Runner):
    """The Decoder with a key-value cache; training's own weights and blocks.

    A prompt's last token is fed by the first step, not by the prefill, so that every token is drawn by the same code.
    """

    def __init__(self, model: Decoder, *, num_slots: int, num_positions: int, max_tokens: int) -> None:
        config = model.config
        self._model = model
        self._blocks = [block for block in model.blocks if isinstance(block, Block)]
        device = model.device
        # A CPU multiplies single rows of bfloat16 slowly and imprecisely: its cache is float32.
        self._is_cpu = device.type == "cpu"
        dtype = torch.float32 if self._is_cpu else model.dtype
        self.length_step = _LENGTH_STEP["cuda" if device.type == "cuda" else "cpu"]
        self.cache = KVCache(
            num_layers=config.num_layers,
            num_slots=num_slots,
            num_kv_heads=config.num_kv_heads,
            num_positions=bucket(num_positions, self.length_step),
            head_dim=config.head_dim,
            dtype=dtype,
            device=device,
        )
        self.state = DecodeState(num_slots, self.cache.num_positions, max_tokens, device)
        self._cos_PE, self._sin_PE = model.rope_tables(self.cache.num_positions)
        self._position_L = torch.arange(self.cache.num_positions, device=device)
        self._prefix_ids: tuple[int, ...] = ()
        self._prefix: Tensor | None = None
        self._stored: dict[tuple[int, ...], Tensor] = {}
        self._packed_head: Tensor | None = None
        self._graphs = StepGraphs(self.step, self.state.tensors()) if device.type == "cuda" else None
        self._addresses = self._weight_addresses()

    # ---- prefill

    def begin(self, prompts: Sequence[tuple[int, ...]]) -> None:
        """Compute what all prompts begin with (the chat template's header) once."""
        self._stored.clear()
        self._pack()
        self._renew_graphs()
        shared = common_prefix(prompts)
        self._prefix_ids, self._prefix = (), None
        if shared:
            ids = prompts[0][:shared]
            self._prefill([(0, ids)])
            self._prefix, self._prefix_ids = self.cache.read_slot(0, shared), ids

    def end(self) -> None:
        """Drop what belongs to this call only; the weights may change before the next one."""
        self._stored.clear()
        self._prefix_ids, self._prefix, self._packed_head = (), None, None
        for block in self._blocks:
            for projection in block.projections():
                projection.packed = None

    def _project(self, block: Block) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
        """The block's first half; on a CPU never the compiled one, which knows nothing of packed weights."""
        return partial(Block.project, block) if self._is_cpu else block.project

    def _finish(self, block: Block) -> Callable[[Tensor, Tensor], Tensor]:
        """Its second half."""
        return partial(Block.finish, block) if self._is_cpu else block.finish

    def _weight_addresses(self) -> tuple[int, ...]:
        return tuple(parameter.data_ptr() for parameter in self._model.parameters())

    def _renew_graphs(self) -> None:
        """Forget captured steps if weights have moved, or adapters have come or gone: a replay would not see it.

        An update in place needs no new capture.
        """
        if self._graphs is not None and self._addresses != self._weight_addresses():
            self._graphs, self._addresses = StepGraphs(self.step, self.state.tensors()), self._weight_addresses()

    def _pack(self) -> None:
        """Copy the weights, as they are now, into the layout that a CPU multiplies a few rows with fastest."""
        head = self._model.head().weight_VH
        size = self._model.config.num_parameters * head.itemsize
        if size > PACK_LIMIT_BYTES or not can_pack(head):
            return
        if head.dtype == torch.float32:  # a packed product of half precision would come in half precision
            self._packed_head = pack_weight(head)
        for block in self._blocks:
            for projection in block.projections():
                projection.pack(head.dtype)

    def admit(self, admissions: Sequence[Admission]) -> None:
        """Fill slots: each distinct prompt is computed once and copied to its other samples."""
        slots: dict[tuple[int, ...], list[int]] = {}
        for admission in admissions:
            slots.setdefault(admission.prompt_ids, []).append(admission.slot)
        keep = {a.prompt_ids for a in admissions if a.keep_prompt}
        fresh = [(targets[0], ids[:-1]) for ids, targets in slots.items() if ids not in self._stored]
        if self._prefix is not None:
            self.cache.fill_slots([slot for slot, _ in fresh], self._prefix)
        waiting = [item for item in fresh if len(item[1]) > len(self._prefix_ids)]
        while waiting:
            count, size = 0, 0
            while count < len(waiting) and (count == 0 or size + len(waiting[count][1]) <= _PREFILL_TOKENS):
                size += len(waiting[count][1])
                count += 1
            self._prefill(waiting[:count])
            waiting = waiting[count:]
        for ids, targets in slots.items():
            if ids in self._stored:
                self.cache.fill_slots(targets, self._stored[ids])
            else:
                self.cache.copy_slot(targets[0], targets[1:], len(ids) - 1)
                if ids in keep:
                    self._stored[ids] = self.cache.read_slot(targets[0], len(ids) - 1)
            if ids not in keep:
                self._stored.pop(ids, None)
        self.state.start(admissions)

    def _prefill(self, sequences: Sequence[tuple[int, tuple[int, ...]]]) -> None:
        """Compute keys and values of (slot, tokens) beyond the shared prefix; no logits are needed of any of them."""
        model, device = self._model, self._model.device
        past = len(self._prefix_ids)
        lengths = tuple(len(ids) - past for _, ids in sequences)
        tokens_N = torch.tensor([token for _, ids in sequences for token in ids[past:]], device=device)
        positions_N = torch.cat([torch.arange(past, past + length) for length in lengths]).to(device)
        slots = torch.tensor([slot for slot, _ in sequences])
        slots_N = torch.repeat_interleave(slots, torch.tensor(lengths)).to(device)
        rows = self.cache.rows(slots_N, positions_N)
        layout = make_layout(lengths, device)
        cos_NE, sin_NE = self._cos_PE[positions_N], self._sin_PE[positions_N]
        stream_NH = model.embed(tokens_N)
        for layer, block in enumerate(self._blocks):
            rotated_NRW, value_NKW = self._project(block)(stream_NH, cos_NE, sin_NE)
            self.cache.write(layer, rows, rotated_NRW[:, block.num_heads :], value_NKW)
            if layer == len(self._blocks) - 1:
                break
            prefix = None
            if self._prefix is not None:
                stored = self._prefix[layer].to(model.dtype)
                prefix = (stored[0], stored[1])
            attended_NSW = attend(rotated_NRW, value_NKW, layout, scale=block.scale, window=block.window, prefix=prefix)
            stream_NH = self._finish(block)(stream_NH, attended_NSW)

    # ---- decode

    def move(self, source: int, target: int, num_positions: int) -> None:
        """Copy cache and state."""
        self.cache.copy_slot(source, (target,), num_positions)
        self.state.move(source, target)

    def advance(self, num_slots: int, num_positions: int, num_steps: int, sampling: Sampling) -> None:
        """Run steps over the first slots, attending to the live positions only (rounded up to ``length_step``)."""
        live = min(bucket(num_positions, self.length_step), self.cache.num_positions)
        if self._graphs is None:
            for _ in range(num_steps):
                self.step(num_slots, live, sampling)
        else:
            wide = min(bucket(num_slots, _SLOT_STEP), self.cache.num_slots)
            self._graphs.replay(wide, live, num_steps, sampling)

    def _masks(self, positions_B: Tensor, num_positions: int) -> dict[int | None, Tensor]:
        """For each window in use an additive mask ``[B * K, 1, L]``: 0 where a slot's token may look, else -inf."""
        distance_BL = positions_B[:, None] - self._position_L[None, :num_positions]
        masks: dict[int | None, Tensor] = {}
        for window in {block.window for block in self._blocks}:
            hidden_BL = distance_BL < 0 if window is None else (distance_BL < 0) | (distance_BL >= window)
            mask_BL = torch.zeros(hidden_BL.shape, device=hidden_BL.device).masked_fill_(hidden_BL, float("-inf"))
            masks[window] = mask_BL.repeat_interleave(self.cache.num_kv_heads, dim=0)[:, None]
        return masks

    def step(self, num_slots: int, num_positions: int, sampling: Sampling) -> None:
        """One token for each of slots 0..num_slots-1; reads and writes fixed tensors only."""
        model, state = self._model, self.state
        positions_B = state.positions_B[:num_slots]
        slots_B = torch.arange(num_slots, device=positions_B.device)
        rows = self.cache.rows(slots_B, positions_B)
        masks = self._masks(positions_B, num_positions)
        cos_BE, sin_BE = self._cos_PE[positions_B], self._sin_PE[positions_B]
        stream_BH = model.embed(state.tokens_B[:num_slots])
        for layer, block in enumerate(self._blocks):
            rotated_BRW, value_BKW = self._project(block)(stream_BH, cos_BE, sin_BE)
            self.cache.write(layer, rows, rotated_BRW[:, block.num_heads :], value_BKW)
            keys, values = self.cache.view(layer, num_slots, num_positions)
            attended_BSW = _attend_step(rotated_BRW[:, : block.num_heads], keys, values, masks[block.window], block)
            stream_BH = self._finish(block)(stream_BH, attended_BSW)
        state.record(_packed_logits(model.head(), model.norm(stream_BH), self._packed_head), sampling)
