"""How difficult the problems of one paper are, in a file: what past sittings of it taught.

:class:`PaperItems` is made by :mod:`spiritsafe.exam.certified.item_bank` from certificates and only holds data; no
problem's text stands in it.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from spiritsafe.core.records import Digest, Record
from spiritsafe.stats import Ability, ItemBank, Saturation

ItemsChecked = Literal["certificates alone", "paper", "ledger", "paper and ledger"]


class UsedSitting(Record):
    """One sitting that difficulties were learned from.

    Attributes:
        certificate: Its digest: the newest one of the registration that was given.
        num_asked: Problems that were asked, twins not counted.
        ability: Of the model, with standard error; several tries at a problem count as one answer, their mean.
    """

    certificate: Digest
    registration: Digest
    model_name: str
    model_digest: str
    num_asked: int = Field(ge=0)
    ability: Ability


class PaperItems(Record):
    """Difficulties of a paper's problems.

    Attributes:
        bank: One name a problem: its place in the paper's bank. Twins are left out.
        times_asked: How many of the sittings asked each problem; where it is 0 the difficulty is a guess.
        sittings: In order of their certificates' digests, so that the order of the command line does not matter.
        checked: What the certificates were held against.
    """

    format: Literal["spiritsafe.items/1"] = "spiritsafe.items/1"
    paper_id: Digest
    bank: ItemBank
    times_asked: tuple[int, ...]
    sittings: tuple[UsedSitting, ...] = Field(min_length=2)
    saturation: Saturation
    checked: ItemsChecked

    @model_validator(mode="after")
    def _lengths_agree(self) -> Self:
        if self.bank.names != tuple(str(place) for place in range(len(self.times_asked))):
            raise ValueError("the bank's names are not the places of a paper")
        if self.bank.num_sittings != len(self.sittings):
            raise ValueError("the bank was learned from another number of sittings")
        return self
