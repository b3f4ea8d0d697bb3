"""A recipe file is read, laid over what it extends, changed by ``--set`` and validated."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator
from typing import Any, get_args, get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from spiritsafe.core.errors import RecipeError
from spiritsafe.core.records import Record
from spiritsafe.pipeline.recipe.graph import RecipeFaults
from spiritsafe.pipeline.recipe.kinds import AnyOf, kind_names, kinds_of
from spiritsafe.pipeline.recipe.reference.files import recipe_text
from spiritsafe.pipeline.recipe.schema import Recipe


def load_recipe(name_or_path: str, overrides: tuple[str, ...] = ()) -> tuple[Recipe, str]:
    """Read, override and validate a recipe.

    Args:
        name_or_path: A TOML file, or the name of a packaged recipe.
        overrides: ``a.b=value`` settings; the key must exist in the recipe's schema. Values are TOML
            (``0.85``, ``true``, ``"text"``); a bare word is text. Steps and exams are named:
            ``steps.student.ce_share=0.5``.

    Returns:
        The recipe, and the text it was read from.

    Raises:
        RecipeError: Not found, not TOML, an unknown key or a wrong value; the message tells all that is wrong.
    """
    text, values = _read(name_or_path, chain=())
    for override in overrides:
        _apply(values, override)
    return recipe_of(values), text


def recipe_of(values: dict[str, Any]) -> Recipe:
    """The recipe that a TOML file's values say.

    Raises:
        RecipeError: An unknown key or a wrong value; the message tells all that is wrong.
    """
    try:
        return Recipe.model_validate(_with_defaults(values))
    except ValidationError as error:
        raise recipe_error(error) from error


def _with_defaults(values: dict[str, Any]) -> dict[str, Any]:
    """``[defaults.<kind>]`` laid under each step of that kind.

    Raises:
        RecipeError: There is no such kind, or it has no such key.
    """
    values = dict(values)
    defaults, steps = values.pop("defaults", None), values.get("steps")
    if defaults is None:
        return values
    _require_defaults(defaults)
    if isinstance(steps, list):
        values["steps"] = [
            _merged(defaults.get(str(step.get("kind")), {}), step) if isinstance(step, dict) else step for step in steps
        ]
    return values


def _require_defaults(defaults: Any) -> None:
    """Refuse what could be the default of nothing.

    Raises:
        RecipeError: It is no table of tables, there is no such kind of step, or it has no such key.
    """
    if not isinstance(defaults, dict):
        raise RecipeError("defaults is no table.", hint="Write [defaults.tune] and below it keys of such steps.")
    kinds = kind_names()
    found = [
        _unknown_key(f"defaults.{kind}", kind, sorted(kinds), "Kinds of steps")
        for kind in defaults
        if kind not in kinds
    ]
    for kind, table in defaults.items():
        if not isinstance(table, dict):
            found.append((f"defaults.{kind} is no table.", f"Write [defaults.{kind}] and keys of such steps."))
        elif kind in kinds:
            known = sorted(_known_keys(kinds[kind]))
            found += [_unknown_key(f"defaults.{kind}.{key}", key, known) for key in table if key not in known]
    if found:
        raise _told(found)


def _read(name_or_path: str, chain: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    if name_or_path in chain:
        raise RecipeError(
            f"Recipes extend each other in a circle: {' -> '.join((*chain, name_or_path))}.",
            hint="Remove one `extends`.",
        )
    text = recipe_text(name_or_path)
    try:
        values = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        reason = "nested too deep" if isinstance(error, RecursionError) else error
        raise RecipeError(f"{name_or_path} is not valid TOML: {reason}.", hint="Mend the named line.") from error
    parent = values.pop("extends", None)
    if parent is None:
        return text, values
    _, inherited = _read(str(parent), (*chain, name_or_path))
    return text, _merged(inherited, values)


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """``over`` wins; tables merge, lists are replaced whole."""
    merged = dict(under)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, raw = override.partition("=")
    if not equals or not key:
        raise RecipeError(
            f"--set {override} has no value.", hint="Write --set a.b=value, e.g. --set exams.exam.problems=400."
        )
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = raw
    *parents, last = key.split(".")
    target: Any = values
    for part in parents:
        target = _within(target, part, key)
    place = _place_in(target, last)
    if isinstance(target, list) and place is not None:
        target[place] = value
    elif isinstance(target, dict):
        target[last] = value
    else:
        raise _nowhere(key, last)


def _within(target: Any, part: str, key: str) -> Any:
    place = _place_in(target, part)
    if isinstance(target, list) and place is not None:
        return target[place]
    if isinstance(target, dict):
        return target.setdefault(part, {})
    raise _nowhere(key, part)


def _place_in(target: Any, part: str) -> int | None:
    """Where an entry of a list stands, by its number or its name; an exam without a name is called so."""
    if not isinstance(target, list):
        return None
    if part.isdecimal():
        return int(part) if int(part) < len(target) else None
    named = [entry.get("name", "exam") if isinstance(entry, dict) else None for entry in target]
    return named.index(part) if part in named else None


def _nowhere(key: str, part: str) -> RecipeError:
    return RecipeError(
        f"--set {key}: there is no {part!r} there.",
        hint="Write --set data.lessons.problems=400 or --set steps.student.ce_share=0.5; `spiritsafe recipes show` "
        "prints a recipe.",
    )


def _records_in(annotation: Any) -> Iterator[type[Record]]:
    """The schema classes that an annotation speaks of: of a table that may be of several kinds, these."""
    kinds = [kind for part in get_args(annotation) if isinstance(part, AnyOf) for kind in kinds_of(part.table)]
    if kinds:
        yield from kinds
        return
    if isinstance(annotation, type) and issubclass(annotation, Record):
        yield annotation
    for part in get_args(annotation):
        yield from _records_in(part)


def _known_keys(model: type[Record]) -> dict[str, Any]:
    """Keys of a table as a recipe writes them, with what they hold."""
    return {field.alias or name: field.annotation for name, field in model.model_fields.items()}


def _model_at(location: tuple[int | str, ...]) -> tuple[type[Record] | None, tuple[int | str, ...]]:
    """The schema class that holds the last part of a validation error's location, and the location as it is written.

    Where a table may be of several kinds, pydantic puts its kind into the location.
    """
    found: list[type[Record]] = [Recipe]
    written: list[int | str] = []
    is_name = False  # the tables of [models] and [data] are told apart by a name
    for place, part in enumerate(location[:-1]):
        if of_kind := _of_kind(found, part):
            found = of_kind
            continue
        written.append(part)
        if isinstance(part, str) and not is_name:
            annotation = _known_keys(found[0]).get(part)
            found, is_name = list(_records_in(annotation)), get_origin(annotation) is dict
            if not found:
                return None, (*written, *location[place + 1 :])
        else:
            is_name = False
    if _of_kind(found, location[-1]):  # the whole table
        return None, tuple(written)
    return (None if is_name else found[0]), (*written, location[-1])


def _of_kind(found: list[type[Record]], part: int | str) -> list[type[Record]]:
    """Of the kinds that a table may be of, the one that a location names."""
    return [model for model in found if len(found) > 1 and model.model_fields["kind"].default == part]


def recipe_error(error: ValidationError) -> RecipeError:
    """One error that tells all faults."""
    errors = error.errors()
    inner = {one["loc"][:end] for one in errors for end in range(len(one["loc"]))}
    # a list whose entries are wrong is told to be too short as well
    errors = [one for one in errors if one["type"] != "too_short" or one["loc"] not in inner]
    return _told([fault for one in errors for fault in _faults(one)])


def _told(found: list[tuple[str, str]]) -> RecipeError:
    if len(found) == 1:
        said, hint = found[0]
        return RecipeError(said, hint=hint)
    lines = "\n".join(f"  {said} {hint}".rstrip() for said, hint in found)
    return RecipeError(f"{len(found)} faults in the recipe:\n{lines}\n", hint="Mend them in the recipe or with --set.")


_MEND = "Mend it in the recipe or with --set."


def _faults(error: ErrorDetails) -> list[tuple[str, str]]:
    """What is wrong, and what to do."""
    raised = error.get("ctx", {}).get("error")
    if isinstance(raised, RecipeFaults):
        return [(f"{fault}.", _MEND if len(raised.faults) == 1 else "") for fault in raised.faults]
    told = tuple(part for part in error["loc"] if not str(part).startswith("["))  # not which form a value has
    model, location = _model_at(told) if told else (None, ())
    where = ".".join(str(part) for part in location) or "the recipe"
    if error["type"] == "extra_forbidden":
        return [_unknown_key(where, str(location[-1]), sorted(_known_keys(model)) if model else [])]
    if error["type"] == "missing":
        return [(f"The key {where!r} is missing.", "Add it; `spiritsafe recipes show quickstart` prints an example.")]
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        given = error.get("input")
        kind = str(given.get("kind", "")) if isinstance(given, dict) else ""
        near = difflib.get_close_matches(kind, kind_names(), n=1, cutoff=0.5)
        guess = f"Did you mean {near[0]!r}? " if near else ""
        said = f"{where}: there is no step of this kind{f', {_shown(kind)}' if kind else ''}."
        return [(said, f"{guess}Kinds: {', '.join(sorted(kind_names()))}.")]
    said = _TOML_WORDS.get(error["type"], error["msg"].removeprefix("Value error, ").rstrip("."))
    if raised is not None:  # ours: a sentence that says all
        return [(f"{where}: {said}.", _MEND)]
    return [(f"{where}: {said} (got {_shown(error.get('input'))}).", _MEND)]


_TOML_WORDS = {
    "tuple_type": "Input should be a valid list",
    **dict.fromkeys(("dict_type", "model_type", "model_attributes_type"), "Input should be a valid table"),
}
"""What pydantic calls by Python's names."""


def _unknown_key(where: str, key: str, known: list[str], what: str = "Known here") -> tuple[str, str]:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    guess = f"Did you mean {near[0]!r}? " if near else ""
    return f"Unknown key {where!r}.", f"{guess}{what}: {', '.join(known)}." if known else "Remove it."


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
