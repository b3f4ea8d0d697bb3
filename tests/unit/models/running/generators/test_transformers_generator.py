from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from file_models import file_model_of
from foreign_models import write_foreign
from stranger_models import write_mixtral, write_stranger
from transformers import GenerationConfig

from spiritsafe.core.errors import CompatibilityError, NumericalError, ProcedureError
from spiritsafe.core.records import Attempt, Message, Prompt, Sampling
from spiritsafe.models.interface.batch import Document, pack_documents
from spiritsafe.models.running.generators.file_generator import FileGenerator
from spiritsafe.models.running.generators.local_generator import LocalGenerator
from spiritsafe.models.running.generators.transformers_generator import (
    FallbackGenerator,
    make_generator,
    open_generator,
)
from spiritsafe.models.sources.resolve import resolve_source
from spiritsafe.models.transformers_backend.loading import LoadedModel, load_model
from spiritsafe.models.transformers_backend.model import TransformersModel


def prompt(text: str, *, num_samples: int = 1, seed: int = 0, first: int = 0) -> Prompt:
    messages = (Message(role="user", content=text),)
    return Prompt(problem_id=f"p-{text}", messages=messages, num_samples=num_samples, seed=seed, first_sample=first)


def key(attempt: Attempt) -> tuple[str, int]:
    return attempt.problem_id, attempt.sample_index


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_foreign(tmp_path_factory.mktemp("gpt2"), "gpt2")


@pytest.fixture(scope="module")
def generator(gpt2: Path) -> FallbackGenerator:
    return FallbackGenerator(load_model(gpt2, dtype=torch.float32), max_batch=3)


PROMPTS = [prompt("a", num_samples=3), prompt("what is it?", num_samples=2), prompt("hm", first=4)]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.0, max_tokens=12),
        Sampling(max_tokens=12),
        Sampling(temperature=0.7, top_p=0.8, top_k=20, min_p=0.02, max_tokens=12),
    ],
)
def test_it_draws_what_the_uncached_engine_draws(generator: FallbackGenerator, gpt2: Path, sampling: Sampling) -> None:
    engine = LocalGenerator(load_model(gpt2, dtype=torch.float32), max_batch=8)
    ours = {key(a): a for a in generator.generate(PROMPTS, sampling)}
    theirs = {key(a): a for a in engine.generate(PROMPTS, sampling)}
    assert (
        set(ours)
        == set(theirs)
        == {
            ("p-a", 0),
            ("p-a", 1),
            ("p-a", 2),
            ("p-what is it?", 0),
            ("p-what is it?", 1),
            ("p-hm", 4),
        }
    )
    for name, attempt in ours.items():
        assert attempt.token_ids == theirs[name].token_ids
        assert attempt.logprobs == pytest.approx(theirs[name].logprobs, abs=1e-4)
        assert attempt.text == theirs[name].text
        assert attempt.finish_reason == theirs[name].finish_reason
        assert attempt.num_prompt_tokens == theirs[name].num_prompt_tokens


def test_samples_differ_and_repeat(generator: FallbackGenerator) -> None:
    sampling = Sampling(max_tokens=10)
    one = {key(a): a.token_ids for a in generator.generate([prompt("x", num_samples=4)], sampling)}
    two = {key(a): a.token_ids for a in generator.generate([prompt("y"), prompt("x", num_samples=4)], sampling)}
    assert len(set(one.values())) == 4
    assert all(two[name] == ids for name, ids in one.items())


def test_logprobs_are_those_of_scoring(generator: FallbackGenerator) -> None:
    (attempt,) = generator.generate([prompt("x")], Sampling(temperature=0.0, max_tokens=6))
    if attempt.finish_reason == "length":
        (scores,) = generator.score([prompt("x").messages], [attempt.text])
        if len(scores) == len(attempt.logprobs):  # random bytes need not be text
            assert scores == pytest.approx(attempt.logprobs, abs=1e-4)
    (scores,) = generator.score([prompt("x").messages], ["abc"])
    assert len(scores) == 3


def test_first_tokens_follow_the_models_distribution(generator: FallbackGenerator) -> None:
    count = 600
    wide = FallbackGenerator(generator._loaded, max_batch=count)
    sampling = Sampling(temperature=0.5, max_tokens=1)
    attempts = list(wide.generate([prompt("x", num_samples=count)], sampling))
    seen = Counter(a.token_ids[0] for a in attempts)
    probability = {a.token_ids[0]: float(torch.tensor(a.logprobs[0]).exp()) for a in attempts}
    token, times = seen.most_common(1)[0]
    expected = count * probability[token]
    assert abs(times - expected) < 5 * (expected * (1 - probability[token])) ** 0.5 + 1


def test_end_tokens_and_stop_strings_end_completions(generator: FallbackGenerator) -> None:
    (whole,) = generator.generate([prompt("x")], Sampling(max_tokens=30))
    stop = next(c for c in whole.text if c.isascii() and c.isprintable())
    (stopped,) = generator.generate([prompt("x")], Sampling(max_tokens=30, stop=(stop,)))
    assert stopped.finish_reason == "stop"
    assert stopped.text == whole.text[: whole.text.index(stop)]
    assert whole.token_ids[: stopped.num_tokens] == stopped.token_ids
    wide = FallbackGenerator(generator._loaded, max_batch=200)
    many = list(wide.generate([prompt("z", num_samples=200)], Sampling(temperature=5.0, max_tokens=12)))
    ended = [a for a in many if a.finish_reason == "stop"]
    assert ended, "200 samples over 260 tokens should draw an end token"
    for attempt in ended:
        assert attempt.token_ids[-1] == 2
        assert 2 not in attempt.token_ids[:-1]
        assert len(attempt.logprobs) == attempt.num_tokens


def test_nothing_outgrows_the_context(generator: FallbackGenerator) -> None:
    short, long = prompt("a"), prompt("b" * 50)
    found = {key(a)[0]: a for a in generator.generate([short, long, prompt("c" * 200)], Sampling(max_tokens=90))}
    for attempt in (found["p-a"], found[f"p-{'b' * 50}"]):
        assert attempt.finish_reason in ("length", "stop")
        assert attempt.num_prompt_tokens + attempt.num_tokens <= 96
    refused = found[f"p-{'c' * 200}"]
    assert refused.finish_reason == "error"
    assert refused.error is not None
    assert "context of 96" in refused.error


def test_broken_weights_are_an_error_not_text(gpt2: Path) -> None:
    loaded = load_model(gpt2, dtype=torch.float32)
    with torch.no_grad():
        loaded.model.head().weight_VH.fill_(torch.nan)
    with pytest.raises(NumericalError, match="not finite"):
        list(FallbackGenerator(loaded).generate([prompt("x")], Sampling(max_tokens=3)))


def test_a_closed_generator_refuses(gpt2: Path) -> None:
    generator = FallbackGenerator(load_model(gpt2, dtype=torch.float32))
    generator.close()
    with pytest.raises(ProcedureError):
        list(generator.generate([prompt("x")], Sampling()))
    with pytest.raises(ProcedureError):
        generator.score([], [])


def test_the_models_own_generation_settings_do_not_join_in_and_stay(gpt2: Path) -> None:
    loaded = load_model(gpt2, dtype=torch.float32)
    plain = FallbackGenerator(loaded)
    (before,) = plain.generate([prompt("x")], Sampling(temperature=0.0, max_tokens=20))
    settings = plain._model.generation_config
    settings.repetition_penalty = 9.0
    settings.suppress_tokens = list(before.token_ids)
    (after,) = plain.generate([prompt("x")], Sampling(temperature=0.0, max_tokens=20))
    assert after.token_ids == before.token_ids
    assert plain._model.generation_config is settings


def test_open_generator_chooses_by_architecture(gpt2: Path, tiny_directory: Path) -> None:
    assert isinstance(open_generator(gpt2, dtype=torch.float32), FallbackGenerator)
    local = open_generator(tiny_directory, dtype=torch.float32, max_batch=2, max_context=64)
    assert isinstance(local, LocalGenerator)
    assert local.describe().name == "tiny-7"
    with pytest.raises(TypeError):
        FallbackGenerator(load_model(tiny_directory, dtype=torch.float32))


def test_a_turn_that_is_begun_and_its_own_limit_are_the_engines_too(generator: FallbackGenerator, gpt2: Path) -> None:
    prompts = [
        prompt("a", num_samples=2).model_copy(update={"prefix": "Let me think", "max_tokens": 5}),
        prompt("b").model_copy(update={"prefix": "It"}),
    ]
    engine = LocalGenerator(load_model(gpt2, dtype=torch.float32), max_batch=8)
    sampling = Sampling(max_tokens=9)
    ours = {key(a): a for a in generator.generate(prompts, sampling)}
    theirs = {key(a): a for a in engine.generate(prompts, sampling)}
    assert {k: (a.token_ids, a.num_prompt_tokens) for k, a in ours.items()} == {
        k: (a.token_ids, a.num_prompt_tokens) for k, a in theirs.items()
    }
    plain = {key(a): a for a in generator.generate([prompt("a", num_samples=2)], sampling)}
    assert ours["p-a", 0].num_prompt_tokens > plain["p-a", 0].num_prompt_tokens
    assert max(a.num_tokens for k, a in ours.items() if k[0] == "p-a") <= 5


def test_make_generator_samples_the_weights_as_they_are_and_leaves_the_mode(tmp_path: Path) -> None:
    source = resolve_source(str(write_mixtral(tmp_path / "m", initializer_range=0.3)), cache=tmp_path / "cache")
    loaded = load_model(source, dtype=torch.float32)
    generator = make_generator(loaded, max_batch=4)
    assert isinstance(generator, FallbackGenerator)
    greedy = Sampling(temperature=0.0, max_tokens=8)
    (before,) = generator.generate([prompt("x")], greedy)
    loaded.model.train()
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)) * 0.1)
    (after,) = generator.generate([prompt("x")], greedy)
    assert loaded.model.training
    assert loaded.model.model.training
    assert after.token_ids != before.token_ids
    (scores,) = [a.logprobs for a in LocalGenerator(loaded).generate([prompt("x")], greedy)]
    assert after.logprobs == pytest.approx(scores, abs=1e-4)
    loaded.model.to(torch.bfloat16)
    (rounded,) = generator.generate([prompt("x")], greedy)
    (expected,) = LocalGenerator(loaded).generate([prompt("x")], greedy)
    assert rounded.logprobs[0] == pytest.approx(expected.logprobs[0], abs=0.05)
    assert loaded.model.training


def test_an_error_while_drawing_leaves_the_mode(gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_model(gpt2, dtype=torch.float32)
    loaded.model.train()
    generator = FallbackGenerator(loaded)

    def broken(*args: object, **kwargs: object) -> None:
        raise RuntimeError("out of something")

    monkeypatch.setattr(loaded.model.model, "generate", broken)
    with pytest.raises(RuntimeError):
        list(generator.generate([prompt("x")], Sampling(max_tokens=2)))
    assert loaded.model.model.training


def test_each_token_is_computed_once(tmp_path: Path) -> None:
    source = resolve_source(str(write_mixtral(tmp_path / "m")), cache=tmp_path / "cache")
    loaded = load_model(source, dtype=torch.float32)
    assert isinstance(loaded.model, TransformersModel)
    computed: list[int] = []
    loaded.model.model.get_input_embeddings().register_forward_hook(lambda m, ids, out: computed.append(ids[0].numel()))
    found = list(make_generator(loaded).generate([prompt("x", num_samples=4)], Sampling(max_tokens=64)))
    read = sum(a.num_prompt_tokens for a in found)
    assert sum(computed) <= read + 4 * max(a.num_tokens for a in found)


@pytest.fixture(scope="module")
def longrope(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """Rotary frequencies that change at 64 tokens."""
    rope = {"rope_type": "longrope", "rope_theta": 10000.0, "original_max_position_embeddings": 64}
    directory = write_stranger(
        tmp_path_factory.mktemp("longrope"),
        "phi3",
        original_max_position_embeddings=64,
        rope_parameters={**rope, "short_factor": [1.0] * 8, "long_factor": [4.0] * 8},
        initializer_range=0.3,
    )
    return load_model(resolve_source(str(directory), cache=directory / "cache"), dtype=torch.float32)


LENGTHS = {"within": 4, "close": 32, "crossing": 38, "at": 41, "beyond": 60, "far": 90}


def test_where_frequencies_change_each_sequence_is_drawn_as_if_alone(longrope: LoadedModel) -> None:
    greedy = Sampling(temperature=0.0, max_tokens=12)
    prompts = [prompt(f"{name}".ljust(length, "z")) for name, length in LENGTHS.items()]
    sizes = [len(longrope.chat.prompt_ids(p.messages)) for p in prompts]
    assert sum(size + 12 <= 64 for size in sizes) == 2
    assert sum(size <= 64 < size + 12 for size in sizes) == 2
    generator = make_generator(longrope, max_batch=8)
    together = {a.problem_id: a for a in generator.generate(prompts, greedy)}
    for one in prompts:
        (alone,) = generator.generate([one], greedy)
        assert together[one.problem_id].token_ids == alone.token_ids
        assert together[one.problem_id].logprobs == pytest.approx(alone.logprobs, abs=1e-4)


def test_where_frequencies_change_each_sequence_is_what_transformers_generates(longrope: LoadedModel) -> None:
    greedy = Sampling(temperature=0.0, max_tokens=12)
    prompts = [prompt(f"{name}".ljust(length, "z")) for name, length in LENGTHS.items()]
    model = longrope.model.model.eval()  # type: ignore[attr-defined]
    for attempt in make_generator(longrope, max_batch=8).generate(prompts, greedy):
        one = next(p for p in prompts if p.problem_id == attempt.problem_id)
        ids = torch.tensor([longrope.chat.prompt_ids(one.messages)])
        theirs = model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            generation_config=GenerationConfig(
                do_sample=False, max_new_tokens=12, eos_token_id=list(longrope.chat.eos_ids), pad_token_id=3
            ),
        )
        assert attempt.token_ids == tuple(theirs[0, ids.shape[1] :].tolist())


def test_a_model_may_train_after_it_was_sampled(longrope: LoadedModel) -> None:
    list(make_generator(longrope).generate([prompt("z" * 90)], Sampling(max_tokens=2)))
    document = Document(token_ids=tuple(range(4, 100)), supervised=(True,) * 96)
    longrope.model(pack_documents([document])).sum().backward()


def test_a_gguf_file_is_opened_as_it_is_and_refuses_what_would_change_nothing(tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp_py_sync", reason="the gguf extra is not installed")
    directory = file_model_of(tmp_path / "file")
    opened = open_generator(directory, device="cpu", max_batch=2)
    assert isinstance(opened, FileGenerator)
    opened.close()
    refused: list[dict[str, Any]] = [{"dtype": torch.float32}, {"device": "cuda"}, {"weights": "4bit"}]
    for options in refused:
        with pytest.raises(CompatibilityError, match=next(iter(options))) as told:
            open_generator(directory, **options)
        assert "gguf:" in told.value.hint
