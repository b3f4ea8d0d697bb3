"""From the bytes of a request to a checked body.

In: bytes that anybody sent. Out: an instance of the interface's model, or a :class:`Refusal` that names the field.
"""

from __future__ import annotations

import json
import re
from difflib import get_close_matches
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from spiritsafe.serve.asking.fields import RequestBody
from spiritsafe.serve.refusals import Refusal

_Body = TypeVar("_Body", bound=RequestBody)

_MOST_SHOWN = 120
_MOST_DEPTH = 100
_LONG_NUMBER = re.compile("[0-9]{19}")  # 9223372036854775807 has 19 digits
_MOST_KEYS = 4096  # of one object: pydantic tells of each that it does not know, which takes time


def read_body(raw: bytes, model: type[_Body]) -> _Body:
    """The body of a request.

    Raises:
        Refusal: It is no JSON object, or a field is unknown, missing, of a wrong type or cannot be honoured.
    """
    value = _object(raw)
    for name in value:
        if name in model.refused and value[name] is not None:
            raise Refusal(
                f"{name!r} cannot be had from this server.",
                hint=model.refused[name],
                param=name,
                code="unsupported_parameter",
            )
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise _refusal(error.errors(include_url=False, include_context=False), value, model) from error


def _object(raw: bytes) -> dict[str, Any]:
    try:
        text = raw.decode("utf-8")
        value = json.loads(
            text,
            object_pairs_hook=_no_duplicates,
            parse_constant=_no_constant,
            parse_int=_integer if _LONG_NUMBER.search(text) else None,
        )
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")  # half a surrogate pair is no character
    except UnicodeError as error:
        raise _malformed("it is not UTF-8") from error
    except RecursionError as error:
        raise _malformed("it is nested too deeply") from error
    except ValueError as error:
        raise _malformed(str(error)[:_MOST_SHOWN]) from error
    if not isinstance(value, dict):
        raise _malformed("it is no object")
    if _is_deeper(value, _MOST_DEPTH):
        raise _malformed(f"it is nested more than {_MOST_DEPTH} deep")
    return value


def _malformed(why: str) -> Refusal:
    return Refusal(f"The body is no JSON object: {why}.", hint="Send one JSON object in UTF-8.", code="invalid_json")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > _MOST_KEYS:
        raise ValueError(f"an object has more than {_MOST_KEYS} keys")
    value = dict(pairs)
    if len(value) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:40]!r} stands twice in one object")
    return value


def _integer(text: str) -> int:
    """Answers repeat what was sent, and clients of most languages read no longer ones."""
    value = int(text)
    if not -(1 << 63) <= value < 1 << 64:
        raise ValueError(f"{text[:40]} has more than 64 bits")
    return value


def _is_deeper(value: Any, most: int) -> bool:
    level = [value]
    for _ in range(most):
        below = (one.values() if isinstance(one, dict) else one for one in level)
        level = [inner for inside in below for inner in inside if isinstance(inner, dict | list)]
        if not level:
            return False
    return True


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


def _refusal(errors: list[ErrorDetails], value: dict[str, Any], model: type[RequestBody]) -> Refusal:
    """One refusal of all that pydantic found: what stands deepest says most, as options of a union are all tried."""
    places = [(_place(error, value), error) for error in errors]
    field = places[0][0][:1]
    deepest = max((place for place, _ in places if place[:1] == field), key=len)
    said = [error for place, error in places if place == deepest]
    param = _written(deepest) or None
    if said[0]["type"] == "extra_forbidden":
        known = [name for name in model.model_fields if name not in value] if len(deepest) == 1 else []
        near = get_close_matches(str(deepest[-1]), known, 1)
        return Refusal(
            f"Unknown parameter: {param!r}.",
            hint=f"Did you mean {near[0]!r}?" if near else "Leave it out: it would change nothing here.",
            param=param,
            code="unknown_parameter",
        )
    if said[0]["type"] == "missing":
        return Refusal(
            f"Missing parameter: {param!r}.", hint="Give it.", param=param, code="missing_required_parameter"
        )
    words = " or ".join(dict.fromkeys(error["msg"] for error in said))
    return Refusal(
        f"Invalid {param or 'request'!r}: {words}.",
        hint="Change it; /openapi.json says what it may be.",
        param=param,
        code="invalid_type" if said[0]["type"].endswith("_type") else "invalid_value",
    )


def _place(error: ErrorDetails, value: Any) -> tuple[int | str, ...]:
    """Where in the body an error is: pydantic's locations have the names of a union's options in between."""
    place: list[int | str] = []
    inside: tuple[Any] | None = None
    for step in error["loc"]:
        inside = _inside(value, step)
        if inside is not None:
            value = inside[0]
            place.append(step)
    if error["type"] == "missing" and inside is None:
        place.append(error["loc"][-1])
    return tuple(place)


def _inside(value: Any, step: int | str) -> tuple[Any] | None:
    if isinstance(step, str):
        return (value[step],) if isinstance(value, dict) and step in value else None
    return (value[step],) if isinstance(value, list) and step < len(value) else None


def _written(place: tuple[int | str, ...]) -> str:
    written = ""
    for step in place[:8]:
        written += f"[{step}]" if isinstance(step, int) else f".{step}"
    return written.lstrip(".")[:_MOST_SHOWN]
