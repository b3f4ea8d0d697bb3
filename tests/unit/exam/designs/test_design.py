"""The whole paper; and a design that only this file knows, which sits, certifies and verifies like any other."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from exam_parts import Forger, Stage, ToyModel

from spiritsafe.core.errors import CompatibilityError, IntegrityError
from spiritsafe.exam import compare, trust_page
from spiritsafe.exam.designs.design import Design
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.paper.split import asking_order
from spiritsafe.exam.records.registration import Registration
from spiritsafe.exam.records.result import Ending, ExamResult


def never(look: int) -> bool:
    raise AssertionError(f"look {look} was asked for")


def test_the_whole_paper_is_asked_at_once_and_ends_there(stage: Stage) -> None:
    design = design_of(stage.register(ToyModel()), stage.paper.header)
    assert type(design) is Design
    order = asking_order(stage.paper.header)
    assert design.order() == order
    assert design.following((), {}, never) == [(place,) for place in order]
    assert design.following(order, {}, never) == "complete"
    assert (design.num_looks, design.num_expected, design.is_whole) == (1, 20, True)


def test_nothing_of_past_sittings_belongs_to_it(stage: Stage) -> None:
    design = design_of(stage.register(ToyModel()), stage.paper.header)
    assert design.check_registered() == ""
    with pytest.raises(IntegrityError, match="The whole paper was registered"):
        design.check_items(None)  # type: ignore[arg-type]  # whatever it is


@dataclass(frozen=True)
class FirstTen(Design):
    """A stranger: the first ten problems of the paper's order."""

    end: ClassVar[Ending] = "chosen problems asked"
    is_whole: ClassVar[bool] = False
    left_out_words: ClassVar[str] = "ten are enough."
    not_tested: ClassVar[str] = "Ten problems test nothing."

    def order(self) -> tuple[int, ...]:
        return asking_order(self.header)[:10]

    def ends(self) -> tuple[int, ...]:
        return (10,)

    def statements(self, result: ExamResult) -> list[str]:
        return [f"The first ten were asked, {len(result.not_asked)} were not."]


@pytest.fixture
def stranger(monkeypatch: pytest.MonkeyPatch) -> None:
    """Registrations that expect "ten" ask for it: all of the exam room asks the same function."""

    def with_the_stranger(registration: Registration, header: Any) -> Design:
        design = FirstTen if registration.hypothesis == "ten" else design_of
        return design(registration, header)

    for name, module in list(sys.modules.items()):
        if name.startswith("spiritsafe.exam.") and getattr(module, "design_of", None) is design_of:
            monkeypatch.setattr(module, "design_of", with_the_stranger)


def test_a_design_that_the_house_does_not_know_is_one_class(stage: Stage, stranger: None) -> None:
    whole = stage.certificate(ToyModel(name="whole"), name="whole")
    certificate = stage.certificate(ToyModel(), hypothesis="ten")
    result, order = certificate.result, asking_order(stage.paper.header)
    assert {outcome.index for outcome in result.outcomes} == set(order[:10])
    assert result.gap_statement == "Ten problems test nothing."
    assert "The first ten were asked, 10 were not." in certificate.statements
    stage.check()
    steps = stage.verify()
    assert next(step.detail for step in steps if step.name == "ending").startswith(
        "chosen problems asked: 10 of 20 problems asked"
    )
    assert trust_page(certificate, steps).of("all counted").state == "does not hold"
    assert trust_page(whole, stage.verify("whole")).of("all counted").state == "holds"
    with pytest.raises(CompatibilityError, match=r"was not asked the whole paper: ten are enough\."):
        compare(whole, certificate)


def test_a_stranger_that_calls_itself_complete_is_found(stage: Stage, stranger: None) -> None:
    forger = Forger(stage, stage.certificate(ToyModel(), hypothesis="ten"))
    value = forger.value
    del value["result"]["ending"]
    forger.write(value)
    step = next(step for step in forger.verify() if step.checked and not step.ok)
    assert (step.name, step.detail) == ("ending", 'The sitting calls itself "complete" and left out 10 problems.')
