"""Whether an explanation smuggles the code that it explains.

In: an explanation and the code. Out: why it is none, or None. An explanation says what a program does; one that spells
out its text, in a block, between backticks or in words, would let anything that copies rebuild it.
"""

from __future__ import annotations

import re

from spiritsafe.tasks.code.answer import fenced_blocks

MOST_RUN = 6
"""Words and signs in a row that explanation and code may share."""
_GRAM = 4
MOST_SHARED = 0.25
"""Share of the code's runs of four that may stand in the explanation."""
_OPERATOR = re.compile(r"//|==|!=|/=|<=|>=|:=|[-+*/%]=|\*\*|->|\.(?:eq|ne|lt|le|gt|ge|and|or|not)\.")
MOST_OPERATORS = 2
"""Signs that only programs have."""
_FREE_CHARACTERS, _TIMES_CODE = 600, 3
_SPAN = re.compile(r"`([^`\n]*)`")
_NAME = re.compile(r"[A-Za-z_][\w-]*|[-+]?\d+|\"[^\"]{0,3}\"|'[^']{0,3}'")
_TOKEN = re.compile(r"[A-Za-z_]\w*|\d+|[^\w\s]")


def leak_in(explanation: str, code: str) -> str | None:
    """Why it is no explanation; None: it is one."""
    limit = _FREE_CHARACTERS + _TIMES_CODE * len(code)
    if len(explanation) > limit:
        return f"it has {len(explanation)} characters; {limit} are the most for this code"
    if fenced_blocks(explanation):
        return "it has a block of code"
    if long := next((span for span in _SPAN.findall(explanation) if not _NAME.fullmatch(span.strip())), None):
        return f"it has code between backticks: {long[:60]}"
    if len(signs := _OPERATOR.findall(explanation.lower())) > MOST_OPERATORS:
        return f"it has {len(signs)} of the signs that only programs have; {MOST_OPERATORS} are the most"
    said, written = _TOKEN.findall(explanation.lower()), _TOKEN.findall(code.lower())
    run = _longest_run(said, written)
    if run > MOST_RUN:
        return f"{run} words and signs in a row are those of the code; {MOST_RUN} are the most"
    grams = {tuple(written[at : at + _GRAM]) for at in range(len(written) - _GRAM + 1)}
    shared = grams & {tuple(said[at : at + _GRAM]) for at in range(len(said) - _GRAM + 1)}
    if grams and len(shared) > max(2.0, MOST_SHARED * len(grams)):
        return f"{len(shared) / len(grams):.0%} of the code's runs of {_GRAM} words and signs stand in it"
    return None


def _longest_run(one: list[str], other: list[str]) -> int:
    """The longest run of tokens that both have."""
    best = 0
    before = [0] * (len(other) + 1)
    for token in one:
        now = [0] * (len(other) + 1)
        for place, same in enumerate(other):
            if token == same:
                now[place + 1] = before[place] + 1
                best = max(best, now[place + 1])
        before = now
    return best
