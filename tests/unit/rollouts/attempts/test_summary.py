from spiritsafe.core.records import Attempt, Sampling, Status, Verdict
from spiritsafe.rollouts import ProblemCounts, summarise


def graded(problem_id: str, status: Status, index: int = 0) -> tuple[Attempt, Verdict]:
    attempt = Attempt(
        problem_id=problem_id,
        sample_index=index,
        model="m",
        sampling=Sampling(),
        seed=0,
        text="t",
        finish_reason="stop",
    )
    score = 1.0 if status == "correct" else 0.0
    return attempt, Verdict(status=status, score=score, verifier="v", version="1")


def test_counts_by_problem_and_in_all() -> None:
    summary = summarise(
        [
            graded("b", "correct"),
            graded("a", "wrong"),
            graded("b", "unscored", 1),
            graded("a", "unparsed", 1),
            graded("b", "correct", 2),
            graded("c", "unscored"),
        ]
    )
    assert summary.problems == (
        ProblemCounts(problem_id="b", num_asked=3, num_correct=2, num_unscored=1),
        ProblemCounts(problem_id="a", num_asked=2, num_correct=0, num_unscored=0),
        ProblemCounts(problem_id="c", num_asked=1, num_correct=0, num_unscored=1),
    )
    assert [p.pass_rate for p in summary.problems] == [1.0, 0.0, None]
    assert (summary.num_asked, summary.num_correct, summary.num_unscored, summary.num_solved) == (6, 2, 2, 1)
    assert summary.pass_rate == 0.5


def test_nothing_gives_no_rate() -> None:
    assert summarise([]).pass_rate is None
