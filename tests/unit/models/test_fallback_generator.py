from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from foreign_models import write_foreign

from spiritsafe.core.errors import NumericalError, ProcedureError
from spiritsafe.core.records import Attempt, Message, Prompt, Sampling
from spiritsafe.models.engine import LocalGenerator
from spiritsafe.models.fallback_generator import FallbackGenerator, open_generator
from spiritsafe.models.loading import load_model


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
