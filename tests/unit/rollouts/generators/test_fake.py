import math

import pytest

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Message, Prompt, Sampling
from spiritsafe.rollouts import FakeGenerator, FakeReply


def prompt(problem_id: str = "p", *, num_samples: int = 1, first_sample: int = 0, seed: int = 0) -> Prompt:
    messages = (Message(role="user", content="2 + 2?"),)
    return Prompt(
        problem_id=problem_id, messages=messages, num_samples=num_samples, first_sample=first_sample, seed=seed
    )


def test_answers_by_function_for_each_sample() -> None:
    generator: Generator = FakeGenerator(lambda problem_id, index: f"{problem_id}/{index}")
    attempts = list(generator.generate([prompt("a", num_samples=2, first_sample=3), prompt("b", seed=9)], Sampling()))
    assert [(a.problem_id, a.sample_index, a.text) for a in attempts] == [
        ("a", 3, "a/3"),
        ("a", 4, "a/4"),
        ("b", 0, "b/0"),
    ]
    assert attempts[2].seed == 9
    assert all(a.model == generator.describe().digest and a.finish_reason == "stop" for a in attempts)
    assert [a.num_tokens for a in attempts] == [4, 4, 4]  # three bytes and the end token
    assert attempts[0].num_prompt_tokens == 6


def test_answers_from_a_table_in_turn() -> None:
    generator = FakeGenerator.from_table({"a": ["x", "y"], "b": "z"}, default="?")
    attempts = list(generator.generate([prompt("a", num_samples=3), prompt("b"), prompt("c")], Sampling()))
    assert [a.text for a in attempts] == ["x", "y", "x", "z", "?"]


def test_share_correct_is_a_share_and_depends_on_the_seed_only() -> None:
    golds = {f"p{i}": "right" for i in range(400)}

    def right(seed: int) -> list[bool]:
        generator = FakeGenerator.share_correct(golds, 0.3, seed=seed)
        return [a.text == "right" for a in generator.generate([prompt(p) for p in golds], Sampling())]

    first = right(1)
    assert first == right(1)
    assert first != right(2)
    assert 0.2 < sum(first) / 400 < 0.4
    assert not any(a.text == "r" for a in FakeGenerator.share_correct({"p": "r"}, 0.0).generate([prompt()], Sampling()))
    assert all(a.text == "r" for a in FakeGenerator.share_correct({"p": "r"}, 1.0).generate([prompt()], Sampling()))
    with pytest.raises(RecipeError):
        FakeGenerator.share_correct(golds, 1.5)


def test_max_tokens_cuts_and_stop_strings_end() -> None:
    generator = FakeGenerator(lambda *_: "abcdéf")
    (cut,) = generator.generate([prompt()], Sampling(max_tokens=5))
    assert (cut.text, cut.finish_reason, cut.num_tokens) == ("abcd", "length", 5)  # the fifth byte is half an é
    (stopped,) = generator.generate([prompt()], Sampling(stop=("d", "cd")))
    assert (stopped.text, stopped.finish_reason) == ("ab", "stop")
    (whole,) = generator.generate([prompt()], Sampling(max_tokens=8))
    assert whole.finish_reason == "stop"


def test_replies_that_do_not_end_well() -> None:
    replies = [FakeReply(text="no", finish_reason="refused"), FakeReply(finish_reason="error", error="fire")]
    generator = FakeGenerator(lambda _, index: replies[index], kind="remote", name="bad")
    refused, failed = generator.generate([prompt(num_samples=2)], Sampling())
    assert (refused.finish_reason, refused.text, refused.error) == ("refused", "no", None)
    assert (failed.finish_reason, failed.error) == ("error", "fire")
    assert generator.describe().kind == "remote"


def test_scores_agree_with_generated_logprobs() -> None:
    generator = FakeGenerator(lambda *_: "héllo")
    (attempt,) = generator.generate([prompt()], Sampling())
    (scores,) = generator.score([prompt().messages], ["héllo"])
    assert scores == attempt.logprobs[:-1]
    assert math.isclose(sum(math.exp(s) for s in [scores[0]] * 257), 1.0)
    generator.close()


def test_a_turn_that_is_begun_is_refused_and_a_prompts_own_limit_kept() -> None:
    generator = FakeGenerator(lambda *_: "abcdef")
    with pytest.raises(CompatibilityError, match="begun"):
        list(generator.generate([prompt().model_copy(update={"prefix": "ab"})], Sampling()))
    (attempt,) = generator.generate([prompt().model_copy(update={"max_tokens": 2})], Sampling())
    assert (attempt.text, attempt.finish_reason) == ("ab", "length")
