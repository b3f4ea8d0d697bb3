from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from architectures import decoder_of, loaded_decoder, peer_of, random_config

from spiritsafe.core.records import Message, Prompt, Sampling
from spiritsafe.models.decoder.cpu import threads
from spiritsafe.models.decoder.cpu.packing import can_pack
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.running.engine.cached_runner import CachedRunner, plan_segments
from spiritsafe.models.running.engine.decode_state import Admission
from spiritsafe.models.running.engine.runner import common_prefix
from spiritsafe.models.running.generators.local_generator import LocalGenerator


def decoder(directory: Path) -> Decoder:
    model = loaded_decoder(directory).model
    assert isinstance(model, Decoder)
    return model


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The tokens that prefills computed."""
    tokens: list[tuple[int, ...]] = []
    original = CachedRunner._prefill

    def spy(self: CachedRunner, sequences: Sequence[tuple[int, tuple[int, ...]]], past: int) -> None:
        tokens.extend(ids[past:] for _, ids in sequences)
        original(self, sequences, past)

    monkeypatch.setattr(CachedRunner, "_prefill", spy)
    return tokens


def some_prompts(texts: Sequence[str], num_samples: int = 1) -> list[Prompt]:
    return [
        Prompt(problem_id=text, messages=(Message(role="user", content=text),), num_samples=num_samples)
        for text in texts
    ]


@pytest.mark.parametrize("max_batch", [3, 64])
def test_each_prompt_and_the_common_beginning_are_computed_once(
    max_batch: int, tiny_directory: Path, computed: list[tuple[int, ...]]
) -> None:
    loaded = loaded_decoder(tiny_directory)
    prompts = some_prompts(["one and all", "one and none of them", "one"], num_samples=5)
    list(LocalGenerator(loaded, max_batch=max_batch).generate(prompts, Sampling(max_tokens=3)))
    ids = [tuple(loaded.chat.prompt_ids(prompt.messages)) for prompt in prompts]
    shared = common_prefix(ids)
    assert shared > 5
    if max_batch == 64:
        assert computed[0] in {one[:shared] for one in ids}
        assert sorted(computed[1:]) == sorted(one[shared:-1] for one in ids)
    # with few slots the first prompt is computed whole; of what later ones share with it only part of a block is
    assert sum(map(len, computed)) <= shared + sum(len(one) - 1 - shared for one in ids) + 2 * 16


def test_what_was_computed_is_kept_where_weights_stay(tiny_directory: Path, computed: list[tuple[int, ...]]) -> None:
    loaded = loaded_decoder(tiny_directory)
    prompts, sampling = some_prompts(["a question that is asked twice", "and another one"]), Sampling(max_tokens=4)
    generator = LocalGenerator(loaded, same_weights=True)
    first = [attempt.token_ids for attempt in generator.generate(prompts, sampling)]
    computed.clear()
    assert [attempt.token_ids for attempt in generator.generate(prompts, sampling)] == first
    assert computed == []
    generator.close()
    trained = LocalGenerator(loaded)
    list(trained.generate(prompts, sampling))
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.mul_(1.05)
    computed.clear()
    found = [attempt.token_ids for attempt in trained.generate(prompts, sampling)]
    assert computed
    assert found == [attempt.token_ids for attempt in LocalGenerator(loaded).generate(prompts, sampling)]


@pytest.mark.parametrize("for_few_rows", [True, False])
def test_weights_are_laid_out_for_few_rows_where_that_is_asked(
    for_few_rows: bool, tiny_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From the first step on, so that the same call gives the same tokens; and it is what the model computes."""
    monkeypatch.setattr(threads, "has_numba", lambda: False)  # loops of our own need no third copy
    model = decoder(tiny_directory).to(torch.bfloat16)
    if not can_pack(model.head().weight_VH):
        pytest.skip("this machine packs no bfloat16")
    runner = CachedRunner(model, for_few_rows=for_few_rows)
    ids = tuple(5 + n % 200 for n in range(60))
    with torch.inference_mode():
        runner.begin(1, 100)
        runner.admit([Admission(slot=0, prompt_ids=ids[:2], seed=0)])
        found = []
        for length in range(1, len(ids) - 1):
            runner.state.tokens_B[0], runner.state.positions_B[0] = ids[length], length
            found.append(runner._logits_of(runner.state.tokens_B[:1, None], (80,)))
        copies = {p.packed.few is not None for block in runner._blocks for p in block.projections() if p.packed}
        plain = torch.cat(list(runner.logits(ids[:-1])))[1:]
        runner.end()
        exact = torch.cat(list(CachedRunner(model.float()).logits(ids[:-1])))[1:]
    assert copies == {for_few_rows}
    assert all(p.packed is None for block in runner._blocks for p in block.projections())
    assert found[0].dtype == torch.float32
    off, plainly_off = torch.cat(found) - exact, plain - exact
    assert off.square().mean() < 2 * plainly_off.square().mean()


def test_long_prefills_are_cut(tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiritsafe.models.running.engine.cached_runner.PREFILL_TOKENS", 40)
    prompts = some_prompts([f"{i}" * (4 * i + 1) for i in range(6)])
    sampling = Sampling(max_tokens=4)
    found = [a.token_ids for a in LocalGenerator(loaded_decoder(tiny_directory)).generate(prompts, sampling)]
    monkeypatch.undo()
    expected = [a.token_ids for a in LocalGenerator(loaded_decoder(tiny_directory)).generate(prompts, sampling)]
    assert found == expected


def test_only_live_positions_are_attended(tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiritsafe.models.running.engine.cached_runner.can_fuse", lambda model: False)
    runner = CachedRunner(decoder(tiny_directory))
    seen: list[int] = []
    with torch.inference_mode():
        runner.begin(2, 200)
        original = runner.cache.view
        monkeypatch.setattr(
            runner.cache, "view", lambda layer, slots, live: seen.append(live) or original(layer, slots, live)
        )
        runner.admit([Admission(slot=0, prompt_ids=(1, 2, 3), seed=0)])
        runner.advance([2], 1)
    assert max(seen) == runner.length_step < 200


def test_segments_cover_all_slots_and_cost_least() -> None:
    rng = random.Random(0)
    for _ in range(40):
        lengths = tuple(rng.choice([16, 32, 400, 8000]) for _ in range(rng.randint(1, 9)))
        segments = plan_segments(lengths)
        assert segments[0][0] == 0
        assert segments[-1][1] == len(lengths)
        assert all(a[1] == b[0] for a, b in pairwise(segments))
        assert all(live == max(lengths[start:end]) for start, end, live in segments)

        def cost(cuts: Sequence[int], lengths: tuple[int, ...] = lengths) -> int:
            return sum(1000 + (end - start) * max(lengths[start:end]) for start, end in pairwise(cuts))

        inner = range(1, len(lengths))
        every = (
            [0, *(cut for cut in inner if bits >> cut & 1), len(lengths)] for bits in range(0, 1 << len(lengths), 2)
        )
        assert cost([0, *(end for _, end, _ in segments)]) == min(map(cost, every))


def test_neighbours_of_any_length_change_nothing(tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiritsafe.models.running.engine.cached_runner._CALL_COST", 1)
    plan_segments.cache_clear()
    loaded = loaded_decoder(tiny_directory)
    prompts = some_prompts(["x" * 90, "y", "z" * 60, "what is it", "q" * 3])
    sampling = Sampling(max_tokens=12)
    together = {a.problem_id: a for a in LocalGenerator(loaded).generate(prompts, sampling)}
    for prompt in prompts:
        (alone,) = LocalGenerator(loaded).generate([prompt], sampling)
        assert alone.token_ids == together[prompt.problem_id].token_ids
        assert alone.logprobs == pytest.approx(together[prompt.problem_id].logprobs, abs=1e-4)
    plan_segments.cache_clear()


def test_slots_grow_while_sequences_are_in_them(tiny_directory: Path) -> None:
    model = decoder(tiny_directory)
    drawn = []
    for positions in (16, 200):
        runner = CachedRunner(model)
        with torch.inference_mode():
            runner.begin(2, positions)
            runner.admit([Admission(slot, (5, 6, 7 + slot), seed=slot) for slot in range(2)])
            tokens = []
            for step in range(40):
                runner.reserve(2 + step + 1, [2 + step] * 2)
                runner.advance([2 + step] * 2, 1)
                tokens.append([reading.token_ids[0] for reading in runner.state.read(2, 1)])
        drawn.append(tokens)
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("window", [None, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_logits_in_parts_are_those_of_transformers_whatever_is_drawn_between_them(
    dtype: torch.dtype, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = peer_of(random_config("mistral", 1) | {"sliding_window": window})
    model = decoder_of(peer).to(dtype)
    monkeypatch.setattr("spiritsafe.models.running.engine.cached_runner.LOGIT_ROWS", 9)
    monkeypatch.setattr(CachedRunner, "prefill_tokens", lambda self, past: 16)
    scored, drawn = tuple(range(3, 53)), []
    with torch.inference_mode():
        exact = peer(torch.tensor([scored])).logits[0]
        theirs = peer.to(dtype)(torch.tensor([scored])).logits[0]
        for scores in (False, True):
            runner = CachedRunner(model)
            runner.begin(2, 16)  # shorter than what is scored
            runner.admit([Admission(slot, (5, 6, 7 + slot), seed=slot) for slot in range(2)])
            parts = runner.logits(scored) if scores else iter(())
            rows, tokens = list[torch.Tensor](), []
            for step in range(10):
                rows += [part for part in [next(parts, None)] if part is not None]
                runner.advance([2 + step] * 2, 1)
                tokens.append([reading.token_ids[0] for reading in runner.state.read(2, 1)])
            drawn.append(tokens)
    assert [len(part) for part in rows] == [9, 7, 9, 7, 9, 7, 2]
    assert (torch.cat(rows) - exact).abs().max() < 1e-4 + 2 * (theirs - exact).abs().max(), "they round as much"
    assert drawn[0] == drawn[1]
