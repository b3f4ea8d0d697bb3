"""A family is a file of its own; whatever lists families, or asks something of them, finds it there."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from spiritsafe.core.errors import TaskError
from spiritsafe.core.records import Problem
from spiritsafe.exam.paper.private import PrivateRow, PrivateTask
from spiritsafe.tasks import family
from spiritsafe.tasks.families.choice import LetterVerifier
from spiritsafe.tasks.families.math.task import ValueVerifier
from spiritsafe.tasks.registry import list_families, load_named, load_task
from spiritsafe.tasks.spec import TaskSpec
from spiritsafe.tasks.splits import bucket_of_text
from spiritsafe.tasks.task import Draft, Task


class OneProblem(Task):
    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        yield Draft("1 + 1", lambda: Problem(task=self.name, canonical_text="1 + 1", messages=()))


def build(spec: TaskSpec) -> Task:
    return OneProblem(name=f"stranger:{spec.name}", version="1", verifier=ValueVerifier())


STRANGER = family.Family(
    place=99,
    source="a stranger",
    describe=lambda: [("<path>", "one problem", None)],
    has_data=True,
    graders={"stranger": (LetterVerifier, "\nA hint.")},
)


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file more in the folder of families."""
    module = ModuleType("stranger_family")
    module.FAMILY, module.build = STRANGER, build  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "stranger_family", module)
    monkeypatch.setitem(family._modules(), "stranger", "stranger_family")


@pytest.mark.usefixtures("stranger")
def test_a_file_more_is_a_family_more() -> None:
    assert list_families()[-1].spec == "stranger:<path>"
    assert load_task("stranger:a.jsonl").name == "stranger:a.jsonl"
    with pytest.raises(TaskError, match="sha256= is missing"):
        load_named("stranger:a.jsonl")
    with pytest.raises(TaskError) as caught:
        load_task("strange:a")
    assert "stranger" in caught.value.hint


@pytest.mark.usefixtures("stranger")
def test_where_its_data_lies_moves_no_problem_between_buckets() -> None:
    for text in map(str, range(30)):
        assert bucket_of_text("stranger:a.jsonl", text) == bucket_of_text("stranger:elsewhere/b.jsonl?x=1", text)


def test_of_other_families_the_name_counts() -> None:
    texts = [str(n) for n in range(30)]
    assert [bucket_of_text("mine:a", t) for t in texts] != [bucket_of_text("mine:b", t) for t in texts]


@pytest.mark.usefixtures("stranger")
def test_a_private_row_may_name_its_grader() -> None:
    row = PrivateRow(family="stranger", question="Which?", answer="A")
    task = PrivateTask("bank", ["stranger"], [row])
    assert task.problem(row).messages[0].content == "Which?\nA hint."
    assert "choice.letter" in task.verifier.version


def test_the_families_are_listed_as_they_always_were() -> None:
    assert list(family.families()) == [
        "arith", "math", "choice", "mix", "chat", "gym", "ifeval", "programs", "code",
    ]  # fmt: skip
    assert family.family_module("datafile") is None
    assert family.family_module("nosuch") is None
    assert len({one.place for one in family.families().values()}) == 9
