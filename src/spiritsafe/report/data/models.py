"""What a report shows of the models: those that were given, and all of them side by side.

In: the pipeline fills them from the recipe and the run directory. Out: parts of
:class:`~spiritsafe.report.data.run.ReportData`. Of a model behind an endpoint nobody here knows the size.
"""

from __future__ import annotations

from typing import Literal, Self, final
from urllib.parse import urlsplit, urlunsplit

from pydantic import Field, field_validator, model_validator

from spiritsafe.core.records import Record, omit_default

Role = Literal["base", "teacher", "student", "reinforced", "tuned", "control", "cut", "given"]
"""What a model is in its run: steps make "reinforced" and "tuned" ones and "cut" ones that nothing healed; a "control"
stands beside one of them; a "given" one was made elsewhere and is nobody's base."""


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
    """

    name: str
    role: Role
    num_parameters: int | None = Field(default=None, ge=0)
    weight_bytes: int | None = Field(default=None, ge=1)
