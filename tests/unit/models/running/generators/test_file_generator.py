from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from file_models import converted, file_model_of
from llama_cpp import llama_children

from spiritsafe.core.errors import CompatibilityError, EndpointError, ProcedureError
from spiritsafe.core.files.digests import digest_file
from spiritsafe.core.generator import Located, SpreadScoring
from spiritsafe.core.records import Attempt, Message, Prompt, Sampling
from spiritsafe.models.gguf.lineage import write_file_lineage
from spiritsafe.models.gguf.write import write_gguf
from spiritsafe.models.llama_cpp.process import LlamaProcess
from spiritsafe.models.running.engine.llama_runner import EXTRA_SEQUENCES
from spiritsafe.models.running.generators.file_generator import FileGenerator
from spiritsafe.models.running.generators.local_generator import LocalGenerator
from spiritsafe.models.transformers_backend.loading import load_model

pytest.importorskip("llama_cpp_py_sync", reason="the gguf extra is not installed")

Found = dict[tuple[str, int], Attempt]


def user(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


def some_prompts(num_samples: int = 3) -> list[Prompt]:
    """Of different lengths, with a common beginning, one twice, one with less room, one that does not fit."""
    texts = ["hello", "hello world", "hello w", "so long " * 9, "hello", "much too long " * 40]
    prompts = [
        Prompt(problem_id=f"p{i}", messages=user(text), num_samples=num_samples, first_sample=i, seed=i)
        for i, text in enumerate(texts)
    ]
    prompts[1] = prompts[1].model_copy(update={"max_tokens": 5})
    prompts[2] = prompts[2].model_copy(update={"prefix": " hell"})
    return prompts


def by_sample(attempts: Iterator[Attempt]) -> Found:
    listed = list(attempts)
    found = {(a.problem_id, a.sample_index): a for a in listed}
    assert len(found) == len(listed)
    return found


def outcome(found: Found) -> dict[tuple[str, int], tuple[object, ...]]:
    """All but the clock."""
    return {
        key: (a.text, a.token_ids, a.logprobs, a.finish_reason, a.num_prompt_tokens, a.seed, a.error)
        for key, a in found.items()
    }


@pytest.fixture(scope="module")
def q8(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return file_model_of(tmp_path_factory.mktemp("files") / "q8", kind="Q8_0")


@pytest.mark.parametrize("made", ["llama", "qwen2", "by us"])
def test_what_it_says_is_what_our_engine_says_of_the_same_weights(
    made: str, tiny_directory: Path, tmp_path: Path
) -> None:
    if made == "by us":
        (directory := tmp_path / "file").mkdir()
        write_gguf(tiny_directory, directory / "x.gguf", "f32")
        write_file_lineage(directory, name="x", license="Apache-2.0")
        ours = LocalGenerator(load_model(tiny_directory, dtype=torch.float32), max_context=256)
    else:
        directory = file_model_of(tmp_path / "file", architecture=made, kind="F32")
        ours = converted(directory, tmp_path / "ours")
    prompts = some_prompts()
    # As an independent reference for draws, too: temperature 1 over logits of other code, by the same counted seeds.
    samplings = [
        Sampling(temperature=0.0, max_tokens=12),
        Sampling(temperature=1.0, max_tokens=12, top_p=0.9, stop=("e", "<|im_end|>")),
    ]
    generator = FileGenerator(directory, max_batch=4, max_context=256)
    try:
        assert generator.describe().digest == digest_file(directory / "x.gguf")
        for sampling in samplings:
            expected, found = (
                by_sample(ours.generate(prompts, sampling)),
                by_sample(generator.generate(prompts, sampling)),
            )
            assert found.keys() == expected.keys()
            for key, attempt in found.items():
                other = expected[key]
                assert (attempt.text, attempt.token_ids, attempt.finish_reason) == (
                    other.text,
                    other.token_ids,
                    other.finish_reason,
                )
                assert attempt.logprobs == pytest.approx(other.logprobs, abs=1e-3)
                assert attempt.num_prompt_tokens == other.num_prompt_tokens
                assert attempt.model == generator.describe().digest
        reasons = {a.finish_reason for a in found.values()}
        assert reasons == ({"length", "error"} if made == "by us" else {"stop", "length", "error"})
        texts = [user("hello"), user("hello"), user("hello world"), user("no")]
        completions = ["hello", "hell no", "", "so " * 40]  # more tokens than rows of logits
        assert isinstance(generator, SpreadScoring)
        for mine, other in zip(generator.score(texts, completions), ours.score(texts, completions), strict=True):
            assert mine == pytest.approx(other, abs=1e-3)
        spreads, others = generator.score_spread(texts, completions), ours.score_spread(texts, completions)
        flat = [number for row in spreads for token in row for number in token]
        assert flat == pytest.approx([number for row in others for token in row for number in token], abs=1e-2)
        assert generator.score([], []) == []
    finally:
        generator.close()
    with pytest.raises(ProcedureError):
        next(generator.generate(prompts, samplings[0]))


def test_an_answer_does_not_depend_on_what_is_asked_beside_it(q8: Path) -> None:
    prompts, sampling = some_prompts(), Sampling(temperature=1.0, max_tokens=20)
    generator, narrow = FileGenerator(q8, max_batch=5), FileGenerator(q8, max_batch=1)
    try:
        together = outcome(by_sample(generator.generate(prompts, sampling)))
        alone = {k: v for p in reversed(prompts) for k, v in outcome(by_sample(narrow.generate([p], sampling))).items()}
        assert alone == together
        first, second = generator.generate(prompts, sampling), generator.generate(prompts[:2], sampling)
        begun = [next(second)]
        assert outcome(by_sample(first)) == together  # two calls read in turns
        rest = outcome(by_sample(iter([*begun, *second])))
        assert rest == {key: together[key] for key in rest}
        assert len(rest) == 6
    finally:
        generator.close()
        narrow.close()


def test_no_more_is_held_at_once_than_memory_allows(q8: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator, sampling = FileGenerator(q8, max_batch=64), Sampling(temperature=1.0, max_tokens=20)
    try:
        expected = outcome(by_sample(generator.generate(some_prompts(), sampling)))
        sizes: list[int] = []
        resized = LlamaProcess.resize
        monkeypatch.setattr(
            LlamaProcess, "resize", lambda self, **to: (sizes.append(to["num_sequences"]), resized(self, **to))
        )
        sequence = 256 * 2 * 4 * 2 * 2 * 16  # positions, keys and values, bytes, layers, heads, channels
        for free, slots in ((0, 1), (2 * (2 + EXTRA_SEQUENCES) * sequence, 2)):
            monkeypatch.setattr("spiritsafe.models.running.engine.llama_runner.free_bytes", lambda free=free: free)
            fresh = FileGenerator(q8, max_batch=64)
            assert outcome(by_sample(fresh.generate(some_prompts(), sampling))) == expected
            fresh.close()
            assert sizes.pop() == slots + EXTRA_SEQUENCES
    finally:
        generator.close()


def test_text_that_reads_as_a_special_token_is_text(q8: Path) -> None:
    generator = FileGenerator(q8)
    try:
        prompts = [Prompt(problem_id=text, messages=user(text)) for text in ("<|im_end|>", "<|im_start|>system\n")]
        found = by_sample(generator.generate(prompts, Sampling(max_tokens=1)))
        plain = by_sample(generator.generate([Prompt(problem_id="", messages=user(""))], Sampling(max_tokens=1)))
        empty = plain["", 0].num_prompt_tokens
        assert found["<|im_end|>", 0].num_prompt_tokens == empty + len("<|im_end|>")
        assert found["<|im_start|>system\n", 0].num_prompt_tokens == empty + len("<|im_start|>system\n")
    finally:
        generator.close()


def test_a_process_that_is_killed_changes_no_answer(q8: Path) -> None:
    prompts, sampling = some_prompts(), Sampling(temperature=1.0, max_tokens=20)
    generator = FileGenerator(q8, max_batch=5)
    try:
        expected = outcome(by_sample(generator.generate(prompts, sampling)))
        for number in (signal.SIGSEGV, signal.SIGKILL):
            broken: list[Attempt] = []
            for attempt in generator.generate(prompts, sampling):
                broken.append(attempt)
                if len(broken) in (4, 9):
                    (child,) = llama_children(q8)
                    os.kill(child.pid, number)
            assert outcome(by_sample(iter(broken))) == expected
        (child,) = llama_children(q8)
        os.kill(child.pid, signal.SIGKILL)  # while nobody asks
        child.wait()
        assert outcome(by_sample(generator.generate(prompts, sampling))) == expected
        assert generator.peak_bytes() > 1 << 20
    finally:
        generator.close()
    assert llama_children(q8) == []


def crash_at(monkeypatch: pytest.MonkeyPatch, *token_ids: int) -> None:
    """Have the process end whenever it is to read one of these tokens."""
    decode = LlamaProcess.decode

    def fragile(self: LlamaProcess, ids: list[int], *rest: object) -> object:
        if set(ids) & set(token_ids):
            os.kill(self.pid, signal.SIGABRT)
        return decode(self, ids, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(LlamaProcess, "decode", fragile)


def test_only_what_crashes_it_is_lost(q8: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sampling = Sampling(temperature=0.0, max_tokens=6)
    texts = ["hello", "hell~", "world", "w", "ow", "he"]
    prompts = [Prompt(problem_id=text, messages=user(text), num_samples=2) for text in texts]
    generator = FileGenerator(q8, max_batch=5)
    try:
        expected = by_sample(generator.generate(prompts, sampling))
        (bad,) = set(generator._chat.text_ids("~"))
        assert not any(bad in a.token_ids for a in expected.values())
        crash_at(monkeypatch, bad)
        found = by_sample(generator.generate(prompts, sampling))
    finally:
        generator.close()
    lost = {key for key, attempt in found.items() if attempt.finish_reason == "error"}
    assert lost == {("hell~", 0), ("hell~", 1)}
    assert all("SIGABRT" in (found[key].error or "") for key in lost)
    kept = outcome(found).items() - {(key, value) for key, value in outcome(found).items() if key in lost}
    assert kept == {(key, value) for key, value in outcome(expected).items() if key not in lost}


def test_a_file_that_answers_nobody_is_unusable(q8: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = FileGenerator(q8, max_batch=5)
    crash_at(monkeypatch, *range(generator._facts.vocab_size))
    try:
        with pytest.raises(EndpointError, match=r"3 processes .*x"):
            list(generator.generate(some_prompts(), Sampling(max_tokens=6)))
    finally:
        generator.close()


def test_it_says_what_computes(q8: Path) -> None:
    generator = FileGenerator(q8, threads=1)
    try:
        assert isinstance(generator, Located)
        platform = generator.platform()
        assert platform is not None
        assert platform.instructions.startswith("llama.cpp b")
        assert (platform.device, platform.threads, platform.compute_dtype) == ("cpu", 1, "")
    finally:
        generator.close()


def test_what_is_no_file_model_or_asks_too_much_is_refused(q8: Path, tmp_path: Path) -> None:
    with pytest.raises(CompatibilityError, match="is not one GGUF file"):
        FileGenerator(tmp_path)
    with pytest.raises(CompatibilityError, match="252 sequences"):
        FileGenerator(q8, max_batch=255)
    assert llama_children(q8) == []
