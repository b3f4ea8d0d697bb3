from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from architectures import loaded_decoder

from spiritsafe.core.records import Message, Prompt, Sampling
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.engine.local_generator import LocalGenerator
from spiritsafe.models.engine.runner import Admission, CachedRunner, DecodeState, common_prefix


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ([(1, 2, 3), (1, 2, 4)], 2),
        ([(1, 2, 3)], 2),
        ([(1, 2), (1, 2, 3)], 1),
        ([(5,), (1, 2)], 0),
        ([(1, 9, 3), (1, 2, 3), (1, 2, 4)], 1),
        ([], 0),
    ],
)
def test_common_prefix(prompts: list[tuple[int, ...]], expected: int) -> None:
    assert common_prefix(prompts) == expected


@pytest.mark.parametrize("max_batch", [3, 64])
def test_each_prompt_and_the_common_beginning_are_computed_once(
    max_batch: int, tiny_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = loaded_decoder(tiny_directory)
    computed: list[tuple[int, ...]] = []
    original = CachedRunner._prefill

    def spy(self: CachedRunner, sequences: Sequence[tuple[int, tuple[int, ...]]]) -> None:
        past = len(self._prefix_ids)
        computed.extend(ids[past:] for _, ids in sequences)
        original(self, sequences)

    monkeypatch.setattr(CachedRunner, "_prefill", spy)
    texts = ["one and all", "one and none of them", "one"]
    prompts = [Prompt(problem_id=text, messages=(Message(role="user", content=text),), num_samples=5) for text in texts]
    list(LocalGenerator(loaded, max_batch=max_batch).generate(prompts, Sampling(max_tokens=3)))
    ids = [tuple(loaded.chat.prompt_ids(prompt.messages)) for prompt in prompts]
    shared = common_prefix(ids)
    assert shared > 5
    assert computed[0] == ids[0][:shared]
    assert sorted(computed[1:]) == sorted(one[shared:-1] for one in ids)


def test_long_prefills_are_cut(tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiritsafe.models.engine.runner._PREFILL_TOKENS", 40)
    prompts = [
        Prompt(problem_id=str(i), messages=(Message(role="user", content=f"{i}" * (4 * i + 1)),)) for i in range(6)
    ]
    sampling = Sampling(max_tokens=4)
    found = [a.token_ids for a in LocalGenerator(loaded_decoder(tiny_directory)).generate(prompts, sampling)]
    monkeypatch.undo()
    expected = [a.token_ids for a in LocalGenerator(loaded_decoder(tiny_directory)).generate(prompts, sampling)]
    assert found == expected


def test_idle_slots_stay_inside_their_buffers() -> None:
    state = DecodeState(2, num_positions=4, max_tokens=3, device=torch.device("cpu"))
    state.start([Admission(slot=0, prompt_ids=(7, 8), seed=1, keep_prompt=False)])
    assert (state.tokens_B[0].item(), state.positions_B[0].item()) == (8, 1)
    for _ in range(6):
        state.record(torch.randn(2, 30), Sampling())
    assert state.positions_B.tolist() == [3, 3]
    assert state.steps_B.tolist() == [2, 2]


def test_moved_state_goes_on_as_before() -> None:
    state = DecodeState(3, num_positions=9, max_tokens=5, device=torch.device("cpu"))
    state.start([Admission(slot=slot, prompt_ids=(slot,), seed=slot, keep_prompt=False) for slot in range(3)])
    state.record(torch.randn(3, 30), Sampling())
    kept = [tensor[2].clone() for tensor in state.tensors()]
    state.move(2, 0)
    for tensor, value in zip(state.tensors(), kept, strict=True):
        assert torch.equal(tensor[0], value)


def test_only_live_positions_are_attended(tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = loaded_decoder(tiny_directory).model
    assert isinstance(model, Decoder)
    runner = CachedRunner(model, num_slots=2, num_positions=200, max_tokens=8)
    seen: list[int] = []
    original = runner.cache.view
    monkeypatch.setattr(
        runner.cache, "view", lambda layer, slots, live: seen.append(live) or original(layer, slots, live)
    )
    with torch.inference_mode():
        runner.begin([(1, 2, 3)])
        runner.admit([Admission(slot=0, prompt_ids=(1, 2, 3), seed=0, keep_prompt=False)])
        runner.advance(1, 4, 1, Sampling())
    assert max(seen) == runner.length_step < 200
