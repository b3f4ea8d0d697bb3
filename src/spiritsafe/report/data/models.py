"""What a report shows of the models: those that were given, and all of them side by side.

In: the pipeline fills them from the recipe and the run directory. Out: parts of
:class:`~spiritsafe.report.data.run.ReportData`. Of a model behind an endpoint nobody here knows the size.
"""

from __future__ import annotations

from typing import Literal, Self, final
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, field_validator, model_validator

from spiritsafe.core.records import Record, omit_default
from spiritsafe.stats import Estimate

Role = Literal[
    "base", "teacher", "student", "reinforced", "tuned", "merged", "routed", "control", "cut", "quantised", "given"
]
"""What a model is in its run: steps make "reinforced", "tuned" and "merged" ones and "cut" ones that nothing healed; a
"routed" one asks others; a "quantised" one is a file of another; a "control" stands beside one of them; a "given" one
was made elsewhere and is nobody's base."""


@final
class Source(Record):
    """A model that went in: weights, an endpoint that serves it, or both.

    Attributes:
        spec: What the recipe said (``hf:org/name``); None where only an endpoint is known.
        digest: Of the weights that were used; None of a served model.
        num_parameters: None where nobody tells.
        weight_bytes: None or 0 where nobody tells.
        endpoint: Its URL; user name, password, query and fragment are dropped, for keys stand there.
        served_as: The model's name there.
    """

    name: str
    spec: str | None = None
    digest: str | None = None
    license: str
    num_parameters: int | None = Field(default=None, ge=0)
    weight_bytes: int | None = Field(default=None, ge=0)
    endpoint: str | None = omit_default(None)
    served_as: str | None = omit_default(None)

    @field_validator("endpoint")
    @classmethod
    def _without_keys(cls, url: str | None) -> str | None:
        if url is None:
            return None
        parts = urlsplit(url)
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    @model_validator(mode="after")
    def _from_somewhere(self) -> Self:
        if self.spec is None and self.endpoint is None:
            raise ValueError(f"{self.name} has neither a source nor an endpoint")
        return self


@final
class FileFigures(Record):
    """What is known of a model that is one file in another number format: the very bytes that sit and ship.

    Attributes:
        file: Its name.
        of: The model that it holds.
        type: What its matrices are stored in, by llama.cpp's name.
        bits_per_weight: Over all tensors, as they are.
        substituted_share: Of the matrices' weights, what is stored in another type than the file's name says.
        memory_bytes: Resident memory of the process that ran it at its most; None where it was not measured.
        tokens_per_s: Of one stream, on the machine that made it; None where it was not measured.
        kl: Divergence of its next-token distributions from those of the model that it holds, in nats a token of general
            text.
    """

    file: str
    of: str
    type: str
    bits_per_weight: float = Field(gt=0.0)
    substituted_share: float = Field(ge=0.0, le=1.0)
    memory_bytes: int | None = Field(default=None, ge=1)
    tokens_per_s: float | None = Field(default=None, ge=0.0)
    kl: Estimate | None = None


@final
class Rung(Record):
    """One model of the run, given or made. What it scored stands with the exam that it sat.

    Attributes:
        num_parameters: None where nobody tells.
        weight_bytes: The same.
        file: Of a model that is one file.
    """

    name: str
    role: Role
    num_parameters: int | None = Field(default=None, ge=0)
    weight_bytes: int | None = Field(default=None, ge=1)
    file: FileFigures | None = omit_default(None)

    @property
    def storage(self) -> str | None:
        """``Q4_0, 5.13 bits a weight``; None where it is no file."""
        return None if self.file is None else f"{self.file.type}, {self.file.bits_per_weight:.2f} bits a weight"
