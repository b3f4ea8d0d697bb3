r"""Finds the one value that a completion claims, and says when it claims several, or none.

In: a completion, and which mark is the decimal one. Out: a :class:`AnswerClaim`. Where an answer stands is what
:mod:`spiritsafe.tasks.answers.extract` says: behind a mark, else bold, else last. What stands there must be one value
and nothing that takes it back: "8 or 9", "> 8", "8 ± 100", "not 8", "8 is wrong" claim nothing. A mark that is followed
by other words, such as the heading ``#### Step 2``, is passed over. ``docs/grading.md`` is the table of forms.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Literal, final

from spiritsafe.tasks.answers.extract import final_part, marked_spans, rival_mark
from spiritsafe.tasks.answers.numerals import Decimal, Quantity, quantities, tidy, unlatex, words_value

_MAX_LINE = 400
_MARKED = ("hashes", "boxed", "tag")
_SIGN = r"(?:[-+]|\b(?:minus|negative|plus)\b)"
_CURRENCY = r"(?:[$€£¥₹₩₽₺₫₴₪฿¢]|\b(?:rs|usd|us|eur|gbp|inr|cny)\b\.?)"
_LEAD = re.compile(
    rf"""(?:[\s*_`"'(\[{{~≈:]|=(?!=)|\b(?:the|an?|final|answer|result|is|are|was|total|equals?|to|so|therefore|thus|hence|simply
    |exactly|about|approximately|roughly|only|just|it|there|be|will|would|should|must)\b|\b[A-Za-z](?:_\{{?\w\}}?)?\s*=(?!=))*
    (?P<sign>{_SIGN}?)\s*{_CURRENCY}?\s*(?P<inner>-?)\s*[*_`({{]*""",
    re.VERBOSE | re.IGNORECASE,
)
_HEDGE = re.compile(
    r"""[<>≤≥≠±|]|\+\s*/?\s*-(?=\s*\d)|\b(?:x?or|either|neither|nor|not|never|cannot|no\s+longer|between|at\s+(?:least|most)|(?:more|less|fewer|greater|larger
    |smaller|higher|lower|other)\s+than|up\s+to|above|below|under|over|almost|nearly|maybe|perhaps|possibly|alternatively
    |wrong|incorrect|false|untrue|mistaken|unless|except|instead|actually|wait|versus|vs|if|might|could|may|minimum|maximum|no
    |but\s+(?=\d)|all\s+but|anything\s+but|half|twice|thrice|double|triple|quadruple|squared|cubed|halves|(?:square|cube)\s+root
    |thirds?\s+of|quarters?(?:\s+of)?|fourths|fifths|tenths?|hundredths?|thousandths?|percent\s+of|%\s+of)\b|n't\b""",
    re.VERBOSE | re.IGNORECASE,
)
"""What takes a value back, or offers another beside it."""
_DENIED = re.compile(
    r"\b(?:wrong|incorrect|false|untrue|mistaken|wait|(?:or|either|maybe|perhaps|possibly|alternatively|actually|rather|instead)\b[^.\n]{0,40}\d"
    r"|not\s+(?:right|correct|true|it|so|the))|n't\s+(?:right|correct|true|it|so|the)",
    re.IGNORECASE,
)
"""The same, of the sentences behind an answer."""
_REASON = re.compile(
    r"\W{0,3}\b(?:because|since|as|given|for|which|where|after|by|when|in|at|on|with)\b", re.IGNORECASE
)
_PLAIN_REASON = re.compile(r"\b(?:because|since|given)\b", re.IGNORECASE)
_SENTENCE_END = re.compile(r"[.!?](?=\s|$|[*_`\"')]*(?:\s|$))")
_TAIL = re.compile(
    r"(?:[\s*_`\"'()\]}.,:;/\ufe0f\u2600-\u27bf\U0001f300-\U0001faff-]|[A-Za-z°²³£€]+(?:\s*\^\{?[23]\}?)?)*"
)
_LONE_LETTER = re.compile(r"(?<![\w.'])([A-Za-z])(?![\w'])(?!\.[mM]\b)")
_UNIT_LETTERS = frozenset("mgshlLaCFKVWJN")
_OPERATOR_BEFORE = re.compile(
    r"(?:[\d)}\]!]|(?<![A-Za-z])[A-Za-z])[%°]?\s*(?:\*\*|[-+*/^×÷·])\s*[($]*\s*$|[*^×÷·/]\s*[($]*\s*$"
)
_OPERATOR_AFTER = re.compile(r"\s*(?:[-+/^×÷·*]|\b[xX])\s*[-+($]*\s*(?:\d|[A-Za-z]\b(?!\s*[A-Za-z]))")
_ENUMERATES = re.compile(
    r"^[\s)}\]$]*[A-Za-z°%.]{0,12}\s*(?:,|;|&|/|-|\||\band\b|\bor\b|\bto\b|\bof\b)(?: also| then| maybe)?[\s$€£(*-]*$"
    r"|^\W*(?:(?:and|or|mod)\W+)?[A-Za-z]\s*[:=)]\s*$",
    re.IGNORECASE,
)
_GOES_ON = re.compile(r"\s*(?:[,;|/]|(?:or|and)\b)[\s$(*]*(?:\d|\\|[A-Za-z]\b)", re.IGNORECASE)
"""How the line below an answer offers another one."""
_HEADING = re.compile(r"^[ \t>*]*####(?!#).*$", re.MULTILINE)
_VERB = re.compile(r"=|\b(?:is|are|has|have|had|makes?|gives?|gets?|leaves?|costs?|total|so|then)\b", re.IGNORECASE)
_WORD = re.compile(r"[A-Za-z]{2,}")
_HAS_MATH = re.compile(r"\\[A-Za-z]+|[\d)}A-Za-z]\s*(?:\^|!)|√|π")
_FUNCTIONS = {
    "sin", "cos", "tan", "sec", "csc", "cot", "log", "ln", "exp", "sqrt", "pi", "mod", "frac", "dfrac", "tfrac",
    "binom", "choose",
}  # fmt: skip


@final
@dataclass(frozen=True, slots=True)
class AnswerClaim:
    """What a completion claims.

    Attributes:
        kind: "value"; "formula", for something that must be evaluated; "several", when it offers more than one or takes
            it back; "none".
        text: As the completion has it.
        rule: Which rule found it ("hashes", "boxed", "tag", "sentence", "bold", "last", "whole").
        percent: The value has a percent sign.
    """

    kind: Literal["value", "formula", "several", "none"]
    text: str = ""
    rule: str = ""
    value: Fraction | None = None
    percent: bool = False


def same_value(gold: AnswerClaim, claim: AnswerClaim) -> bool:
    """Whether two values are the same; ``50%`` is the same as 50 and as 0.5, and ``0.5%`` as ``50%`` is not."""
    if gold.value is None or claim.value is None:
        return False
    if gold.percent == claim.percent:
        return gold.value == claim.value
    percent, bare = (gold.value, claim.value) if gold.percent else (claim.value, gold.value)
    return bare in (percent, percent / 100)


def hedges(text: str) -> bool:
    """Whether a text has a word or a sign that offers something else beside what it says, or takes it back."""
    return bool(_HEDGE.search(text))


def read_value(text: str, decimal: Decimal = "point") -> AnswerClaim | None:
    """The value of a text that is one value and nothing else but its unit; None when it is not."""
    line = text.strip()
    claim = _read(line, "whole", decimal) if "\n" not in line else None
    return claim if claim and claim.kind == "value" else None


def claimed_text(text: str) -> tuple[str, str]:
    """``(rule, line)`` of what a completion claims where its form is free: what is marked, else its last line.

    The rule is "several" where another answer is marked beside it.
    """
    text = final_part(tidy(text))
    for rule, span in marked_spans(text):
        if span.strip():
            line, _, rest = span.strip().partition("\n")
            more = rival_mark(text, rule) or _goes_on(line, rest, rule)
            return ("several" if more else rule), line.strip()
    return "whole", text.rstrip().rpartition("\n")[2].strip()


def claimed_value(text: str, decimal: Decimal = "point") -> AnswerClaim:
    """The one value that a completion claims."""
    text = final_part(tidy(text))
    for rule, span in marked_spans(text):
        line, _, rest = span.strip().partition("\n")
        claim = _read(line, rule, decimal)
        if claim is None:
            continue
        below = read_value(rest.strip().partition("\n")[0], decimal) if rule == "hashes" else None
        if below and not same_value(below, claim):
            return AnswerClaim("several", line, rule)
        if rival_mark(text, rule) or _goes_on(line, rest, rule):
            return AnswerClaim("several", line, rule)
        return claim
    text = _HEADING.sub("", text)  # what a mark was not followed by is no answer of a weaker rule either
    return _bold(text, decimal) or _last(text, decimal)


def _goes_on(line: str, rest: str, rule: str) -> bool:
    """Whether the lines below an answer offer another: a box has no second line, other marks no bare formula below."""
    below = rest.strip().partition("\n")[0].strip()[:_MAX_LINE]
    if rule in ("boxed", "tag") or not below:
        return bool(below)
    boxed = re.fullmatch(r"\W*\\boxed\{(.*)\}\W*", below)
    other = (boxed[1] if boxed else below).strip("$*` .")
    if not re.search(r"[\w]", other) or other == line.strip("$*` ."):
        return False
    return bool(_GOES_ON.match(rest)) or not re.search(r"(?<!\\)\b[A-Za-z]{2,}|^</|[^\x00-\x7f°]", other)


def _read(line: str, rule: str, decimal: Decimal) -> AnswerClaim | None:
    """What a marked line claims; None when it is words about something else."""
    shown = line.strip()[:_MAX_LINE]
    if len(line) > _MAX_LINE and rule in _MARKED:
        return AnswerClaim("several", shown, rule) if any(c.isdigit() for c in shown[:40]) else None
    plain = unlatex(shown)
    if rule in ("sentence", "hashes", "whole"):
        end = _end_of_sentence(plain)
        plain, rest = plain[:end], plain[end:]
        if _DENIED.search(rest) or (rule != "sentence" and any(c.isdigit() for c in rest)):
            return AnswerClaim("several", shown, rule)
    if rule == "sentence" and (reason := _PLAIN_REASON.search(plain)):
        plain = plain[: reason.start()]
    if (word := words_value(plain.strip(" \t*_`\"'().:$"))) is not None:
        return AnswerClaim("value", shown, rule, word)
    lead = _LEAD.match(plain)
    after = plain[lead.end() if lead else 0 :]
    hedge = _HEDGE.search(plain)
    if not any(c.isdigit() for c in plain):
        return _wordy(plain, shown, rule, hedged=bool(hedge))
    opening = _WORD.match(after)
    if opening and not (hedge and hedge.start() <= len(plain) - len(after)) and "\\" not in plain[:2]:
        return None if opening[0].casefold() not in _FUNCTIONS else AnswerClaim("formula", shown, rule)
    if hedge:
        return AnswerClaim("several", shown, rule)
    return _equal_parts(plain, shown, rule, decimal)


def _end_of_sentence(plain: str) -> int:
    for match in _SENTENCE_END.finditer(plain):
        if any(character.isdigit() for character in plain[: match.start()]) or match.start() > 12:
            # "5!" may be a factorial, so the sign stays where the reading sees it; "Rs. 5" and "U.S. 5" go on
            return match.end() if match[0] == "!" else match.start()
    return len(plain)


def _wordy(plain: str, shown: str, rule: str, *, hedged: bool) -> AnswerClaim | None:
    """A line without digits: "eight apples", a formula of letters, or words."""
    words = plain.strip(" \t*_`\"'().:$")
    lead = _LEAD.match(words)
    words = words[lead.end() :] if lead and lead.end() < len(words) and not hedged else words
    for candidate in (words, words.rpartition(" ")[0]):
        if not hedged and (value := words_value(candidate)) is not None:
            negative = bool(lead and (lead["sign"] in ("-", "minus", "negative")))
            return AnswerClaim("value", shown, rule, -value if negative else value)
    if hedged:
        return AnswerClaim("several", shown, rule) if rule in _MARKED or rule == "sentence" else None
    if _is_formula(plain):
        return AnswerClaim("formula", shown, rule)
    return None if rule in ("hashes", "sentence", "whole") else AnswerClaim("none", shown, rule)


def _is_formula(plain: str) -> bool:
    words = [word for word in _WORD.findall(re.sub(r"\\[A-Za-z]+", " ", plain)) if word.casefold() not in _FUNCTIONS]
    return bool(_HAS_MATH.search(plain)) and not any(len(word) > 2 for word in words)


def _equal_parts(plain: str, shown: str, rule: str, decimal: Decimal) -> AnswerClaim:
    """``a = b = c`` claims c; a value among the others must be the same."""
    parts = [part for part in re.split(r"=|(?<=[\d)}])\s*≈", plain) if part.strip()]
    claims = [_one(part, shown, rule, decimal) for part in parts]
    last = claims[-1]
    if any(re.search(r"\d.*(?<![A-Za-z\\])[A-Za-z](?:_\{?\w+\}?)?\s*$", part) for part in parts[1:-1]):
        return AnswerClaim("several", shown, rule)  # "x = 1, x = 2"
    if any(claim.kind == "formula" for claim in claims[:-1]) and "\\" in plain:
        return AnswerClaim("formula", shown, rule)
    if last.kind == "value" and any(c.kind == "value" and not same_value(c, last) for c in claims[:-1]):
        return AnswerClaim("several", shown, rule)
    return last


def _one(part: str, shown: str, rule: str, decimal: Decimal) -> AnswerClaim:
    """What a part without an equals sign claims."""
    found = list(quantities(part, decimal))
    lead = _LEAD.match(part)
    if not found or not lead:
        return AnswerClaim("formula", shown, rule) if _is_formula(part) else AnswerClaim("none", shown, rule)
    first = found[0]
    begins = lead.end() == first.start
    tail = part[first.end :]
    if rule == "sentence" and (reason := _REASON.match(tail)) and len(found) > 1:
        # "8 after the 3 steps" says more about the 8, "8 for Ann and 9 for Bob" offers another
        clause = tail[reason.start() :]
        if not re.search(r"\b(?:and|,)\s*[\s$(]*\d", clause):
            tail, found = tail[: reason.start()], found[:1]
    if begins and len(found) == 1 and first.value is not None and _is_unit(tail):
        sign = -1 if (lead["sign"].casefold() in ("-", "minus", "negative")) != bool(lead["inner"]) else 1
        return AnswerClaim("value", shown, rule, sign * first.value, first.percent)
    if _is_formula(part) and not re.search(r"[,;:]|(?<=\d)\s+(?=\d)", part):
        return AnswerClaim("formula", shown, rule)
    return AnswerClaim("several" if len(found) > 1 or not begins else "none", shown, rule)


def _is_unit(tail: str) -> bool:
    """Whether what follows a number is its unit, or words that change nothing."""
    match = _TAIL.fullmatch(tail)
    if not match or (re.match(r"\s*[-/.,:;]+\s*[A-Za-z]?\s*$", tail) is None and re.match(r"\s*-\s*[A-Za-z]\b", tail)):
        return False
    letters = [found[1] for found in _LONE_LETTER.finditer(tail)]
    if any(letter not in _UNIT_LETTERS for letter in letters):
        return False
    return not any(words_value(word) is not None for word in _WORD.findall(tail))


def _bold(text: str, decimal: Decimal) -> AnswerClaim | None:
    """A bold value in the last paragraph, unless the line around it takes it back."""
    paragraph = text.rstrip().rpartition("\n\n")[2]
    for line in reversed(paragraph.splitlines()):
        inside = re.findall(r"\*\*([^*\n]{1,60})\*\*", line)[-8:]
        read = [
            claim
            for each in inside
            if not re.fullmatch(r"\s*\d+[.)]\s*", each) and (claim := _read(each, "bold", decimal))
        ]
        values = [claim for claim in read if claim.kind != "none"]
        if not values:
            continue
        last = values[-1]
        around = line.replace("*", "")
        differ = any(c.kind != "value" or not same_value(c, last) for c in values)
        if differ or hedges(around) or _beside(around, decimal):
            return AnswerClaim("several", last.text, "bold")
        return last
    return None


def _beside(line: str, decimal: Decimal) -> bool:
    """Whether two different numbers stand side by side in a line, without a word or an operator between them."""
    found = list(quantities(unlatex(line[-_MAX_LINE:]), decimal))
    text = unlatex(line[-_MAX_LINE:])
    return any(
        a.value != b.value and not re.search(r"[A-Za-z=+*/×÷-]", text[a.end : b.start]) for a, b in pairwise(found)
    )


def _last(text: str, decimal: Decimal) -> AnswerClaim:
    """The last number of an unmarked text."""
    text = text.rstrip()
    whole = text.strip().strip("*_`\"' .")
    if (value := words_value(whole)) is not None:
        return AnswerClaim("value", whole, "whole", value)
    lines = text.splitlines()
    for index in range(len(lines) - 1, -1, -1):
        if not any(c.isdigit() for c in lines[index]):
            continue
        line, later = lines[index], " ".join(lines[index + 1 :])
        if index and re.search(r"\d.*(?:\b(?:or|and)|[,|])\s*$", lines[index - 1], re.IGNORECASE):
            return AnswerClaim("several", line.strip()[:_MAX_LINE], "last")
        return _last_of_line(
            line.strip()[-_MAX_LINE:], later[:_MAX_LINE], decimal, alone=not "".join(lines[:index]).strip()
        )
    line = lines[-1] if lines else ""
    return (
        AnswerClaim("formula", line.strip(), "last") if _is_formula(unlatex(line[:_MAX_LINE])) else AnswerClaim("none")
    )


def _last_of_line(line: str, later: str, decimal: Decimal, *, alone: bool) -> AnswerClaim:
    plain = unlatex(line)
    if _is_formula(plain) and not hedges(plain):
        read = _read(line, "whole", decimal)
        return read if read and read.kind != "value" else _last_number(plain, later, decimal, alone=alone)
    return _last_number(plain, later, decimal, alone=alone)


def _last_number(plain: str, later: str, decimal: Decimal, *, alone: bool) -> AnswerClaim:
    shown = plain.strip()
    found = list(quantities(plain, decimal))
    several = AnswerClaim("several", shown, "last")
    if not found:
        return several
    last = found[-1]
    start = max((m.end() for m in _SENTENCE_END.finditer(plain[: last.start])), default=0)
    before, after = plain[start : last.start], plain[last.end :]
    if last.value is None or _DENIED.search(after + " " + later) or hedges(_up_to_reason(after)):
        return several
    before_sign = re.sub(rf"(?:[\s*_`(\[{{]|{_CURRENCY})*$", "", before, flags=re.IGNORECASE)
    if not _comes_alone(before, found, plain, start) or _OPERATOR_AFTER.match(after):
        return several
    if (
        _equated(before_sign, decimal, last)
        or re.match(r"\s*=", after)
        or (before_sign and _OPERATOR_BEFORE.search(before_sign + " "))
    ):
        return several
    letters = [c[1] for c in _LONE_LETTER.finditer(after[:6]) if c[1] not in _UNIT_LETTERS]
    if letters and re.match(r"\s*[*_`]*[A-Za-z]\b", after):
        return several
    negative = _negative(before_sign, alone=alone and " " in before[len(before_sign) :])
    if negative is None:
        return several
    return AnswerClaim("value", shown, "last", -last.value if negative else last.value, last.percent)


def _equated(before: str, decimal: Decimal, last: Quantity) -> bool:
    """Whether "9 = " stands before the number, and 9 is another one."""
    left = re.search(r"^(.*[\d%])[*_`)\]}]*\s*[=≈]\s*-?$", before)
    if not left:
        return False
    others = list(quantities(left[1], decimal))
    operand = not others or _OPERATOR_BEFORE.search(left[1][: others[-1].start])
    return not operand and others[-1].value != last.value


def _up_to_reason(after: str) -> str:
    reason = _PLAIN_REASON.search(after)
    return after[: reason.start()] if reason else after


def _negative(before: str, *, alone: bool) -> bool | None:
    """Whether the number behind these words has a minus; None when that may as well be the dash of a list."""
    match = re.search(r"(?:(-)|\b(minus|negative)\b)\s*$", before, re.IGNORECASE)
    if not match:
        return False
    lead = before[: match.start()].rstrip()
    if match[2] or lead[-1:] in tuple("=:(≈$"):
        return True
    if not lead:
        return None if alone else before[-1:] == "-" and not match[0].endswith(" ")
    return before[-1:] == "-" and before[match.start() - 1 : match.start()] in (" ", "")


def _comes_alone(before: str, found: list[Quantity], plain: str, start: int) -> bool:
    """Whether nothing in its sentence offers another number beside the last one, or bounds it."""
    if len(found) > 1 and found[-2].start >= start:
        gap = plain[found[-2].end : found[-1].start]
        beside = not re.search(r"[A-Za-z=]", gap) and found[-2].value != found[-1].value
        if beside or _ENUMERATES.match(gap) or re.search(r"\b(?:or|versus|vs)\b|[|±<>≤≥≠]", gap, re.IGNORECASE):
            return False
    hedged = [*_HEDGE.finditer(before)]
    # a hedge bounds the number when no verb or equals sign stands between them: "x > 8", "not 8", "at least 8"
    return not hedged or bool(_VERB.search(before, hedged[-1].end()))
