from __future__ import annotations

from exam_parts import Stage, ToyModel

from spiritsafe.exam.designs.betting import Betting
from spiritsafe.exam.designs.design import Design
from spiritsafe.exam.designs.looks import Looks
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.stats.sequential.design import BettingRule, StopRule


def test_the_records_fields_say_which(stage: Stage) -> None:
    registration, header = stage.register(ToyModel()), stage.paper.header
    for stop, design in (
        (None, Design),
        (StopRule(num_problems=10), Looks),
        (BettingRule(num_problems=10, num_looks=5), Betting),
    ):
        found = design_of(registration.model_copy(update={"stop": stop}), header)
        assert type(found) is design
        assert found.header == header
