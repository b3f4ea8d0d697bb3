from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_gguf import write_gguf

from spiritsafe.core.records import Sampling
from spiritsafe.models.engine.llama_runner import LlamaRunner, feed
from spiritsafe.models.engine.runner import Admission
from spiritsafe.models.llama_cpp.pool import LlamaPool
from spiritsafe.models.llama_cpp.process import LlamaProcess

pytest.importorskip("llama_cpp_py_sync", reason="the gguf extra is not installed")

COMMON = tuple(range(3, 33))
PROMPTS = [(*COMMON, 40), (*COMMON, 50, 51), (*COMMON, 60, 61, 62, 63)]


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The tokens of each prompt's batch, as llama.cpp gets them."""
    batches: list[list[int]] = []
    decode = LlamaProcess.decode

    def heard(self: LlamaProcess, ids: Sequence[int], places: Any, sequences: Any, wanted: Sequence[int]) -> Any:
        if not len(wanted):
            batches.append(list(ids))
        return decode(self, ids, places, sequences, wanted)

    monkeypatch.setattr(LlamaProcess, "decode", heard)
    return batches


def test_what_prompts_and_samples_share_is_computed_once(tmp_path: Path, fed: list[list[int]]) -> None:
    write_gguf(tmp_path / "x.gguf", kind="F32")
    pool, sampling = LlamaPool(tmp_path / "x.gguf"), Sampling(temperature=0.0)
    runner = LlamaRunner(pool, num_slots=3, num_positions=64, max_tokens=8)
    runner.begin(PROMPTS)
    runner.admit(
        [Admission(0, PROMPTS[0], 1, False), Admission(1, PROMPTS[2], 2, False), Admission(2, PROMPTS[2], 3, True)]
    )
    runner.advance(3, 40, 2, sampling)
    runner.move(2, 0, len(PROMPTS[2]) + 1)
    runner.admit([Admission(1, PROMPTS[2], 4, False), Admission(2, PROMPTS[1], 5, False)])
    runner.advance(3, 40, 2, sampling)
    drawn = runner.state.drawn_BT.tolist()
    runner.end()
    # The shared beginning; nothing more of the first prompt but its last token; of the second two tokens, as one alone
    # would be added up otherwise; of the third, asked for three times, three.
    assert fed == [list(COMMON), [60, 61, 62], [COMMON[-1], 50]]
    assert drawn[0][2:4] == drawn[1][2:4] or drawn[0][:2] == drawn[1][:2]

    def alone(prompt: tuple[int, ...], count: int) -> list[int]:
        ids = list(prompt)
        with LlamaProcess(tmp_path / "x.gguf", context=64) as process:
            for _ in range(count):
                ids.append(int(np.argmax(process.logits(ids)[-1])))
        return ids[len(prompt) :]

    assert drawn[0][:4] == alone(PROMPTS[2], 4)
    assert drawn[1][:2] == alone(PROMPTS[2], 2)
    assert drawn[2][:2] == alone(PROMPTS[1], 2)
    pool.close()


@pytest.mark.parametrize("length", [1, 2, 3, 31])
def test_prompts_of_any_length_begin(length: int, tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf", kind="F32")
    pool, prompt = LlamaPool(tmp_path / "x.gguf"), COMMON[:length]
    runner = LlamaRunner(pool, num_slots=2, num_positions=64, max_tokens=8)
    runner.begin([prompt])
    runner.admit([Admission(slot, prompt, slot, False) for slot in range(2)])
    runner.advance(2, 40, 1, Sampling(temperature=0.0))
    drawn = runner.state.drawn_BT[:, 0].tolist()
    runner.end()
    process = pool.take(context=64, num_sequences=1)
    assert drawn == [int(np.argmax(process.logits(prompt)[-1]))] * 2
    pool.give_back(process)
    pool.close()


def test_how_a_prompt_is_cut_changes_no_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_gguf(tmp_path / "x.gguf", kind="Q8_0")
    found = []
    with LlamaProcess(tmp_path / "x.gguf", context=64) as process:
        for most in (512, 16, 7, 3):
            for begun in (0, 1, 5, 29):
                monkeypatch.setattr("spiritsafe.models.engine.llama_runner.BATCH_TOKENS", most)
                process.clear()
                feed(process, 0, COMMON[: begun if begun > 1 else 0], kept=0)
                feed(process, 0, COMMON, kept=begun if begun > 1 else 0)
                found.append(torch.from_numpy(process.decode([1], [30], [0], [0]).copy()))
    assert all(torch.equal(one, found[0]) for one in found)
