"""What an answer's text must look like, by the names of OpenAI (``response_format``) and vLLM (``structured_outputs``).

In: these fields of a body. Out: the :class:`~spiritsafe.core.serving.Form` of a job.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import orjson
from pydantic import Field

from spiritsafe.core.serving import Form
from spiritsafe.serve.asking.fields import On, RequestPart, Text
from spiritsafe.serve.refusals import Refusal

_META = re.compile(r"[\\.+*?()|\[\]{}^$]")


class SchemaFormat(RequestPart):
    """A JSON schema with its name."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: str | None = None
    schema_: dict[str, Any] | None = Field(default=None, alias="schema")
    strict: bool | None = Field(default=None, description="The schema is always enforced")


class ResponseFormat(RequestPart):
    """Free text, any JSON object, or JSON of a schema."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: SchemaFormat | None = None


class StructuredOutputs(RequestPart):
    """What the text must match; exactly one of these."""

    json_: dict[str, Any] | str | None = Field(default=None, alias="json")
    json_object: On | None = None
    regex: Text | None = None
    choice: Annotated[list[Text], Field(min_length=1, max_length=1024)] | None = None
    grammar: Text | None = Field(default=None, description="In Lark's notation")


def form_of(response_format: ResponseFormat | None, structured: StructuredOutputs | None) -> Form | None:
    """What both fields come to.

    Raises:
        Refusal: Both are given, or one contradicts itself.
    """
    form = None if response_format is None else _of_response_format(response_format)
    if structured is None:
        return form
    if form is not None:
        raise _refusal("structured_outputs", "response_format and structured_outputs exclude each other.")
    return _of_structured(structured)


def ignored_in(response_format: ResponseFormat | None) -> tuple[str, ...]:
    """Fields inside that were given and change nothing: the schema alone says what is wanted, and always holds."""
    schema = None if response_format is None else response_format.json_schema
    if schema is None:
        return ()
    fields = {
        "name": True,
        "description": schema.description is not None,
        "strict": schema.strict is False,
    }
    return tuple(f"response_format.json_schema.{name}" for name, is_ignored in fields.items() if is_ignored)


def _of_response_format(given: ResponseFormat) -> Form | None:
    if (given.json_schema is not None) != (given.type == "json_schema"):
        raise _refusal("response_format.json_schema", "It stands with the type 'json_schema', and only there.")
    if given.json_schema is None:
        return Form(kind="json") if given.type == "json_object" else None
    if given.json_schema.schema_ is None:
        raise _refusal("response_format.json_schema.schema", "There is no schema.")
    return Form(kind="schema", source=orjson.dumps(given.json_schema.schema_).decode())


def _of_structured(given: StructuredOutputs) -> Form:
    if len(given.model_fields_set) != 1:
        raise _refusal("structured_outputs", "It holds exactly one of json, json_object, regex, choice and grammar.")
    if given.json_ is not None:
        source = given.json_ if isinstance(given.json_, str) else orjson.dumps(given.json_).decode()
        return Form(kind="schema", source=source)
    if given.regex is not None:
        return Form(kind="regex", source=given.regex)
    if given.choice is not None:
        return Form(kind="regex", source="|".join(_META.sub(r"\\\g<0>", choice) for choice in given.choice))
    if given.grammar is not None:
        return Form(kind="grammar", source=given.grammar)
    return Form(kind="json")


def _refusal(param: str, message: str) -> Refusal:
    return Refusal(message, hint="Mend it.", param=param, code="invalid_value")
