"""What a report shows of the models: those that were given, and all of them side by side.

In: the pipeline fills them from the recipe and the run directory. Out: parts of
:class:`~spiritsafe.report.data.run.ReportData`. Of a model behind an endpoint nobody here knows the size.
"""

from __future__ import annotations

from typing import Literal, Self, final
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, field_validator, model_validator

from spiritsafe.core.records import Record, omit_default

Role = Literal["base", "teacher", "student", "reinforced", "tuned", "control", "cut", "quantised", "given"]
"""What a model is in its run: steps make "reinforced" and "tuned" ones and "cut" ones that nothing healed; a
"quantised" one is a file of another; a "control" stands beside one of them; a "given" one was made elsewhere and is
nobody's base."""


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
class Rung(Record):
    """One model of the run, given or made. What it scored stands with the exam that it sat.

    Attributes:
        num_parameters: None where nobody tells.
        weight_bytes: The same.
        file_type: Of a GGUF file, as it calls itself ("q4_0"); None: its weights are safetensors, or served.
        bits_per_weight: Of such a file: the true ones, with all that is stored in another type.
    """

    name: str
    role: Role
    num_parameters: int | None = Field(default=None, ge=0)
    weight_bytes: int | None = Field(default=None, ge=1)
    file_type: str | None = omit_default(None)
    bits_per_weight: float | None = omit_default(None, gt=0.0)

    @property
    def storage(self) -> str | None:
        """``Q4_0, 5.13 bits a weight``; None where it is no file."""
        if self.file_type is None or self.bits_per_weight is None:
            return None
        return f"{self.file_type.upper()}, {self.bits_per_weight:.2f} bits a weight"
