"""A recipe file is read, laid over what it extends, changed by ``--set`` and validated."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from spiritsafe.core.errors import RecipeError
from spiritsafe.core.files.reading import read_bytes
from spiritsafe.core.records import Record
from spiritsafe.pipeline.recipe.kinds import AnyOf, kinds_of
from spiritsafe.pipeline.recipe.schema import _MOST_BYTES, Recipe


def packaged_recipes() -> dict[str, str]:
    """Name and summary of each recipe that comes with the program."""
    folder = resources.files("spiritsafe.pipeline") / "recipes"
    texts = {p.name.removesuffix(".toml"): p.read_text("utf-8") for p in folder.iterdir() if p.name.endswith(".toml")}
    return {name: str(tomllib.loads(text).get("summary", "")) for name, text in sorted(texts.items())}


def load_recipe(name_or_path: str, overrides: tuple[str, ...] = ()) -> tuple[Recipe, str]:
    """Read, override and validate a recipe.

    Args:
        name_or_path: A TOML file, or the name of a packaged recipe.
        overrides: ``a.b=value`` settings; the key must exist in the recipe's schema. Values are TOML
            (``0.85``, ``true``, ``"text"``); a bare word is text.

    Returns:
        The recipe, and the text it was read from.

    Raises:
        RecipeError: Not found, not TOML, an unknown key or a wrong value.
    """
    text, values = _read(name_or_path, chain=())
    for override in overrides:
        _apply(values, override)
    try:
        return Recipe.model_validate(values), text
    except ValidationError as error:
        raise _recipe_error(error) from error


def _read(name_or_path: str, chain: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    if name_or_path in chain:
        raise RecipeError(
            f"Recipes extend each other in a circle: {' -> '.join((*chain, name_or_path))}.",
            hint="Remove one `extends`.",
        )
    path = Path(name_or_path)
    try:
        if path.suffix == ".toml":
            text = read_bytes(path, most_bytes=_MOST_BYTES).decode("utf-8")
        else:
            text = (resources.files("spiritsafe.pipeline") / "recipes" / f"{name_or_path}.toml").read_text("utf-8")
    except (OSError, ValueError) as error:
        known = ", ".join(packaged_recipes())
        raise RecipeError(
            f"There is no recipe {name_or_path!r}.", hint=f"Give the path of a .toml file, or one of: {known}."
        ) from error
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
            f"--set {override} has no value.", hint="Write --set a.b=value, e.g. --set exam.problems=400."
        )
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = raw
    target: Any = values
    *parents, last = key.split(".")
    for part in parents:
        if isinstance(target, list) and part.isdigit() and int(part) < len(target):
            target = target[int(part)]
        elif isinstance(target, dict):
            target = target.setdefault(part, {})
        else:
            raise RecipeError(f"--set {key}: there is no {part!r} there.", hint="See the recipe's keys with `plan`.")
    if isinstance(target, list) and last.isdigit() and int(last) < len(target):
        target[int(last)] = value
    elif isinstance(target, dict):
        target[last] = value
    else:
        raise RecipeError(f"--set {key}: there is no {last!r} there.", hint="See the recipe's keys with `plan`.")


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
    for part in location[:-1]:
        of_kind = [model for model in found if len(found) > 1 and model.model_fields["kind"].default == part]
        if of_kind:
            found = of_kind
            continue
        written.append(part)
        if isinstance(part, str):
            found = list(_records_in(_known_keys(found[0]).get(part)))
            if not found:
                return None, location
    return found[0], (*written, location[-1])


def _recipe_error(error: ValidationError) -> RecipeError:
    first = error.errors()[0]
    model, location = _model_at(first["loc"]) if first["loc"] else (None, ())
    where = ".".join(str(part) for part in location) or "the recipe"
    if first["type"] == "extra_forbidden":
        known = sorted(_known_keys(model)) if model else []
        near = difflib.get_close_matches(str(location[-1]), known, n=1, cutoff=0.0)
        return RecipeError(
            f"Unknown key {where!r}.",
            hint=f"Did you mean {near[0]!r}? Known here: {', '.join(known)}." if near else "Remove it.",
        )
    if first["type"] == "missing":
        return RecipeError(
            f"The key {where!r} is missing.", hint="Add it; `spiritsafe plan quickstart` shows an example."
        )
    if first["type"] == "union_tag_invalid":
        return RecipeError(f"{where}: there is no step of this kind.", hint=f"{first['msg']}.")
    return RecipeError(
        f"{where}: {first['msg']} (got {_shown(first.get('input'))}).", hint="Mend it in the recipe or with --set."
    )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
