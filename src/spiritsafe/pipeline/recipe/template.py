"""What a recipe says of a model's chat template: the day that it takes for today, and options of its own.

In: two keys of ``[source]`` and of students with a ``source``. Out: a frozen record; what is not said stays as the
model directory has it. Whether the template has such an option is known once the model is there: it is refused then.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field, JsonValue

from spiritsafe.core.records import Record, omit_default
from spiritsafe.models import Day


class TemplateRecipe(Record):
    """Keys of every table that names a model.

    Attributes:
        date: The day that the model's chat template takes for today, as "2026-11-28"; None: what the model carries,
            else 26 July 2024. The clock is never asked, so that the run is the same run tomorrow.
        template_kwargs: Options of the model's chat template: ``{ enable_thinking = false }``,
            ``{ reasoning_effort = "low" }``. One that the template does not read is refused.
    """

    date: Day | None = omit_default(None)
    template_kwargs: dict[str, JsonValue] = Field(default_factory=dict, exclude_if=lambda value: not value)

    @property
    def tells_template(self) -> bool:
        """Whether anything is said."""
        return self.date is not None or bool(self.template_kwargs)

    @property
    def told(self) -> dict[str, Any]:
        """Arguments for ``resolve_source`` and ``find_source``."""
        return {"date": self.date, "template_kwargs": self.template_kwargs}
