"""Generators by their addresses, for rooms that know of models no more than the Generator protocol.

In: an address such as ``http://127.0.0.1:8000/v1`` and a model's name there. Out: a Generator, from whichever installed
package answers for the address's scheme. Packages say so by entry points of the group ``spiritsafe.generators``: a
function of the address, the model's name and the name of the variable that holds a key, or None.
"""

from __future__ import annotations

from importlib.metadata import entry_points

from spiritsafe.core.errors import RecipeError
from spiritsafe.core.generator import Generator

_GROUP = "spiritsafe.generators"


def generator_at(address: str, model: str, api_key_env: str | None = None) -> Generator:
    """The model at an address; close it after use.

    Raises:
        RecipeError: No package answers for such an address, or it is none.
    """
    scheme = address.partition(":")[0].lower()
    found = {point.name: point for point in entry_points(group=_GROUP)}
    if scheme not in found:
        raise RecipeError(
            f'"{address}" is no address of a model.',
            hint=f"Begin it with {' or '.join(f'{name}://' for name in sorted(found)) or 'http://'}.",
        )
    generator: Generator = found[scheme].load()(address, model, api_key_env)
    return generator
