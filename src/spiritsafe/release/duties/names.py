"""Names that licences ask for, and what else stands in a release's way.

In: a name and duties. Out: nothing, or a refusal that says what would be right.
"""

from __future__ import annotations

import re

from spiritsafe.core.errors import RecipeError
from spiritsafe.release.duties.records import Duties
from spiritsafe.release.duties.words import conflict_words, duty_words


def begins_as_asked(name: str, prefix: str) -> bool:
    """Whether a name begins with a prefix; a hub's names have no blanks, so hyphens and underscores stand for them."""
    words = r"[-_ ]".join(map(re.escape, prefix.split()))
    return re.match(words, name) is not None


def suggested_name(name: str, duties: Duties) -> str:
    """The name with the prefix that licences ask for; itself where it has it."""
    owner, slash, base = name.rpartition("/")
    prefixes = duties.prefixes
    if all(begins_as_asked(base, prefix) for prefix in prefixes):
        return name
    return f"{owner}{slash}{prefixes[0].replace(' ', '-')}-{base}"


def check_name(name: str, duties: Duties) -> None:
    """Refuse a name that breaks a licence.

    Args:
        name: Of the model, with or without its owner (``org/Llama-student``).

    Raises:
        RecipeError: It does not begin as a licence asks, or none could; the message names the licence.
    """
    base = name.rpartition("/")[2]
    for conflict in duties.conflicts:
        if conflict.kind == "name":
            raise RecipeError(conflict_words(conflict), hint="Make it without one of these models.")
    for duty in duties.of("name_prefix"):
        if not begins_as_asked(base, duty.text):
            models = ", ".join(cause.model for cause in duty.causes)
            raise RecipeError(
                f"{name!r} is no name for what was made with {models}: the {duty.licence_name} asks for one that "
                f"begins with “{duty.text}”{f' ({duty.clause})' if duty.clause else ''}.",
                hint=f"Call it {suggested_name(name, duties)!r}.",
            )


def check_duties(duties: Duties) -> None:
    """Refuse to publish a model that a licence forbids, whose duties conflict, or of which a licence is not known.

    Raises:
        RecipeError: The message names model, licence and clause.
    """
    for duty in duties.of("blocked", "unknown"):
        models = ", ".join(cause.model for cause in duty.causes)
        key = "licence" if duty.kind == "unknown" else "licence_granted"
        said = "its SPDX id" if duty.kind == "unknown" else "who permits it, and when"
        raise RecipeError(
            f"{duties.model} cannot be published: {duty_words(duty)}.",
            hint=f'State it for {models} ([models.<name>] {key} = "{said}"), or make the model without it.',
        )
    for conflict in duties.conflicts:
        if conflict.is_fatal:
            raise RecipeError(conflict_words(conflict), hint="Make it without one of these models.")
