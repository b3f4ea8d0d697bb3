"""Properties of generated problems: solutions grade correct, mutated golds do not, canonical names round-trip."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from spiritsafe.tasks.families.arith.expression import evaluate
from spiritsafe.tasks.families.arith.items import CountdownKnobs, SumsKnobs, countdown, sums
from spiritsafe.tasks.registry import load_task

RANGES = st.tuples(st.integers(2, 6), st.integers(0, 3)).map(lambda pair: f"{pair[0]}-{sum(pair)}")


@given(seed=st.integers(0, 2**40), digits=st.sampled_from(["1", "1-2", "2-4"]), terms=RANGES, negative=st.booleans())
@settings(max_examples=50)
def test_sums(seed: int, digits: str, terms: str, negative: bool) -> None:
    task = load_task(f"arith:sums?digits={digits}&terms={terms}&negative={'true' if negative else 'false'}")
    assert load_task(task.name).name == task.name
    problem = next(task.problems("train", seed=seed, count=1))
    total = sum(int(term) for term in problem.canonical_text.split())
    assert problem.facts["answer"] == str(total)
    assert task.grade(problem, problem.solution or "").status == "correct"
    assert task.grade(problem, f"#### {total + 1}").status == "wrong"


@given(seed=st.integers(0, 2**40))
def test_same_terms_same_canonical_text(seed: int) -> None:
    item = sums(Random(seed), SumsKnobs(terms=(2, 5), negative=True))
    shown = item.question.removesuffix(" = ?").replace("- ", "-").replace("+ ", "+").split()
    assert sorted(map(int, shown)) == [int(term) for term in item.canonical_text.split()]


@given(seed=st.integers(0, 2**40))
def test_countdown_answers_reach_their_target(seed: int) -> None:
    rng = Random(seed)
    item = next(item for item in iter(lambda: countdown(rng, CountdownKnobs()), object()) if item is not None)
    result = evaluate(item.answer)
    assert result is not None
    assert result[0] == item.facts["target"]
