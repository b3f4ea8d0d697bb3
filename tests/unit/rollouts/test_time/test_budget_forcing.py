from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from scripted_generator import Scripted

from spiritsafe.core.errors import CompatibilityError, EndpointError, RecipeError
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Attempt, Message, Prompt, Sampling
from spiritsafe.core.seeds import derive_seed
from spiritsafe.models import LocalGenerator, load_model, write_lineage, write_tiny
from spiritsafe.rollouts import FakeGenerator
from spiritsafe.rollouts.test_time.budget_forcing import BudgetForcedGenerator, BudgetForcing

USER = (Message(role="user", content="2 + 2?"),)
SAMPLING = Sampling(max_tokens=60)


def prompt(**more: object) -> Prompt:
    return Prompt(problem_id="p", messages=USER, **more)  # type: ignore[arg-type]


def force(generator: Scripted, given: Prompt, sampling: Sampling = SAMPLING, **budget: object) -> list[Attempt]:
    forced = BudgetForcedGenerator(generator, BudgetForcing(**{"cap": 20, **budget}))  # type: ignore[arg-type]
    return sorted(forced.generate([given], sampling), key=lambda attempt: attempt.sample_index)


def thinker(given: Prompt) -> str:
    """Thinks in a mark; after "Wait" thinks better; after the end of thinking answers."""
    if "</think>" in given.prefix:
        return " 5" if "Wait" in given.prefix else " 4"
    return ", hm</think> 5" if given.prefix else "two, two</think> 4"


def test_an_early_end_is_left_alone_without_waits() -> None:
    generator = Scripted(thinker)
    (attempt,) = force(generator, prompt(seed=7))
    assert attempt.text == "two, two</think> 4"
    assert attempt.finish_reason == "stop"
    assert attempt.num_tokens == len("two, two</think>") + len(" 4") + 1
    assert len(attempt.logprobs) == attempt.num_tokens
    assert attempt.token_ids == ()
    assert attempt.num_prompt_tokens == 10
    assert attempt.seconds == 1.0
    assert attempt.seed == 7
    first, second = (call[0] for call in generator.calls)
    assert (first.seed, second.seed) == (7, derive_seed(7, "budget forcing", 1))
    assert second.prefix == "two, two</think>"


@pytest.mark.parametrize("waits", [1, 2])
def test_wait_is_put_in_where_thinking_would_end(waits: int) -> None:
    (attempt,) = force(Scripted(thinker), prompt(), num_waits=waits, cap=50)
    assert attempt.text == "two, two" + "\nWait, hm" * waits + "</think> 5"
    drawn = len("two, two</think>") + waits * len(", hm</think>") + len(" 5") + 1
    assert attempt.num_tokens == drawn  # what is put in is not drawn


def test_the_cap_bounds_all_stretches_of_thinking_together() -> None:
    generator = Scripted(thinker)
    (attempt,) = force(generator, prompt(), num_waits=4, cap=20)
    # 16 tokens, then 4 of the next stretch, which is cut
    assert attempt.text == "two, two\nWait, hm</think>\nFinal answer: 5"
    assert [call[0].max_tokens for call in generator.calls] == [20, 4, 40]
    assert attempt.num_tokens == 20 + len(" 5") + 1


def test_at_the_cap_the_end_and_final_answer_are_put_in() -> None:
    (attempt,) = force(Scripted(lambda p: " 4" if "Final" in p.prefix else "x" * 99 + "</think>"), prompt(), cap=7)
    assert attempt.text == "xxxxxxx</think>\nFinal answer: 4"
    assert attempt.num_tokens == 7 + 3
    # the answer is bounded by what is left of the whole
    (long,) = force(Scripted(lambda _: "y" * 99), prompt(), cap=7, sampling=Sampling(max_tokens=10))
    assert long.text == "yyyyyyy</think>\nFinal answer:yyy"
    assert (long.finish_reason, long.num_tokens) == ("length", 10)


class Heedless(Scripted):
    """Writes what it likes, whatever it was allowed."""

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        for attempt in super().generate(prompts, sampling):
            yield attempt.model_copy(update={"text": "thought" * 900, "num_tokens": 1575, "finish_reason": "length"})


def test_a_source_that_does_not_keep_to_its_limit_ends_the_attempt() -> None:
    (attempt,) = force(Heedless(thinker), prompt(), num_waits=2)
    assert (attempt.num_tokens, attempt.finish_reason) == (1575, "length")


def test_models_without_a_mark_end_thinking_with_their_turn() -> None:
    def mind(given: Prompt) -> str:
        return ", so #### 4" if given.prefix else "It is 5."

    (plain,) = force(Scripted(mind), prompt(), think_end="")
    assert plain.text == "It is 5."
    (waited,) = force(Scripted(mind), prompt(), think_end="", num_waits=1, cap=30)
    assert waited.text == "It is 5.\nWait, so #### 4"
    (capped,) = force(Scripted(mind), prompt(), think_end="", cap=3)
    assert capped.text == "It \nFinal answer:, so #### 4"
    stopping = Sampling(max_tokens=60, stop=("5",))
    (stopped,) = force(Scripted(mind), prompt(), think_end="", sampling=stopping)
    assert stopped.text == "It is "


def test_stop_strings_of_the_sampling_wait_for_the_answer() -> None:
    mind = Scripted(lambda p: " 4\nQ" if p.prefix else "a\nb</think>")
    (attempt,) = force(mind, prompt(), sampling=Sampling(max_tokens=60, stop=("\n",)))
    assert attempt.text == "a\nb</think> 4"


def test_many_samples_share_calls_and_keep_their_own_seeds_and_texts() -> None:
    def mind(given: Prompt) -> str:
        return f" {given.first_sample}" if "</think>" in given.prefix else "t" * (3 * given.first_sample) + "</think>"

    generator = Scripted(mind)
    attempts = force(generator, prompt(num_samples=4, first_sample=2, seed=3), cap=16)
    assert [a.sample_index for a in attempts] == [2, 3, 4, 5]
    assert [a.text for a in attempts] == [
        "tttttt</think> 2",
        "t" * 9 + "</think>\nFinal answer: 3",  # cut inside its mark, of which nothing stays
        "t" * 12 + "</think>\nFinal answer: 4",
        "t" * 15 + "</think>\nFinal answer: 5",
    ]
    assert len(generator.calls) == 2
    assert {p.seed for p in generator.calls[1]} == {derive_seed(3, "budget forcing", 1)}


def test_the_prompts_own_beginning_and_limit_count() -> None:
    generator = Scripted(lambda p: "z</think>" if "</think>" not in p.prefix else "!")
    (attempt,) = force(generator, prompt(prefix="Well: ", max_tokens=30))
    assert attempt.text == "z</think>!"
    assert generator.calls[1][0].prefix == "Well: z</think>"
    assert generator.calls[1][0].max_tokens == 30 - len("z</think>")


def test_a_cut_character_is_dropped() -> None:
    (attempt,) = force(Scripted(lambda p: "4" if p.prefix else "ab\ufffdzz"), prompt(), cap=3)
    assert attempt.text == "ab</think>\nFinal answer:4"


class Ending:
    """Ends every stretch in one way, after ``count`` tokens."""

    def __init__(self, finish: str, count: int = 3) -> None:
        self.inner, self.finish, self.count = Scripted(lambda _: "abc"), finish, count

    def describe(self) -> object:
        return self.inner.describe()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        for attempt in self.inner.generate(prompts, sampling):
            error = "it broke" if self.finish == "error" else None
            yield attempt.model_copy(
                update={"finish_reason": self.finish, "num_tokens": self.count, "logprobs": (), "error": error}
            )


@pytest.mark.parametrize("finish", ["error", "refused", "length"])
def test_failures_and_a_full_context_end_the_attempt(finish: str) -> None:
    (attempt,) = force(Ending(finish), prompt(), num_waits=2)  # type: ignore[arg-type]  # 3 tokens of 20: no room
    assert attempt.finish_reason == finish
    assert attempt.text == "abc"
    assert attempt.error == ("it broke" if finish == "error" else None)
    assert attempt.logprobs == ()


def test_it_is_a_generator_of_its_own_digest() -> None:
    inner = Scripted(thinker)
    forced: Generator = BudgetForcedGenerator(inner, BudgetForcing(cap=9))
    info = forced.describe()
    assert info.digest != inner.describe().digest
    assert info.digest != BudgetForcedGenerator(inner, BudgetForcing(cap=8)).describe().digest
    assert (info.kind, info.has_token_ids, info.has_logprobs) == ("local", False, True)
    assert forced.score([USER], ["ab"]) == [(-1.0, -1.0)]
    assert {a.model for a in forced.generate([prompt()], SAMPLING)} == {info.digest}
    forced.close()
    assert inner.closed


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(RecipeError, match="60 tokens"):
        force(Scripted(thinker), prompt(), cap=60)
    fake = BudgetForcedGenerator(FakeGenerator(lambda *_: "x" * 50), BudgetForcing(cap=5))
    with pytest.raises(CompatibilityError, match="continue"):
        list(fake.generate([prompt()], SAMPLING))


@pytest.mark.parametrize("shift", [0, 9])
def test_a_generator_that_does_not_do_as_asked_is_named(shift: int) -> None:
    class Sloppy(Scripted):
        def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
            for attempt in super().generate(prompts, sampling):
                if shift:
                    yield attempt.model_copy(update={"sample_index": attempt.sample_index + shift})

    with pytest.raises(EndpointError):
        force(Sloppy(thinker), prompt())


def test_with_local_weights_forced_and_unforced_attempts_begin_alike(tmp_path: Path) -> None:
    write_tiny(tmp_path, seed=7)
    write_lineage(tmp_path, name="tiny-7", license="Apache-2.0")
    engine = LocalGenerator(load_model(tmp_path, dtype=torch.float32))
    given = prompt(num_samples=6, seed=4)
    free = {a.sample_index: a for a in engine.generate([given], Sampling(max_tokens=12, top_k=12))}
    forcing = BudgetForcing(cap=12, think_end="", final="\n####", num_waits=1)
    sampling = Sampling(max_tokens=20, top_k=12)
    attempts = {a.sample_index: a for a in BudgetForcedGenerator(engine, forcing).generate([given], sampling)}
    for index, attempt in attempts.items():
        assert attempt.text.startswith(free[index].text.rstrip("\ufffd"))
        assert attempt.num_tokens <= 20
        assert len(attempt.logprobs) == attempt.num_tokens
        assert attempt.logprobs[: free[index].num_tokens] == pytest.approx(free[index].logprobs, abs=1e-4)
        if free[index].finish_reason == "length":
            (begun, answer) = attempt.text.split("\n####", 1)
            whole = Prompt(
                problem_id="p", messages=USER, first_sample=index, seed=derive_seed(4, "budget forcing", 1),
                prefix=f"{begun}\n####", max_tokens=8,
            )  # fmt: skip
            assert answer == next(engine.generate([whole], sampling)).text
    assert any(a.finish_reason == "length" for a in free.values())
