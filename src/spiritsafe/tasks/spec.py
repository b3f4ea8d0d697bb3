"""Task specs: ``family:name?key=value&key=value``; or several of them, ``mix:spec|spec*share``.

In: what a person writes. Out: a :class:`TaskSpec`, a validated knob record, and the canonical name: every knob,
resolved, sorted by key. The canonical name is what gets hashed and what :func:`spiritsafe.tasks.load_task` takes back.

Values may be percent-encoded (``%26`` for ``&``, ``%3F`` for ``?``); ranges are ``2-3`` or ``2``; booleans
``true``/``false``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, final
from urllib.parse import quote, unquote

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, ValidationError

from spiritsafe.core.errors import TaskError

_MIX = "mix:"
_SAFE = "/:,.-_+*() ~"


@final
@dataclass(frozen=True, slots=True)
class TaskSpec:
    """A parsed spec: family, name, and the knobs as they were written. A mix's name holds its parts' whole specs."""

    family: str
    name: str
    knobs: Mapping[str, str]


class Knobs(BaseModel):
    """A family's knobs: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def _parse_range(value: object) -> object:
    if isinstance(value, str):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", value)
        if not match:
            raise ValueError("write a range as 2-3, or one number")
        return int(match[1]), int(match[2] or match[1])
    return value


def _check_range(value: tuple[int, int]) -> tuple[int, int]:
    if value[0] > value[1]:
        raise ValueError(f"the range {value[0]}-{value[1]} is empty")
    return value


Range = Annotated[tuple[int, int], BeforeValidator(_parse_range), AfterValidator(_check_range)]
"""Both ends included."""


def nearest(key: str, known: Iterable[str]) -> str:
    """`` Did you mean "terms"?`` or nothing."""
    close = difflib.get_close_matches(key, list(known), n=1, cutoff=0.5)
    return f'Did you mean "{close[0]}"? ' if close else ""


def parse_spec(text: str) -> TaskSpec:
    """Take a spec apart.

    Raises:
        TaskError: It does not read as ``family:name?key=value&…``, or names a key twice.
    """
    if text.strip().startswith(_MIX):
        return TaskSpec(family="mix", name=text.strip().removeprefix(_MIX), knobs={})
    head, _, query = text.strip().partition("?")
    family, colon, name = head.partition(":")
    if not family or not colon or not name:
        raise TaskError(
            f'"{text}" is not a task spec.',
            hint="Write family:name?key=value, as in arith:sums?terms=2-3&digits=1-2; see `spiritsafe tasks list`.",
        )
    knobs: dict[str, str] = {}
    for part in query.split("&") if query else []:
        key, equals, value = part.partition("=")
        key = unquote(key).strip()
        if not equals or not key:
            raise TaskError(
                f'"{part}" in the spec "{text}" is not key=value.', hint="Separate knobs by &, as in a=1&b=2."
            )
        if key in knobs:
            raise TaskError(f'The spec "{text}" names "{key}" twice.', hint="Keep one of the two.")
        knobs[key] = unquote(value).strip()
    return TaskSpec(family=family, name=unquote(name), knobs=knobs)


def check_keys(spec: TaskSpec, known: Iterable[str]) -> None:
    """Refuse a key that the task does not have.

    Raises:
        TaskError: Naming the nearest known key.
    """
    known = sorted(known)
    for key in spec.knobs:
        if key not in known:
            raise TaskError(
                f'{spec.family}:{spec.name} has no knob "{key}".',
                hint=f"{nearest(key, known)}Its knobs are: {', '.join(known) or 'none'}.",
            )


KnobsT = TypeVar("KnobsT", bound=Knobs)


def resolve_knobs(spec: TaskSpec, knobs: type[KnobsT]) -> KnobsT:
    """Validate a spec's knobs.

    Raises:
        TaskError: An unknown key, or a value that does not fit.
    """
    check_keys(spec, knobs.model_fields)
    try:
        return knobs.model_validate(dict(spec.knobs))
    except ValidationError as error:
        first = error.errors()[0]
        where = f'knob "{first["loc"][0]}"' if first["loc"] else "knobs"
        given = f"={spec.knobs[str(first['loc'][0])]}" if first["loc"] and str(first["loc"][0]) in spec.knobs else ""
        raise TaskError(
            f"{spec.family}:{spec.name}, {where}{given}: {first['msg'].removeprefix('Value error, ')}.",
            hint=f"`spiritsafe tasks show {spec.family}:{spec.name}` lists its knobs and their defaults.",
        ) from error


def format_value(value: Any) -> str:
    """A knob's value as a spec writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple) and len(value) == 2 and all(type(end) is int for end in value):
        return f"{value[0]}" if value[0] == value[1] else f"{value[0]}-{value[1]}"
    if isinstance(value, list):
        return ",".join(format_value(item) for item in value)
    return str(value)


def _quoted(text: str) -> str:
    try:
        return quote(text, safe=_SAFE)
    except UnicodeEncodeError as error:
        raise TaskError(f"{text!a} is not UTF-8.", hint="Name the task in valid Unicode.") from error


def canonical_name(family: str, name: str, knobs: Mapping[str, Any]) -> str:
    """The spec with every knob resolved and sorted; knobs whose value is None or "" are left out.

    Raises:
        TaskError: A value is no valid Unicode.
    """
    parts = [f"{key}={_quoted(format_value(knobs[key]))}" for key in sorted(knobs) if knobs[key] not in (None, "")]
    head = f"{family}:{_quoted(name)}"
    return f"{head}?{'&'.join(parts)}" if parts else head
