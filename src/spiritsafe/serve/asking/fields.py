"""What bodies of requests are made of: strict pydantic models, and the fields that several interfaces share.

A field is honoured, or it is refused with 400 (``refused`` says what to do instead), or it stands in ``ignored``, whose
names go back in the header ``spiritsafe-ignored``. ``null`` means that a field is absent.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetJsonSchemaHandler, model_validator
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from spiritsafe.core.seeds import SEED_BITS, derive_seed
from spiritsafe.core.serving import ServedModel
from spiritsafe.serve.refusals import Refusal

MOST_CHOICES = 128
MOST_STOPS = 16
MOST_STOP_LENGTH = 256

JOB_PARAMS: Mapping[str, str] = {"ignore_end": "ignore_eos", "cache_key": "cache_salt"}
"""What :class:`SamplingFields` calls fields of a job, where the names differ."""

Text = Annotated[str, Field(min_length=1)]
StopText = Annotated[str, Field(min_length=1, max_length=MOST_STOP_LENGTH)]


def _truth(value: Any) -> Any:
    if not isinstance(value, bool):
        raise ValueError("Input should be a valid boolean")
    return value


# To Python 0 and False are one literal, to JSON they are not.
Off = Annotated[Literal[False], BeforeValidator(_truth)]
On = Annotated[Literal[True], BeforeValidator(_truth)]
One = Annotated[int, Field(ge=1, le=1)]


class RequestPart(BaseModel):
    """An object in the body of a request: nothing unknown, nothing converted, ``null`` is absent."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, value: Any) -> Any:
        return {key: item for key, item in value.items() if item is not None} if isinstance(value, dict) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The schema says that ``null`` may stand where a field may be absent."""
        made = handler(schema)
        found = handler.resolve_ref_schema(made)
        required = found.get("required", [])
        for name, one in found.get("properties", {}).items():
            options = one.get("anyOf", [one])
            if name not in required and {"type": "null"} not in options:
                description = {key: one.pop(key) for key in ("description", "title", "default") if key in one}
                found["properties"][name] = {**description, "anyOf": [*options, {"type": "null"}]}
        return made


class RequestBody(RequestPart):
    """The body of a request.

    Attributes:
        refused: Fields that clients know and that cannot be honoured here, each with what to do instead.
        ignored: Fields that are taken and change nothing, each with why that harms nobody; ``a.b`` is the field of an
            object, or of objects in a list.
    """

    refused: ClassVar[Mapping[str, str]] = {}
    ignored: ClassVar[Mapping[str, str]] = {}

    model: Text
    stream: bool = False

    def ignored_fields(self) -> tuple[str, ...]:
        """The fields that were given and change nothing."""
        return tuple(path for path in type(self).ignored if _is_given(self, path.split(".")))


def _is_given(value: object, steps: Sequence[str]) -> bool:
    if isinstance(value, list):
        return any(_is_given(one, steps) for one in value)
    if not steps:
        return True
    if not isinstance(value, RequestPart) or steps[0] not in value.model_fields_set:
        return False
    return _is_given(getattr(value, steps[0]), steps[1:])


class StreamOptions(RequestPart):
    """What a stream tells beside the answer."""

    include_usage: bool = False
    include_obfuscation: Off | None = Field(default=None, description="Nothing is added to events")


class SamplingFields(RequestPart):
    """How tokens are drawn, by the names of OpenAI, vLLM and llama.cpp."""

    temperature: float = Field(default=1.0, ge=0.0, le=2.0)
    top_p: float = Field(default=1.0, gt=0.0, le=1.0)
    top_k: int = Field(default=0, ge=-1, le=1 << 31, description="0 and -1 keep all")
    min_p: float = Field(default=0.0, ge=0.0, le=1.0)
    presence_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    frequency_penalty: float = Field(default=0.0, ge=-2.0, le=2.0)
    repetition_penalty: float = Field(default=1.0, gt=0.0, le=10.0)
    logit_bias: dict[str, Annotated[float, Field(ge=-100.0, le=100.0)]] = Field(
        default={}, max_length=1024, description="By token id"
    )
    seed: int | None = Field(
        default=None, ge=0, lt=1 << 63, description="Fixes the answer; drawn where absent, and told in a header"
    )
    stop: StopText | Annotated[list[StopText], Field(max_length=MOST_STOPS)] = []
    ignore_eos: bool = Field(default=False, description="End tokens are not drawn")
    n: int = Field(default=1, ge=1, le=MOST_CHOICES)
    cache_salt: str | None = Field(
        default=None, min_length=1, max_length=256, description="What is kept of the prompt is used for it alone"
    )

    def sampling(self, model: ServedModel, cache_key: str) -> dict[str, Any]:
        """The fields of a job, but for its seed.

        Raises:
            Refusal: ``logit_bias`` names no token of the model.
        """
        return {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": max(self.top_k, 0),
            "min_p": self.min_p,
            "presence_penalty": self.presence_penalty,
            "frequency_penalty": self.frequency_penalty,
            "repetition_penalty": self.repetition_penalty,
            "logit_bias": _bias(self.logit_bias, model),
            "stop": (self.stop,) if isinstance(self.stop, str) else tuple(self.stop),
            "ignore_end": self.ignore_eos,
            "cache_key": cache_key if self.cache_salt is None else f"{cache_key}\n{self.cache_salt}",
        }


def check_stream_options(options: StreamOptions | None, stream: bool) -> None:
    """Options of a stream are for streams.

    Raises:
        Refusal: There is none.
    """
    if options is not None and not stream:
        raise Refusal(
            "stream_options is for streams.",
            hint="Set stream to true or leave it out.",
            param="stream_options",
            code="invalid_value",
        )


def drawn_seed() -> int:
    """A seed for a request that brings none."""
    return secrets.randbits(SEED_BITS)


def choice_seeds(seed: int, n: int) -> tuple[int, ...]:
    """Seeds of ``n`` answers to one prompt; the first is the request's own, which alone gives that answer again."""
    return (seed, *(derive_seed(seed, "choice", index) for index in range(1, n)))


def _bias(given: Mapping[str, float], model: ServedModel) -> tuple[tuple[int, float], ...]:
    for key in given:
        if not (key.isascii() and key.isdigit() and len(key) <= 9 and int(key) < model.vocab_size):
            raise Refusal(
                f"{key[:40]!r} is no token of {model.name}.",
                hint=f"Tokens go by their ids, 0 to {model.vocab_size - 1}.",
                param="logit_bias",
                code="invalid_value",
            )
    ids = [int(key) for key in given]
    if len(set(ids)) < len(ids):
        raise Refusal("logit_bias names a token twice.", hint="Name it once.", param="logit_bias", code="invalid_value")
    return tuple(sorted(zip(ids, given.values(), strict=True)))
