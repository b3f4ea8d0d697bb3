"""Which design a registration asks for: the only place that looks at the fields that say so."""

from __future__ import annotations

from spiritsafe.exam.designs.adaptive import Adaptive
from spiritsafe.exam.designs.betting import Betting
from spiritsafe.exam.designs.design import Design
from spiritsafe.exam.designs.looks import Looks
from spiritsafe.exam.designs.short_form import ShortForm
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.registration import Registration
from spiritsafe.stats import BettingRule, StopRule


def design_of(registration: Registration, header: PaperHeader) -> Design:
    """How this sitting is held."""
    match registration:
        case Registration(chosen=chosen) if chosen is not None:
            return (Adaptive if chosen.adaptive else ShortForm)(registration, header, chosen)
        case Registration(stop=BettingRule() as rule):
            return Betting(registration, header, rule)
        case Registration(stop=StopRule() as rule):
            return Looks(registration, header, rule)
    return Design(registration, header)
