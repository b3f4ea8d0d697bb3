from __future__ import annotations

from pathlib import Path

import pytest
import torch
from architectures import loaded_decoder

from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.running.engine.cached_runner import CachedRunner
from spiritsafe.models.running.engine.decode_state import Admission
from spiritsafe.models.running.engine.plain_runner import PlainRunner
from spiritsafe.models.running.engine.runner import Runner


def test_both_runners_draw_the_same(tiny_directory: Path) -> None:
    model = loaded_decoder(tiny_directory).model
    assert isinstance(model, Decoder)

    def drawn(runner: Runner) -> list[tuple[list[int], list[float]]]:
        with torch.inference_mode():
            runner.begin(3, 32)
            runner.admit([Admission(slot, (9, 8, *range(3, 3 + slot), 4), seed=slot) for slot in range(3)])
            runner.advance([2, 3, 4], 2)
            runner.move(2, 0, 6)
            runner.state.read(3, 2)
            runner.advance([6, 5], 1)
            return [(reading.token_ids, reading.logprobs) for reading in runner.state.read(2, 1)]

    plain, cached = drawn(PlainRunner(model)), drawn(CachedRunner(model))
    assert [ids for ids, _ in plain] == [ids for ids, _ in cached]
    torch.testing.assert_close([row for _, row in plain], [row for _, row in cached], atol=1e-4, rtol=0)


def test_logits_of_a_prompt_are_the_models(tiny_directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiritsafe.models.running.engine.plain_runner.LOGIT_ROWS", 64)
    model = loaded_decoder(tiny_directory).model
    runner, ids = PlainRunner(model), tuple(range(3, 103))
    with torch.inference_mode():
        parts = list(runner.logits(ids))
        (alone,) = runner.logits(ids[:10])
    assert [len(part) for part in parts] == [64, 36]
    torch.testing.assert_close(parts[0][:10], alone, atol=1e-4, rtol=0)
