"""Recipe files as they are written: packaged ones by name, others by path.

In: a name or a path. Out: text. Nothing is imported that a recipe may ask for, so that a list of recipes costs nothing.
"""

from __future__ import annotations

import tomllib
from importlib import resources
from pathlib import Path

from spiritsafe.core.errors import RecipeError
from spiritsafe.core.files.reading import read_bytes

MOST_RECIPE_BYTES = 1 << 20
"""Of a recipe file."""


def packaged_recipes() -> dict[str, str]:
    """Name and summary of each recipe that comes with the program."""
    folder = resources.files("spiritsafe.pipeline") / "recipes"
    texts = {p.name.removesuffix(".toml"): p.read_text("utf-8") for p in folder.iterdir() if p.name.endswith(".toml")}
    return {name: str(tomllib.loads(text).get("summary", "")) for name, text in sorted(texts.items())}


def recipe_text(name_or_path: str) -> str:
    """A recipe as it was written.

    Args:
        name_or_path: A TOML file, or the name of a packaged recipe.

    Raises:
        RecipeError: There is none.
    """
    path = Path(name_or_path)
    try:
        if path.suffix == ".toml":
            return read_bytes(path, most_bytes=MOST_RECIPE_BYTES).decode("utf-8-sig")  # editors of Windows write a mark
        return (resources.files("spiritsafe.pipeline") / "recipes" / f"{name_or_path}.toml").read_text("utf-8")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{name_or_path} is not UTF-8: {error.reason}.", hint="Save it as UTF-8.") from error
    except (OSError, ValueError) as error:
        known = ", ".join(packaged_recipes())
        raise RecipeError(
            f"There is no recipe {name_or_path!r}.", hint=f"Give the path of a .toml file, or one of: {known}."
        ) from error
