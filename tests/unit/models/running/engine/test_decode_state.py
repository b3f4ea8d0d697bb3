from __future__ import annotations

import torch

from spiritsafe.core.records import Sampling
from spiritsafe.models.running.engine.decode_state import Admission, DecodeState, Extras
from spiritsafe.models.running.engine.sampler import RowSampling, draw

CPU = torch.device("cpu")


def test_idle_slots_stay_inside_their_buffers() -> None:
    state = DecodeState(2, 4, CPU, num_steps=6)
    state.start([Admission(slot=0, prompt_ids=(7, 8), seed=1)])
    assert (state.tokens_B[0].item(), state.positions_B[0].item()) == (8, 1)
    for _ in range(6):
        state.record(torch.randn(2, 30), RowSampling())
        state.stay_inside(2)
    assert state.positions_B.tolist() == [3, 3]
    assert len(state.read(2, 6)[0].token_ids) == 6


def test_moved_and_grown_state_goes_on_as_before() -> None:
    state = DecodeState(3, 9, CPU)
    hows = [Sampling(temperature=0.0), Sampling(), Sampling(temperature=0.5, top_k=3)]
    state.start([Admission(slot=slot, prompt_ids=(slot,), seed=slot, how=how) for slot, how in enumerate(hows)])
    state.record(torch.randn(3, 30), state.sampling(3))
    kept = [tensor[2].clone() for tensor in state.tensors()]
    state.move(2, 0)
    larger = state.grown(5, 20)
    for tensor, value in zip(larger.tensors(), kept, strict=True):
        assert torch.equal(tensor[0], value)
    assert larger.sampling(1).temperature == 0.5
    assert larger.sampling(1).top_k == 3
    assert larger.sampling(1, width=4).key == larger.sampling(1).key
    assert isinstance(larger.sampling(2).temperature, torch.Tensor)


def test_penalties_move_logits_as_transformers_does() -> None:
    logits = torch.tensor([[2.0, -2.0, 1.0], [1.0, 1.0, 1.0]])
    extras = Extras(scale=[(0, 0, 2.0), (0, 1, 2.0)], bias=[(0, 2, -0.5), (0, 2, -0.5), (1, 1, 4.0)])
    extras.change(logits)
    assert logits.tolist() == [[1.0, -4.0, 0.0], [1.0, 5.0, 1.0]]


def test_what_drafts_foretold_is_taken_up_to_the_first_that_was_wrong() -> None:
    state = DecodeState(2, 32, CPU)
    state.start([Admission(slot=slot, prompt_ids=(1, 2), seed=0, how=Sampling(temperature=0.0)) for slot in range(2)])
    logits = torch.full((6, 10), -9.0)
    for row, token in enumerate([4, 5, 6, 7, 8, 9]):
        logits[row, token] = 9.0

    drawn = draw(logits, torch.zeros(6, dtype=torch.int64), torch.zeros(6, dtype=torch.int64), Sampling(temperature=0))
    readings = state.accept(drawn, [[4, 5], [7, 1]])
    assert [reading.token_ids for reading in readings] == [[4, 5, 6], [7, 8]]
    assert state.tokens_B.tolist() == [6, 8]
    assert state.positions_B.tolist() == [4, 3]
    assert state.steps_B.tolist() == [3, 2]
