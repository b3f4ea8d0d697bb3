"""Duties in words: a line each, a NOTICE, banners.

In: :class:`~spiritsafe.release.duties.records.Duties`. Out: text for plans, cards and files. Nothing reads it back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spiritsafe.release.duties.records import DUTY_KINDS, Duties, Duty, DutyConflict, DutyKind

NOT_LEGAL_ADVICE = (
    "Worked out from licence texts by a table; this is not legal advice, and the texts themselves are what binds."
)

_TOLD_LATER: tuple[DutyKind, ...] = ("termination",)
"""Of no consequence for how a model is made or shipped."""


def duty_words(duty: Duty) -> str:
    """One duty in a line: whose, what, and where it is written."""
    causes = "; ".join(f"{cause.model} ({_uses(cause.uses)})" for cause in duty.causes)
    if duty.kind == "unknown":
        return f"{causes}: its licence, {duty.text}, is {_short(duty)}"
    clause = f", {duty.clause}" if duty.clause else ""
    quote = f": “{duty.quote}”" if duty.kind == "blocked" and duty.quote else ""
    return f"{causes}: {_short(duty)} ({duty.licence_name}{clause}){quote}"


def _uses(uses: Sequence[str]) -> str:
    return ", ".join(uses).replace("_", " ")


def _short(duty: Duty) -> str:
    return DUTY_KINDS[duty.kind][0].replace("{text}", duty.text)


def duties_summary(duties: Duties) -> list[str]:
    """A line for each model and licence that something follows from, and for each conflict."""
    found: dict[tuple[str, str], list[str]] = {}
    for duty in duties.duties:
        if duty.kind not in _TOLD_LATER:
            for cause in duty.causes:
                said = found.setdefault((f"{cause.model} ({_uses(cause.uses)})", duty.licence_name), [])
                said.append(_short(duty))
    lines = [f"{cause}, {licence}: {'; '.join(said)}" for (cause, licence), said in found.items()]
    return lines + [conflict_words(conflict) for conflict in duties.conflicts]


def conflict_words(conflict: DutyConflict) -> str:
    """What is at odds, in a sentence."""
    licences, texts = ", ".join(conflict.licences), " and ".join(f"“{text}”" for text in conflict.texts)
    if conflict.kind == "name":
        return f"No name begins with {texts}, as {licences} ask."
    if conflict.kind == "share_alike":
        return f"{conflict.licences[0]} allows no further terms, and {', '.join(conflict.licences[1:])} ask for some."
    return f"Parts of it are free for commerce, the whole is not: {licences}."


def banner_texts(duties: Duties, name: str) -> tuple[str, ...]:
    """What is displayed wherever the model is presented.

    Args:
        name: Of the model that is released.
    """
    return tuple(text.replace("{model}", name) for text in duties.texts("banner"))


def notice_text(duties: Duties, name: str) -> str:
    """The file NOTICE of a release: every line that a licence asks for in its very words, and what else must be told.

    Args:
        name: Of the model that is released.
    """
    return "\n".join(_notice(duties, name)) + "\n"


def _notice(duties: Duties, name: str) -> Iterator[str]:
    yield name
    for line in (*duties.texts("notice"), *banner_texts(duties, name)):
        yield f"\n{line}"
    made_from: dict[str, dict[str, None]] = {}
    for duty in duties.duties:
        for cause in duty.causes:
            made_from.setdefault(f"{cause.model} ({_uses(cause.uses)})", {})[duty.licence_name] = None
    if made_from:
        yield "\nMade with:"
        yield from (f"  {model}: {', '.join(names)}" for model, names in made_from.items())
    changed = dict.fromkeys(cause.model for duty in duties.of("mark_changes") for cause in duty.causes)
    if changed:
        yield f"\nThe weights are not those that were published: {', '.join(changed)} was modified to make {name}."
    for heading, kinds in _TOLD:
        lines = [(duty, f"  {_short(duty)}{f' ({duty.at})' if duty.at else ''}") for duty in duties.of(*kinds)]
        if lines:
            yield f"\n{heading}"
            yield from dict.fromkeys(f"{line} [{duty.licence_name}]" for duty, line in lines)
    yield f"\n{NOT_LEGAL_ADVICE}"


_TOLD: tuple[tuple[str, tuple[DutyKind, ...]], ...] = (
    ("Kept from what it was made with:", ("attribution",)),
    (
        "Whoever uses it is bound by:",
        ("pass_on", "share_alike", "research_only", "non_commercial", "permission", "region", "granted"),
    ),
)
