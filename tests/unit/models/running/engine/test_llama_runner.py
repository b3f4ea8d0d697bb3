from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_gguf import write_gguf

from spiritsafe.core.records import Sampling
from spiritsafe.models.llama_cpp.pool import LlamaPool
from spiritsafe.models.llama_cpp.process import LlamaProcess
from spiritsafe.models.running.engine.decode_state import Admission
from spiritsafe.models.running.engine.llama_runner import LlamaRunner, feed, served_context
from spiritsafe.models.running.engine.runner import PrefillWork

pytest.importorskip("llama_cpp_py_sync", reason="the gguf extra is not installed")

COMMON = tuple(range(3, 33))
PROMPTS = [(*COMMON, 40), (*COMMON, 50, 51), (*COMMON, 60, 61, 62, 63)]


def admission(slot: int, prompt: tuple[int, ...]) -> Admission:
    return Admission(slot, prompt, seed=slot, how=Sampling(temperature=0.0))


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
    pool = LlamaPool(tmp_path / "x.gguf")
    runner = LlamaRunner(pool, token_bytes=64)
    runner.begin(3, 64)
    first, second, third = (len(prompt) - 1 for prompt in PROMPTS)
    runner.admit([admission(0, PROMPTS[0]), admission(1, PROMPTS[2]), admission(2, PROMPTS[2])])
    runner.advance([first, third, third], 2)
    before = [reading.token_ids for reading in runner.state.read(3, 2)]
    runner.move(2, 0, third + 2)
    known = runner.admit([admission(1, PROMPTS[2]), admission(2, PROMPTS[1])])
    assert known == [third, len(COMMON)]
    runner.advance([third + 2, third, second], 2)
    drawn = [reading.token_ids for reading in runner.state.read(3, 2)]
    drawn[0] = before[2] + drawn[0]
    runner.end()
    # The shared beginning; nothing more of the first prompt but its last token; of the second two tokens, as one alone
    # would be added up otherwise; of the third, asked for three times, three.
    assert fed == [list(COMMON), [60, 61, 62], [COMMON[-1], 50]]

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
    runner = LlamaRunner(pool, token_bytes=64)
    runner.begin(2, 64)
    runner.admit([admission(slot, prompt) for slot in range(2)])
    runner.advance([length - 1] * 2, 1)
    drawn = [reading.token_ids[0] for reading in runner.state.read(2, 1)]
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
                monkeypatch.setattr("spiritsafe.models.running.engine.llama_runner.BATCH_TOKENS", most)
                process.clear()
                feed(process, 0, COMMON[: begun if begun > 1 else 0], kept=0)
                feed(process, 0, COMMON, kept=begun if begun > 1 else 0)
                found.append(torch.from_numpy(process.decode([1], [30], [0], [0]).copy()))
    assert all(torch.equal(one, found[0]) for one in found)


def test_a_prompt_in_parts_and_prompts_of_others_are_the_same_to_the_last_bit(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf", kind="Q8_0")
    pool, prompt = LlamaPool(tmp_path / "x.gguf"), PROMPTS[2]
    logprobs = []
    for parts in ((), (7, 8, 33), (1, 33)):
        runner = LlamaRunner(pool, token_bytes=64)
        runner.begin(2, 64)
        done = 0
        for end in parts:
            done = runner.stage(prompt, "hers", done, end)
        assert not parts or done == len(prompt) - 1
        runner.admit([Admission(0, prompt, 3, cache_key="hers", is_staged=bool(parts))])
        assert runner.known(prompt, "hers") == len(prompt) - 1
        assert runner.known(prompt, "his") == runner.known(prompt, None) == 0
        runner.advance([len(prompt) - 1], 4)
        logprobs.append(runner.state.read(1, 4)[0].logprobs)
        runner.end()
    assert logprobs[0] == logprobs[1] == logprobs[2]
    pool.close()


@pytest.mark.parametrize(("length", "sizes"), [(34, [16, 16, 2]), (33, [16, 15, 2]), (32, [16, 16]), (1, [1])])
def test_a_prompt_is_scored_in_parts_to_the_last_bit(length: int, sizes: list[int], tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf", kind="Q8_0")
    pool, prompt = LlamaPool(tmp_path / "x.gguf"), PROMPTS[2][:length]
    drawn, found = [], list[torch.Tensor]()
    for scores in (False, True):
        runner = LlamaRunner(pool, token_bytes=64, work=PrefillWork(1e12, 0.0, 1))
        runner.begin(2, 64)
        runner.admit([Admission(0, PROMPTS[0], 3)])
        parts = runner.logits(prompt)
        for step in range(5):
            if scores:
                found += [rows.clone() for rows in [next(parts, None)] if rows is not None]
            runner.advance([len(PROMPTS[0]) - 1 + step], 1)
        drawn.append(runner.state.read(1, 1)[0])
        runner.end()
    assert [len(rows) for rows in found] == sizes, "no part is a single token, which is added up otherwise"
    assert drawn[0] == drawn[1]
    with LlamaProcess(tmp_path / "x.gguf", context=64) as process:
        assert torch.equal(torch.cat(found), torch.from_numpy(process.logits(prompt)))
    pool.close()


@pytest.mark.parametrize(
    ("room", "own", "max_batch", "context"),
    [
        (8 * 8192, 8192, 64, 8192),  # four answers and what stands beside them
        (8 * 8192 - 1, 8192, 64, 8192 - 256),
        (8 * 8192 - 1, 8192, 1, 8192),
        (8 * 1024, 700, 64, 700),
        (8 * 4096 - 1, 131072, 64, 4096),  # three of a useful length
        (5 * 1024, 131072, 64, 1024),  # one
        (5 * 256 - 1, 131072, 64, 0),
    ],
)
def test_a_served_context_is_what_memory_holds(room: int, own: int, max_batch: int, context: int) -> None:
    assert served_context(own, max_batch=max_batch, token_bytes=3, room_bytes=3 * room) == context


def test_slots_are_those_that_the_room_holds(tmp_path: Path) -> None:
    runner = LlamaRunner(LlamaPool(tmp_path / "x.gguf"), token_bytes=3, room_bytes=3 * 10 * 512)
    assert [runner.most_slots(length) for length in (256, 257, 512, 1024)] == [16, 6, 6, 1]
