"""Templates of texts: characters, words, codes, runs."""

from __future__ import annotations

from string import ascii_lowercase, ascii_uppercase, digits
from typing import Any

from spiritsafe.tasks.code.templates.inputs import text
from spiritsafe.tasks.code.templates.template import Exercise, grown, plus, scaled, shifted, template

_LETTERS = ascii_lowercase + ascii_uppercase
_KINDS = {
    "lower-case letters": 'c >= "a" and c <= "z"',
    "upper-case letters": 'c >= "A" and c <= "Z"',
    "letters": "c.isalpha()",
    "vowels (a, e, i, o, u in lower or upper case)": 'c in "aeiouAEIOU"',
    "decimal digits": "c.isdigit()",
    "spaces": 'c == " "',
    "characters other than letters": "not c.isalpha()",
    "characters other than decimal digits": "not c.isdigit()",
}
_LABELS = (
    *("report", "item", "case", "box", "room", "file", "page", "shelf", "order", "row", "seat", "gate"),
    *("floor", "house", "track", "team", "class", "part", "lane", "desk", "unit", "node", "zone", "crate"),
)
_ALIKE = "abAB1 ."  # one character of each sort that the kinds tell apart
_MEMBERS = dict(zip(_KINDS, ("ab", "AB", "abAB", "aA", "1", " ", "1 .", "abAB ."), strict=True))
_FIRST_POINTS = range(1, 8)
_OTHER_POINTS = (*range(-5, 0), *range(1, 6))
_ANY = text(_LETTERS + digits + "  ..,-", most=24, pieces=("Hello", "a", "Z", "zZ", "42", " ", "aei", "OU", "9z"))


def _same_points(s: dict[str, Any]) -> dict[str, Any] | None:
    """The first settings that give each character the same points; None if one of the kinds gives none."""

    def points(kind: str, other: str, w: int, v: int) -> list[int]:
        return [w if c in _MEMBERS[kind] else v if c in _MEMBERS[other] else 0 for c in _ALIKE]

    wanted = points(s["kind"], s["other"], s["w"], s["v"])
    if s["v"] not in wanted or s["w"] == s["v"]:
        return None
    for kind in _KINDS:
        for other in _KINDS:
            for w, v in ((s["w"], s["v"]), (s["v"], s["w"])):
                if w in _FIRST_POINTS and v in _OTHER_POINTS and points(kind, other, w, v) == wanted:
                    return {"kind": kind, "other": other, "w": w, "v": v, "b": s["b"]}
    return s


@template(
    level=2,
    settle=_same_points,
    kind=tuple(_KINDS),
    other=tuple(_KINDS),
    w=_FIRST_POINTS,
    v=_OTHER_POINTS,
    b=range(-5, 6),
)
def _character_points(kind: str, other: str, w: int, v: int, b: int) -> Exercise:
    return Exercise(
        gold=f"""\
def points(text: str) -> int:
    total = {b}
    for c in text:
        if {_KINDS[kind]}:
            total {grown(w)}
        elif {_KINDS[other]}:
            total {grown(v)}
    return total
""",
        wordings=(
            f"Start at {b}. Go through the text: {kind} add {w} each; otherwise, {other} add {v} each; all else adds "
            "nothing. Return the total.",
            f"Each character of the text that is one of the {kind} is worth {w}; each other character that is one of "
            f"the {other} is worth {v}; the rest is worth nothing. Return the worth of the whole text {plus(b)}.",
        ),
        notes="Letters are a to z and A to Z.",
        supplies=(_ANY,),
    )


def _both_ways_alike(s: dict[str, Any]) -> dict[str, Any] | None:
    if s["k"] == s["j"] == 0:
        return None
    return s | {"is_upper_back": False} if s["k"] in (0, 13) else s


@template(
    level=3,
    settle=_both_ways_alike,
    k=range(26),
    j=range(10),
    is_upper_back=(True, False),
    is_reversed=(True, False),
)
def _shifted_letters(k: int, j: int, is_upper_back: bool, is_reversed: bool) -> Exercise:
    upper = -k if is_upper_back else k
    way = "back" if is_upper_back else "forward"
    order = " Then reverse the text." if is_reversed else ""
    return Exercise(
        gold=f"""\
def encode(text: str) -> str:
    result = ""
    for c in text:
        if c >= "a" and c <= "z":
            c = chr((ord(c) - 97{shifted(k)}) % 26 + 97)
        elif c >= "A" and c <= "Z":
            c = chr((ord(c) - 65{shifted(upper)}) % 26 + 65)
        elif c >= "0" and c <= "9":
            c = chr((ord(c) - 48{shifted(j)}) % 10 + 48)
        result = {"c + result" if is_reversed else "result + c"}
    return result
""",
        wordings=(
            f"Move each lower-case letter {k} places forward in the alphabet (after z comes a), each upper-case "
            f"letter {k} places {way} (A and Z are neighbours), and each decimal digit {j} places forward (after 9 "
            f"comes 0). Leave all other characters as they are.{order} Return the result.",
            f"Encode the text: letters a to z are shifted by {k} to later letters, letters A to Z by {k} to "
            f"{'earlier' if is_upper_back else 'later'} letters, digits by {j} to higher digits, each around in its "
            f"own circle (z to a, Z to A, 9 to 0 and the reverse); the rest does not change.{order}",
        ),
        supplies=(_ANY,),
    )


@template(
    level=1,
    word=_LABELS,
    joint=(*"-_/:.#+=",),
    is_before=(True, False),
    case=("", ".upper()", ".lower()"),
)
def _label(word: str, joint: str, is_before: bool, case: str) -> Exercise:
    changed = {"": "the text as it is", ".upper()": "the text in upper case", ".lower()": "the text in lower case"}[
        case
    ]
    parts = f'"{word}{joint}" + text{case}' if is_before else f'text{case} + "{joint}{word}"'
    order = f'"{word}", then "{joint}", then {changed}' if is_before else f'{changed}, then "{joint}", then "{word}"'
    return Exercise(
        gold=f"""\
def label(text: str) -> str:
    return {parts}
""",
        wordings=(
            f"Return {order}, without anything between them.",
            f"Make a label: {order}, joined without spaces.",
        ),
        supplies=(_ANY,),
    )


@template(level=1, a=(*range(-20, 0), *range(1, 21)), b=range(-99, 100), part=("all", "first", "last"))
def _length_score(a: int, b: int, part: str) -> Exercise:
    code = {"all": "len(text)", "first": "ord(text[0])", "last": "ord(text[-1])"}[part]
    words = {
        "all": "the number of characters of the text",
        "first": "the ASCII code of the first character of the text",
        "last": "the ASCII code of the last character of the text",
    }[part]
    return Exercise(
        gold=f"""\
def score(text: str) -> int:
    return {scaled(code, a)}{shifted(b)}
""",
        wordings=(f"Return {a} times {words}, {plus(b)}.", f"Multiply {words} by {a}, add {b}, and return the result."),
        notes="" if part == "all" else "The text is not empty.",
        supplies=(_ANY if part == "all" else text(_LETTERS + digits, least=1, pieces=("Az", "zZ")),),
    )


@template(
    level=2,
    settle=lambda s: s if s["old"] != s["new"] and s["cut"] not in (s["old"], s["new"]) else None,
    old=tuple("abcdefgh-_ "),
    new=tuple("abcdefgh-_*"),
    cut=tuple("xyzmno.,;"),
    case=("as it is", "to upper case", "to lower case"),
    is_reversed=(True, False),
)
def _cleaned_text(old: str, new: str, cut: str, case: str, is_reversed: bool) -> Exercise:
    name = "the space" if old == " " else f'"{old}"'
    letter = {"as it is": "", "to upper case": ".upper()", "to lower case": ".lower()"}[case]
    last = [] if case == "as it is" else [f"change all letters {case}"]
    last += ["reverse the text"] if is_reversed else []
    ending = f"; then {' and '.join(last)}" if last else ""
    return Exercise(
        gold=f"""\
def clean(text: str) -> str:
    result = ""
    for c in text:
        if c == "{old}":
            result = result + "{new}"
        elif c != "{cut}":
            result = result + c
    return result{letter}{"[::-1]" if is_reversed else ""}
""",
        wordings=(
            f'Replace every {name.removeprefix("the ")} by "{new}" and remove every "{cut}"{ending}. Return the '
            f"result.",
            f'Return the text with "{new}" in all places where it has {name} and without any "{cut}"{ending}.',
        ),
        notes="Only these very characters are replaced or removed: a capital letter is another character.",
        supplies=(text(f"{old}{new}{cut}{cut}abXY-Qz{old.upper()}{cut.upper()}", most=18),),
    )


@template(
    level=4,
    least=range(2, 7),
    mark=tuple("#*%&=~+-/:;"),
    is_count_first=(True, False),
    most=range(7, 30),
    is_case_kept=(True, False),
)
def _packed_runs(least: int, mark: str, is_count_first: bool, most: int, is_case_kept: bool) -> Exercise:
    packed = f'"{mark}" + str(length) + c' if is_count_first else f'"{mark}" + c + str(length)'
    form = (
        "the length in decimal digits, then the character"
        if is_count_first
        else "the character, then the length in decimal digits"
    )
    same = "text[i + length] == c" if is_case_kept else "text[i + length].lower() == c.lower()"
    alike = "the same character" if is_case_kept else "the same character, where upper and lower case count as the same"
    which = "" if is_case_kept else " (as its first character is written)"
    return Exercise(
        gold=f"""\
def pack(text: str) -> str:
    result = ""
    i = 0
    while i < len(text):
        c = text[i]
        length = 1
        while i + length < len(text) and length < {most} and {same}:
            length += 1
        if length >= {least}:
            result = result + {packed}
        else:
            result = result + text[i:i + length]
        i += length
    return result
""",
        wordings=(
            f"From left to right, cut the text into runs of {alike}, each as long as possible but not longer than "
            f"{most} "
            f'(the rest of a longer one begins the next run). Write a run of at least {least} as "{mark}", then '
            f"{form}"
            f"{which}; copy shorter runs. Return the result.",
            f'Pack the text: where {alike} stands {least} or more times in a row, write "{mark}" and {form}{which}. '
            f"Runs "
            f"are taken greedily from the left, {most} characters at most; what is left of a longer one starts a new "
            f"run. "
            f"Runs of fewer than {least} are copied.",
        ),
        supplies=(
            text(
                "aAbB1 ",
                most=34,
                pieces=("a" * least, "b" * (least - 1), "aA" * 3, "A" * most, "bBb", "c" * (most + 1)),
            ),
        ),
    )


@template(
    level=3,
    settle=lambda s: s if s["asked"] == "joined" else s | {"glue": "+"},
    separator=(*" ,;/|-&~",),
    least=range(1, 10),
    first=("any", "vowel", "other"),
    asked=("number", "longest", "joined"),
    glue=(*"+_.:=*#%",),
)
def _chosen_words(separator: str, least: int, first: str, asked: str, glue: str) -> Exercise:
    name = "spaces" if separator == " " else f'"{separator}"'
    guard = {"any": "", "vowel": ' and word[0] in "aeiou"', "other": ' and not word[0] in "aeiou"'}[first]
    such = {
        "any": "",
        "vowel": " and a first letter out of aeiou",
        "other": " and a first character that is none of aeiou",
    }[first]
    step = {
        "number": "count += 1",
        "longest": "count = max(count, len(word))",
        "joined": f"""\
if result != "":
                    result = result + "{glue}"
                result = result + word""",
    }[asked]
    start = 'result = ""' if asked == "joined" else "count = 0"
    what = {
        "number": "their number",
        "longest": "the length of the longest of them (0 if there is none)",
        "joined": f'them in order, joined with "{glue}" (an empty text if there is none)',
    }[asked]
    return Exercise(
        gold=f"""\
def words(text: str) -> {"str" if asked == "joined" else "int"}:
    {start}
    word = ""
    for c in text + "{separator}":
        if c != "{separator}":
            word = word + c
        else:
            if len(word) >= {least}{guard}:
                {step}
            word = ""
    return {"result" if asked == "joined" else "count"}
""",
        wordings=(
            f"Words are the parts of the text between {name}; several in a row, or some at either end, make no "
            f"words. "
            f"Choose the words with at least {least} character{'s' if least > 1 else ''}{such}, and return {what}.",
            f"Split the text at every one of its {name if separator == ' ' else 'characters ' + name}, drop empty "
            f"parts, and keep the parts of length {least} or more{such.replace(' and', ' with', 1)}. Return {what}.",
        ),
        supplies=(
            text(
                "aeibcdU" + separator * 3,
                most=30,
                pieces=(
                    "apple",
                    "tree" + separator,
                    separator * 2,
                    "an",
                    "Oak",
                    "i",
                    "e" * least,
                    "x" * (least - 1) + separator,
                    separator + "u",
                ),
            ),
        ),
    )


@template(
    level=3,
    a=(*range(-5, 0), *range(1, 10)),
    b=range(10),
    m=range(50, 500),
    start=range(10),
    is_chained=(True, False),
)
def _checksum(a: int, b: int, m: int, start: int, is_chained: bool) -> Exercise:
    step = (
        f"(total * 31 + ord(text[i]) * ({scaled('i', a)}{shifted(b)})) % {m}"
        if is_chained
        else f"(total + ord(text[i]) * ({scaled('i', a)}{shifted(b)})) % {m}"
    )
    weight = f"{a} * i{shifted(b)}"
    times = "multiplied by 31, plus" if is_chained else "plus"
    return Exercise(
        gold=f"""\
def checksum(text: str) -> int:
    total = {start}
    for i in range(len(text)):
        total = {step}
    return total
""",
        wordings=(
            f"Start with {start}. For each character in turn, i being its place (the first has place 0), the new "
            f"value is the remainder on division by {m} of the old one {times} the character's ASCII code times "
            f"({weight}). Return the last value.",
            f"A checksum begins as {start}. The character at index i (from 0) with the ASCII code c changes it from "
            f"s "
            f"to ({'s * 31' if is_chained else 's'} + c * ({weight})) modulo {m}. Return the checksum of the text.",
        ),
        notes=f"Remainders are from 0 to {m - 1}, never negative.",
        supplies=(_ANY,),
    )
