"""What a certificate promises, one promise at a time, with what was found of it.

A :class:`TrustPage` is made by :mod:`spiritsafe.exam.verification.trust_page` from a certificate and the steps of its
verification, and shown by the terminal and by :mod:`spiritsafe.report`. It only holds data.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from spiritsafe.core.records import Digest, Record, omit_default
from spiritsafe.stats import Estimate

TrustState = Literal["holds", "does not hold", "cannot be told", "not checked here"]


class Promise(Record):
    """One promise.

    Attributes:
        name: One word or two, for lists.
        text: What is promised, in plain words.
        state: "holds": the steps found it so. "does not hold": they found otherwise, or the certificate itself says
            so. "cannot be told": everything was looked at, and it does not suffice. "not checked here": something is
            missing; ``give`` says what.
        finding: What was found.
        steps: Numbers of the steps of ``exam verify`` that it stands on.
        give: What to give so that it is checked; empty unless it was not.
        cheat: What a cheater would still have to do.
    """

    name: str = Field(min_length=1, max_length=24)
    text: str
    state: TrustState
    finding: str
    steps: tuple[int, ...]
    give: str = ""
    cheat: str

    @model_validator(mode="after")
    def _says_what_is_missing(self) -> Self:
        if (self.state == "not checked here") != bool(self.give):
            raise ValueError(f"{self.name}: a promise that was not checked says what to give, and no other does")
        return self


class TrustPage(Record):
    """All promises of one certificate.

    Attributes:
        verified: No step failed.
        sealed: The score that the promises are about.
        predicted: Only chosen problems were asked, and ``sealed`` is what they predict for the whole sealed half.
    """

    certificate: Digest
    model_name: str
    task: str
    sealed: Estimate
    verified: bool
    promises: tuple[Promise, ...]
    predicted: bool = omit_default(False)

    def of(self, name: str) -> Promise:
        """The promise of that name.

        Raises:
            KeyError: There is none.
        """
        for promise in self.promises:
            if promise.name == name:
                return promise
        raise KeyError(name)
