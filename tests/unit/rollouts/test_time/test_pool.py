from __future__ import annotations

import math
from pathlib import Path

import pytest

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.core.records import Problem, Sampling
from spiritsafe.rollouts import FakeGenerator, FakeReply
from spiritsafe.rollouts.test_time.pool import Pool, draw_pool, read_pool
from spiritsafe.tasks import load_task

SUMS = load_task("arith:sums?terms=2&digits=1")
COUNTDOWN = load_task("arith:countdown")
PROBLEMS = list(SUMS.problems("train", seed=2, count=3))
SAMPLING = Sampling(temperature=1.0, max_tokens=32)


def answer(problem_id: str, index: int) -> str | FakeReply:
    gold = next(str(p.facts["answer"]) for p in PROBLEMS if p.id == problem_id)
    return [
        f"#### {gold}",
        f"The answer is {gold}.0",
        "#### 77",
        "no idea",
        FakeReply(finish_reason="error", error="down"),
        "x" * 50,
    ][index]


def draw(directory: Path, generator: FakeGenerator | None = None, **changes: object) -> Pool:
    arguments: dict[str, object] = {"num_samples": 6, "seed": 1, "num_parameters": 10, **changes}
    sampling = arguments.pop("sampling", SAMPLING)
    given = generator or FakeGenerator(answer, name="adder")
    return draw_pool(SUMS, PROBLEMS, given, sampling, directory=directory, **arguments)  # type: ignore[arg-type]


def test_a_pool_holds_what_selection_needs(tmp_path: Path) -> None:
    pool = draw(tmp_path)
    assert (pool.model, pool.num_samples, pool.num_parameters) == ("adder", 6, 10)
    assert pool.sampling == SAMPLING
    assert list(pool.attempts) == [problem.id for problem in PROBLEMS]
    assert (pool.num_unscored, pool.num_unparsed, pool.num_truncated) == (3, 6, 3)
    for problem in PROBLEMS:
        gold = str(problem.facts["answer"])
        mine = pool.attempts[problem.id]
        assert [one.key for one in mine] == [gold, gold, "77", None, None]  # the failed attempt is not there
        assert [one.is_correct for one in mine] == [True, True, False, False, False]
        assert mine[0].num_tokens == mine[0].num_logprobs == len(f"#### {gold}") + 1
        assert mine[0].logprob == pytest.approx(-mine[0].num_tokens * math.log(257))
        assert {one.passes for one in mine} == {None}
        assert pool.greedy[problem.id].is_correct


def test_drawing_again_reads_what_is_there(tmp_path: Path) -> None:
    first = draw(tmp_path)

    def never(problem_id: str, index: int) -> str:
        raise AssertionError("nothing should be drawn")

    assert draw(tmp_path, FakeGenerator(never, name="adder")) == first


def test_the_self_check_needs_no_gold(tmp_path: Path) -> None:
    problems = list(COUNTDOWN.problems("train", seed=2, count=2))
    golds = {problem.id: str(problem.facts["answer"]) for problem in problems}
    generator = FakeGenerator(lambda name, i: f"#### {golds[name]}" if i else "#### 1 + 1")
    pool = draw_pool(
        COUNTDOWN, problems, generator, SAMPLING.model_copy(update={"max_tokens": 99}),
        num_samples=2, seed=0, directory=tmp_path,
    )  # fmt: skip
    assert [[one.passes for one in mine] for mine in pool.attempts.values()] == [[False, True]] * 2
    blind = [problem.model_copy(update={"facts": {**problem.facts, "answer": "?"}}) for problem in problems]
    assert COUNTDOWN.self_check(blind[0], f"#### {golds[problems[0].id]}") is True


def test_unscored_greedy_attempts_are_missing(tmp_path: Path) -> None:
    failing = FakeGenerator(lambda *_: FakeReply(finish_reason="error", error="down"))
    pool = draw(tmp_path, failing)
    assert pool.greedy == {}
    assert all(mine == () for mine in pool.attempts.values())
    assert pool.num_unscored == 18


def test_collections_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    draw(tmp_path / "a")
    draw(tmp_path / "b", FakeGenerator(answer, name="another"))

    def read(greedy: Path, problems: list[Problem]) -> Pool:
        return read_pool(tmp_path / "a" / "samples", model="m", problems=problems, greedy=greedy)

    assert read(tmp_path / "a" / "greedy", PROBLEMS).digest
    with pytest.raises(CompatibilityError, match="2 models"):
        read(tmp_path / "b" / "greedy", PROBLEMS)
    with pytest.raises(CompatibilityError, match="3 problems, where one model and 2"):
        read(tmp_path / "a" / "greedy", PROBLEMS[:2])


def test_a_pool_at_temperature_zero_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="temperature 0"):
        draw(tmp_path, sampling=Sampling(temperature=0.0))
