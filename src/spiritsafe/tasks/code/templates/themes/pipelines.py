"""Templates of several stages: what one stage makes is what the next one takes."""

from __future__ import annotations

from math import gcd
from string import ascii_letters
from typing import Any

from spiritsafe.tasks.code.templates.inputs import rows, text, whole
from spiritsafe.tasks.code.templates.template import Exercise, added, asking, scaled, template
from spiritsafe.tasks.code.templates.themes.phrases import (
    CHANGES,
    CONDITIONS,
    change_code,
    change_made,
    change_words,
    condition_code,
    condition_test,
    condition_words,
    numbers_near,
    with_own_change,
)

_FOLDS = {
    "sum": ("sum({0})", "their sum"),
    "greatest": ("max({0})", "the greatest of them"),
    "smallest": ("min({0})", "the smallest of them"),
    "spread": ("max({0}) - min({0})", "the difference between the greatest and the smallest of them"),
    "ends": ("{0}[0] * 2 + {0}[-1]", "twice the first of them plus the last of them"),
}
_EMPTY = (*range(-9, 0), *range(1, 10))


def _told_by_fold(s: dict[str, Any]) -> dict[str, Any] | None:
    """Settings without what the fold takes out again: a spread knows no constant and no sign."""
    if with_own_change(s) is None:
        return None
    kind, *parts = s["change"].split()
    if s["fold"] != "spread" or kind in ("quotient", "modulo"):
        return s
    if kind == "square":
        return s | {"change": "square plus 0"}
    return s | {"change": f"times {abs(int(parts[0]))} plus 0"} if kind == "times" and parts[0] != "-1" else None


@template(level=4, settle=_told_by_fold, condition=CONDITIONS, change=CHANGES, fold=tuple(_FOLDS), empty=_EMPTY)
def _list_pipeline(condition: str, change: str, fold: str, empty: int) -> Exercise:
    code, words = _FOLDS[fold]
    return Exercise(
        gold=f"""\
def process(values: list[int]) -> int:
    kept = []
    for x in values:
        if {condition_code(condition, "x")}:
            kept.append({change_code(change, "x")})
    if len(kept) == 0:
        return {empty}
    return {code.format("kept")}
""",
        wordings=(
            f"Keep only the numbers {condition_words(condition)}. Replace each of them, x, by "
            f"{change_words(change)}. "
            f"Return {words}; if no number was kept, return {empty}.",
            f"Of the numbers of the list, only those {condition_words(condition)} count. For each of them, x, "
            f"compute "
            f"{change_words(change)}. Of these results, in the order of the list, return {words}; without any, "
            f"return "
            f"{empty}.",
        ),
        supplies=(rows(whole(-99, 99, *numbers_near(condition))),),
    )


_SOURCES = {
    "differences": (
        "values[i + 1] - values[i]",
        "1",
        "each number's difference to the next one (the next minus the number)",
    ),
    "pairs": ("values[i] + values[i + 1]", "1", "the sums of each two neighbours"),
    "peaks": ("max(values[i], values[i + 1], values[i + 2])", "2", "the greatest of each three consecutive numbers"),
    "gaps": (
        "values[i + 2] - values[i] * 2",
        "2",
        "each number's double subtracted from the number two places after it",
    ),
}


@template(
    level=5,
    settle=_told_by_fold,
    source=tuple(_SOURCES),
    condition=CONDITIONS,
    change=CHANGES,
    fold=tuple(_FOLDS),
    empty=_EMPTY,
)
def _three_stages(source: str, condition: str, change: str, fold: str, empty: int) -> Exercise:
    item, fewer, made = _SOURCES[source]
    code, words = _FOLDS[fold]
    return Exercise(
        gold=f"""\
def derive(values: list[int]) -> list[int]:
    derived = []
    for i in range(len(values) - {fewer}):
        derived.append({item})
    return derived


def choose(values: list[int]) -> list[int]:
    chosen = []
    for x in values:
        if {condition_code(condition, "x")}:
            chosen.append({change_code(change, "x")})
    return chosen


def process(values: list[int]) -> int:
    chosen = choose(derive(values))
    if len(chosen) == 0:
        return {empty}
    return {code.format("chosen")}
""",
        wordings=(
            f"Stage 1: from the list make a new one of {made}, in order. Stage 2: of that list keep the numbers "
            f"{condition_words(condition)}. Stage 3: replace each number x by {change_words(change)}. Return "
            f"{words}, "
            f"or {empty} if nothing is left.",
            f"Compute {made}; drop those results that are not numbers {condition_words(condition)}; turn every "
            f"remaining number x into {change_words(change)}. Return {words}. If none remained, return {empty}.",
        ),
        notes="A list that is too short for the first step leaves nothing.",
        supplies=(rows(whole(-50, 50, *numbers_near(condition), 0), most=12),),
    )


_PLACES = (
    *(f"above {n}" for n in range(2, 23)),
    *(f"below {n}" for n in range(5, 26)),
    *(f"remainder {r} of {m}" for m in range(2, 6) for r in range(m)),
)


def _with_own_letters(s: dict[str, Any]) -> dict[str, Any] | None:
    meets, made = condition_test(s["condition"]), change_made(s["change"])
    results = [made(n) - n for n in range(1, 27) if meets(n)]
    is_shift = len(set(results)) == 1 and not s["change"].startswith("plus")
    return None if is_shift or len({made(n) for n in range(1, 27) if meets(n)}) == 1 else s


@template(
    level=4,
    settle=_with_own_letters,
    condition=_PLACES,
    change=CHANGES,
    m=range(100, 1000),
    is_upper_skipped=(True, False),
)
def _letter_pipeline(condition: str, change: str, m: int, is_upper_skipped: bool) -> Exercise:
    added = change_code(change, "x")
    added = f"({added})" if added.startswith("-") else added
    source = "text" if is_upper_skipped else "text.lower()"
    which = "lower-case letters (a to z)" if is_upper_skipped else "letters (a to z, and A to Z, which count as a to z)"
    return Exercise(
        gold=f"""\
def digest(text: str) -> int:
    total = 1
    for c in {source}:
        if c < "a" or c > "z":
            continue
        x = ord(c) - ord("a") + 1
        if {condition_code(condition, "x")}:
            total = (total * 3 + {added}) % {m}
    return total
""",
        wordings=(
            f"Take the {which} of the text and number them by the alphabet, from a = 1 to z = 26. Keep the numbers "
            f"{condition_words(condition)}. Starting with the total 1, for each kept number x in order, replace the "
            f"total by the remainder (from 0 to {m - 1}) of 3 * total + y divided by {m}, where y is "
            f"{change_words(change)}. Return the total.",
            f"A digest of a text begins as 1. Each of its {which}, read as its place x in the alphabet (a is 1), "
            f"changes the digest d to (3 * d + y) modulo {m}, never negative, with y being {change_words(change)}; "
            f"but only numbers x {condition_words(condition)} count. Return the digest.",
        ),
        supplies=(text(ascii_letters + " 1,", most=20, pieces=("a", "z", "Az", "hello", "Quiz", "m")),),
    )


def _is_own_set(s: dict[str, Any]) -> dict[str, Any] | None:
    """None if the condition never holds, or if another pair of factors counts the same."""
    a, b = s["a"], s["b"]
    kind, *parts = s["condition"].split()
    if gcd(a, b) != 1:
        return None
    if kind == "remainder":
        m = int(parts[2])
        if gcd(a, m) != 1 or (s["fold"] == "number" and (a != 1 or not 0 < b < m)):
            return None
    return None if s["fold"] == "number" and (a < 0 or kind == "digit") else s


@template(
    level=4,
    settle=_is_own_set,
    a=(*range(-5, 0), *range(1, 6)),
    b=(*range(-5, 0), *range(1, 6)),
    condition=CONDITIONS,
    fold=("sum", "number", "greatest"),
    empty=_EMPTY,
)
def _two_lists(a: int, b: int, condition: str, fold: str, empty: int) -> Exercise:
    code = {"sum": "sum(kept)", "number": "len(kept)", "greatest": "max(kept)"}[fold]
    words = {"sum": "their sum", "number": "how many they are", "greatest": "the greatest of them"}[fold]
    return Exercise(
        gold=f"""\
def compare(left: list[int], right: list[int]) -> int:
    kept = []
    for i in range(min(len(left), len(right))):
        x = {scaled("left[i]", a)}{added("right[i]", b)}
        if {condition_code(condition, "x")}:
            kept.append(x)
    if len(kept) == 0:
        return {empty}
    return {code}
""",
        wordings=(
            f"For each place that both lists have, compute {a} times the number in the left list plus {b} times the "
            f"number in the right list. Keep the results {condition_words(condition)}, and return {words}, or "
            f"{empty} "
            "if there are none.",
            "Pair the first numbers of both lists, the second ones, and so on, until the shorter list ends. A pair "
            f"(x, y) gives {a} * x + {b} * y. Of these, consider the numbers {condition_words(condition)}: return "
            f"{words}; without any, return {empty}.",
        ),
        supplies=(
            rows(whole(-30, 30, *numbers_near(condition)), most=9),
            rows(whole(-30, 30, *numbers_near(condition), 0), most=9),
        ),
    )


@template(
    level=5,
    m=range(3, 14),
    change=CHANGES,
    asked=("total", "weighted", "difference"),
    cap=range(2, 7),
)
def _groups(m: int, change: str, asked: str, cap: int) -> Exercise:
    result = {
        "total": "the greatest total of a group",
        "weighted": "the sum of all groups' numbers, each multiplied by its group's total",
        "difference": "the totals of all groups with even numbers, minus the totals of all groups with odd numbers",
    }[asked]
    return Exercise(
        gold=asking(
            f"""\
def group_totals(values: list[int]) -> list[int]:
    totals = [0] * {m}
    sizes = [0] * {m}
    for x in values:
        key = x % {m}
        if sizes[key] < {cap}:
            sizes[key] += 1
            totals[key] += {change_code(change, "x")}
    return totals


def groups(values: list[int]) -> int:
    totals = group_totals(values)
    best = totals[0]  # total
    weighted = 0  # weighted
    difference = totals[0]  # difference
    for key in range(1, {m}):
        best = max(best, totals[key])  # total
        weighted += key * totals[key]  # weighted
        if key % 2 == 0:  # difference
            difference += totals[key]  # difference
        else:  # difference
            difference -= totals[key]  # difference
    return {"best" if asked == "total" else asked}
""",
            asked,
        ),
        wordings=(
            f"Numbers with the same remainder on division by {m} (from 0 to {m - 1}, also for negative numbers) form "
            f"a group, whose number is that remainder; there are always {m} groups, some may be empty. Only the "
            f"first "
            f"{cap} numbers of each group, in the order of the list, count. A group's total is the sum of y over its "
            f"numbers x that count, where y is {change_words(change)}; it is 0 for an empty group. Return {result}.",
            f"Sort the numbers of the list into {m} groups by their value modulo {m} (never negative). A group takes "
            f"no more than {cap} numbers, the earliest in the list. Each number x that was taken adds y to its "
            f"group's total, which starts at 0; y is {change_words(change)}. Empty groups count as well. Return "
            f"{result}.",
        ),
        supplies=(rows(whole(-40, 60, m, 2 * m, 3 * m, 1 - m, 4 * m + 1, 1), most=16),),
    )
