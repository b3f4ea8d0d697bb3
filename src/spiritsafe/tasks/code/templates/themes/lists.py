"""Templates of lists of integers: choosing, changing, neighbours, windows, runs, orders."""

from __future__ import annotations

from spiritsafe.tasks.code.templates.inputs import rows, whole
from spiritsafe.tasks.code.templates.template import Exercise, added, asking, plus, scaled, shifted, template
from spiritsafe.tasks.code.templates.themes.phrases import (
    CHANGES,
    CONDITIONS,
    change_code,
    change_words,
    condition_code,
    condition_words,
    numbers_near,
    with_own_change,
)

_NUMBERS = whole(-99, 99)


@template(level=1, a=(*range(-9, 0), *range(1, 10)), b=(*range(-9, 0), *range(1, 10)), c=range(-20, 21))
def _both_ends(a: int, b: int, c: int) -> Exercise:
    return Exercise(
        gold=f"""\
def ends(values: list[int]) -> int:
    return {scaled("values[0]", a)}{added("values[-1]", b)}{shifted(c)}
""",
        wordings=(
            f"Return {a} times the first number of the list {plus(b)} times its last number, {plus(c)}.",
            f"Multiply the first number of the list by {a} and the last one by {b}; return the sum of both products "
            f"{plus(c)}.",
        ),
        notes="The list is not empty; a single number is first and last.",
        supplies=(rows(_NUMBERS, least=1),),
    )


@template(level=1, a=(*range(-9, 0), *range(1, 10)), b=range(-50, 51), fold=("sum", "len", "max", "min"))
def _whole_list(a: int, b: int, fold: str) -> Exercise:
    words = {"sum": "the sum of", "len": "the number of", "max": "the greatest of", "min": "the smallest of"}[fold]
    return Exercise(
        gold=f"""\
def measure(values: list[int]) -> int:
    return {scaled(f"{fold}(values)", a)}{shifted(b)}
""",
        wordings=(
            f"Return {a} times {words} all numbers of the list, {plus(b)}.",
            f"Take {words} the numbers in the list, multiply by {a}, add {b}, and return the result.",
        ),
        notes="The list is not empty." if fold in ("max", "min") else f"The list may be empty; the result is then {b}.",
        supplies=(rows(_NUMBERS, least=1 if fold in ("max", "min") else 0),),
    )


@template(level=2, condition=CONDITIONS, fold=("sum", "number"), w=range(1, 6), b=range(-10, 11))
def _chosen_total(condition: str, fold: str, w: int, b: int) -> Exercise:
    return Exercise(
        gold=f"""\
def chosen_total(values: list[int]) -> int:
    total = 0
    for x in values:
        if {condition_code(condition, "x")}:
            total += {"x" if fold == "sum" else "1"}
    return {scaled("total", w)}{shifted(b)}
""",
        wordings=(
            f"Take the {fold} of those numbers of the list {condition_words(condition)}. Return it multiplied by "
            f"{w}, "
            f"{plus(b)}.",
            f"Return {w} times the {fold} of the numbers in the list {condition_words(condition)}, {plus(b)}.",
        ),
        notes="The sum or number is 0 if there is none.",
        supplies=(rows(whole(-99, 99, *numbers_near(condition))),),
    )


@template(level=2, settle=with_own_change, condition=CONDITIONS, change=CHANGES)
def _chosen_and_changed(condition: str, change: str) -> Exercise:
    return Exercise(
        gold=f"""\
def choose(values: list[int]) -> list[int]:
    result = []
    for x in values:
        if {condition_code(condition, "x")}:
            result.append({change_code(change, "x")})
    return result
""",
        wordings=(
            f"Keep the numbers {condition_words(condition)}, and replace each of them, x, by {change_words(change)}. "
            "Return the new list in the same order.",
            f"For every number x of the list in turn, but only for those {condition_words(condition)}, put "
            f"{change_words(change)} into the result.",
        ),
        notes="The result is empty if no number is kept.",
        supplies=(rows(whole(-99, 99, *numbers_near(condition))),),
    )


def _with_close_pairs(values: list[int], gap: int, k: int) -> list[int]:
    """The list with some numbers about k more than their partners."""
    result = values[:]
    for i in range(gap, len(values)):
        if values[i] % 3 == 0:
            result[i] = result[i - gap] + k + values[i] // 3 % 3 - 1
    return result


@template(
    level=2,
    settle=lambda s: s if not (s["is_absolute"] and s["k"] < 1) else None,
    k=range(-30, 31),
    is_absolute=(True, False),
    is_more=(True, False),
    asked=("number", "sum"),
    gap=(1, 2, 3),
)
def _neighbours(k: int, is_absolute: bool, is_more: bool, asked: str, gap: int) -> Exercise:
    difference = f"values[i + {gap}] - values[i]"
    difference = f"abs({difference})" if is_absolute else difference
    kind = "distance between them (never negative)" if is_absolute else "second minus the first"
    places = "next to each other" if gap == 1 else f"{gap} places apart"
    asked_words = "how many such pairs there are" if asked == "number" else "the sum of the first numbers of such pairs"
    return Exercise(
        gold=f"""\
def pairs(values: list[int]) -> int:
    result = 0
    for i in range(len(values) - {gap}):
        if {difference} {">" if is_more else "<"} {k}:
            result += {"1" if asked == "number" else "values[i]"}
    return result
""",
        wordings=(
            f"Look at all pairs of numbers that stand {places} in the list, the first before the second. A pair "
            f"counts if the {kind} is {'more' if is_more else 'less'} than {k}. Return {asked_words}.",
            f"Two numbers {places} in the list form a jump if the {kind} is {'greater' if is_more else 'smaller'} "
            f"than {k} (the first is the one that stands earlier). Return {asked_words.replace('pairs', 'jumps')}.",
        ),
        notes="Pairs may overlap; a list without pairs gives 0.",
        supplies=(rows(whole(-60, 60, k, -k, 20, 20 + k), most=12),),
        fit=lambda values: (_with_close_pairs(values, gap, k),),
    )


@template(
    level=2,
    settle=lambda s: s if s["r"] < s["m"] else None,
    a=(*range(-6, 0), *range(1, 10)),
    b=range(-9, 10),
    m=range(2, 7),
    r=range(6),
)
def _weighted_places(a: int, b: int, m: int, r: int) -> Exercise:
    return Exercise(
        gold=f"""\
def weigh(values: list[int]) -> int:
    total = 0
    for i in range(len(values)):
        if i % {m} == {r}:
            total += values[i] * ({scaled("i", a)}{shifted(b)})
        else:
            total += values[i]
    return total
""",
        wordings=(
            f"Places in the list are numbered from 0. A number at a place i that leaves remainder {r} when divided "
            f"by "
            f"{m} counts {a} * i{shifted(b)} times, every other number counts once. Return the total.",
            "Return the sum of all numbers of the list, where the number at index i (the first has index 0) is first "
            f"multiplied by {a} * i{shifted(b)} if i modulo {m} is {r}.",
        ),
        notes="The total of an empty list is 0.",
        supplies=(rows(_NUMBERS, most=14),),
    )


@template(level=3, k=range(1, 30), size=range(2, 11), is_left=(True, False), is_odd=(True, False))
def _turned_blocks(k: int, size: int, is_left: bool, is_odd: bool) -> Exercise:
    side = "left" if is_left else "right"
    cut = f"{k} % len(values)" if is_left else f"(len(values) - {k} % len(values)) % len(values)"
    first = size if is_odd else 0
    which = "second, fourth, sixth and so on" if is_odd else "first, third, fifth and so on"
    return Exercise(
        gold=f"""\
def turn(values: list[int]) -> list[int]:
    if len(values) == 0:
        return []
    cut = {cut}
    turned = values[cut:] + values[:cut]
    result = turned[:{first}]
    for start in range({first}, len(turned), {2 * size}):
        block = turned[start:start + {size}]
        result = result + block[::-1] + turned[start + {size}:start + {2 * size}]
    return result
""",
        wordings=(
            f"Rotate the list by {k} places to the {side}. Then cut it from the start into blocks of {size} numbers "
            f"(the last one may be shorter) and reverse the {which} block. Return the list.",
            f"Move each number {k} places to the {side}; those that fall off come in again at the other end. Of the "
            f"result, seen as blocks of {size} (a shorter one may remain at the end), turn around the {which} block, "
            "and return all blocks joined.",
        ),
        notes="An empty list stays empty.",
        supplies=(rows(_NUMBERS, most=32),),
    )


@template(
    level=3,
    settle=lambda s: s if s["r"] < s["m"] else None,
    k=range(1, 7),
    m=range(2, 8),
    r=range(7),
    w=range(2, 10),
    is_greatest=(True, False),
    b=range(-5, 6),
)
def _best_few(k: int, m: int, r: int, w: int, is_greatest: bool, b: int) -> Exercise:
    side = "greatest" if is_greatest else "smallest"
    order = "[::-1]" if is_greatest else ""
    return Exercise(
        gold=f"""\
def best(values: list[int]) -> int:
    ordered = sorted(values){order}
    total = {b}
    for x in ordered[:{k}]:
        if x % {m} == {r}:
            total += x * {w}
        else:
            total += x
    return total
""",
        wordings=(
            f"Take the {k} {side} numbers of the list (all if there are fewer; equal numbers count separately). "
            f"Return their sum {plus(b)}, where a number that leaves remainder {r} when divided by {m} counts {w} "
            "times.",
            f"Only the {k} {side} entries of the list count (equal ones separately; fewer if the list is short). "
            f"Start at {b} and add each of them, {w}-fold if its remainder on division by {m} is {r}. Return the "
            "total.",
        ),
        notes=f"Remainders are from 0 to {m - 1}, also for negative numbers.",
        supplies=(rows(whole(-40, 60, r, r + m), most=12),),
    )


@template(level=4, m=range(3, 30), pivot=range(-20, 41), is_down=(True, False), ties=("ascending", "descending"))
def _own_order(m: int, pivot: int, is_down: bool, ties: str) -> Exercise:
    groups = "from the greatest remainder to the smallest" if is_down else "from the smallest remainder to the greatest"
    return Exercise(
        gold=f"""\
def rank(x: int) -> int:
    return abs(x{shifted(-pivot)}) % {m}


def comes_before(x: int, y: int) -> bool:
    if rank(x) != rank(y):
        return rank(x) {">" if is_down else "<"} rank(y)
    return x {"<" if ties == "ascending" else ">"} y


def arrange(values: list[int]) -> list[int]:
    result = values[:]
    for i in range(1, len(result)):
        x = result[i]
        j = i
        while j > 0 and comes_before(x, result[j - 1]):
            result[j] = result[j - 1]
            j -= 1
        result[j] = x
    return result
""",
        wordings=(
            f"The rank of a number is its distance from {pivot} (never negative), reduced to its remainder on "
            f"division by {m}. Sort the list by rank, {groups}; numbers of equal rank stand in {ties} order.",
            "Return the numbers of the list in this order: first by the remainder that the absolute value of the "
            f"number minus {pivot} leaves when divided by {m}, {groups}; where that is equal, by the numbers "
            f"themselves, {ties}.",
        ),
        notes="Numbers that occur several times are kept as often.",
        supplies=(rows(whole(-80, 99, pivot, pivot + m, pivot - m, pivot + 1), most=12),),
    )


@template(
    level=3,
    # how long the longest run is does not depend on which of several is taken
    settle=lambda s: s | {"is_last": False} if s["asked"] == "length" else s,
    condition=CONDITIONS,
    asked=("length", "start", "sum"),
    least=range(1, 6),
    is_last=(False, True),
)
def _longest_run(condition: str, asked: str, least: int, is_last: bool) -> Exercise:
    none = "-1" if asked == "start" else "0"
    result = {
        "length": "its length",
        "start": "the place of its first number (the list's first place is 0)",
        "sum": "the sum of its numbers",
    }[asked]
    end = {"length": "best", "start": "place", "sum": "total"}[asked]
    comparison = ">=" if is_last else ">"
    which = "last" if is_last else "first"
    return Exercise(
        gold=asking(
            f"""\
def longest(values: list[int]) -> int:
    best = 0
    place = -1  # start
    total = 0  # sum
    length = 0
    for i in range(len(values)):
        x = values[i]
        if {condition_code(condition, "x")}:
            length += 1
            if length {comparison} best:
                best = length
                place = i - length + 1  # start
                total = sum(values[i - length + 1:i + 1])  # sum
        else:
            length = 0
    if best < {least}:
        return {none}
    return {end}
""",
            asked,
        ),
        wordings=(
            f"Find the longest unbroken run of numbers in the list {condition_words(condition)}; of several of the "
            f"same length take the {which}. Return {result}, or {none} if even the longest has fewer than {least} "
            f"number{'s' if least > 1 else ''} or there is none.",
            f"A run is an unbroken part of the list with only numbers {condition_words(condition)}. Return {result} "
            f"for the longest run (the {which} one if several are longest). If no run has {least} or more numbers, "
            f"return {none}.",
        ),
        supplies=(rows(whole(-60, 60, *numbers_near(condition)), most=20),),
    )


@template(level=3, m=range(3, 40), c=range(-10, 11), keeps=("first", "last"))
def _one_of_each_kind(m: int, c: int, keeps: str) -> Exercise:
    walk = "range(len(values))" if keeps == "first" else "range(len(values) - 1, -1, -1)"
    return Exercise(
        gold=f"""\
def sort_of(x: int) -> int:
    return abs(x{shifted(-c)}) % {m}


def one_of_each(values: list[int]) -> list[int]:
    result = []
    for i in {walk}:
        is_new = True
        for y in result:
            if sort_of(y) == sort_of(values[i]):
                is_new = False
                break
        if is_new:
            result.append(values[i])
    return result{"" if keeps == "first" else "[::-1]"}
""",
        wordings=(
            f"Of numbers whose distances from {c} (never negative) leave the same remainder when divided by {m}, "
            f"keep "
            f"only the one that stands {keeps} in the list. Return the kept numbers in their order in the list.",
            f"Two numbers are alike if the absolute values of the number minus {c} are equal modulo {m}. From the "
            f"list, drop each number that is like {'an earlier' if keeps == 'first' else 'a later'} one, and return "
            "the rest in the same order.",
        ),
        supplies=(rows(_NUMBERS, most=12),),
    )
