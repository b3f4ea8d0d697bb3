r"""One formula out of an answer, and whether it may be evaluated at all.

In: the line of an answer and the gold. Out: exactly one formula for math-verify, or why there is none: several, words
that hedge, a list where the gold is none, or something whose evaluation could explode. The last is decided from the
text alone (towers of powers, factorials, binomials, sums, many functions), so that a verdict does not hang on how long
a machine took, or on what was graded before. What the gold itself has, an answer may have too.
"""

from __future__ import annotations

import math
import re
from collections import Counter

from spiritsafe.tasks.answers.claims import hedges
from spiritsafe.tasks.answers.latex import is_formula, separators
from spiritsafe.tasks.answers.numerals import unlatex

_MAX_POWER = 12
"""Of brackets, all of them multiplied: (x+y+z)^12 has 91 terms when it is expanded."""
_MAX_LETTER_POWER = 60
_MAX_EXPONENT = 14
"""Characters: a long product up there is a large number."""
_MAX_NUMBER_POWER = 1_000
_MAX_FACTORIAL = 200
_MAX_DIGITS = 60
_MAX_FUNCTIONS = 4
_MAX_LETTERS = 24
_SEGMENT = re.compile(r"\$\$(.+?)\$\$|\$([^$]+?)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]")
_PROSE = re.compile(r"(?<![\\A-Za-z{])[A-Za-z]{3,}")
_SAFE = {
    "frac", "dfrac", "tfrac", "cfrac", "sqrt", "cdot", "times", "div", "ast", "left", "right", "pi", "text",
    "mathrm", "mathbf", "textbf", "boxed", "quad", "qquad", "displaystyle", "circ", "degree", "infty", "alpha",
    "beta", "gamma", "delta", "epsilon", "varepsilon", "theta", "lambda", "mu", "nu", "rho", "sigma", "tau", "phi",
    "varphi", "omega", "psi", "chi", "sin", "cos", "tan", "sec", "csc", "cot", "arcsin", "arccos", "arctan", "log",
    "ln", "lg", "pm", "mp", "cup", "cap", "in", "emptyset", "varnothing", "begin", "end", "pmatrix", "bmatrix",
    "binom", "dbinom", "tbinom", "choose", "overline", "angle", "mathbb", "lfloor", "rfloor", "lceil", "rceil",
    "lvert", "rvert", "vert", "le", "leq", "ge", "geq", "lt", "gt", "ne", "neq", "approx", "to", "dots", "ldots",
    "cdots",
}  # fmt: skip
"""Commands that are read; any other must be in the gold."""
_FUNCTION = re.compile(r"\\?(?:sin|cos|tan|sec|csc|cot|log|ln|exp|lg|sqrt|arc(?:sin|cos|tan))(?![A-Za-z])")
_FACTORIAL = re.compile(r"!+")
_BINOMIAL = re.compile(r"\\[dt]?binom|\\choose")
_PLAIN_BINOMIAL = re.compile(r"\\[dt]?binom\s*\{\s*(?:\d+|[A-Za-z])\s*\}\s*\{\s*(?:\d+|[A-Za-z])\s*\}")
_POWER = re.compile(r"(?:\^|\*\*)\s*")
_LISTS = re.compile(
    r",(?!\d{3}(?!\d))|;|\\(?:text|mathrm)\s*\{\s*(?:and|or)\s*\}|\\(?:cup|lor|pm|mp|mid)(?![A-Za-z])|±|\|"
)
_NAME = re.compile(r"\\?[A-Za-z]+(?:_\{?\w+\}?)?'*(?:\(\s*[A-Za-z](?:\s*,\s*[A-Za-z])*\s*\))?")
_RELATIONS = re.compile(r"[<>≤≥≠:]|\\(?:leq?|geq?|neq?|lt|gt|leqslant|geqslant|in)(?![A-Za-z])")


def one_formula(line: str, gold: str) -> tuple[str | None, str]:
    """``(formula, "")`` when a line holds exactly one that may be compared with the gold, else ``(None, why not)``."""
    line = line.strip().strip("*`").rstrip(".,;:").strip()
    segments = [next(filter(None, match.groups())).strip() for match in _SEGMENT.finditer(line)]
    around = _SEGMENT.sub(" ", line)
    if len(set(segments)) > 1:
        return None, "several formulas"
    if segments and (any(c.isdigit() for c in around) or hedges(around)):
        return None, "something else stands beside the formula"
    formula = segments[0] if segments else line
    if not segments and _PROSE.search(re.sub(r"\\(?:text|mathrm|operatorname)\s*\{[^{}]*\}|\\[A-Za-z]+", " ", line)):
        return None, "words, not a formula"
    if hedges(unlatex(re.sub(r"[<>≤≥≠±|]|\\(?:pm|mp|mid)(?![A-Za-z])", " ", formula))) and not hedges(gold):
        return None, "the answer hedges"
    for pattern in (_LISTS, _RELATIONS):
        if pattern.search(_outside_commas(formula)) and not pattern.search(gold):
            return None, "the answer is a list or a range, the gold is not"
    allowed = separators(gold) | {"="}
    if is_formula(gold, allowed) and not is_formula(formula, allowed):
        return None, "not one formula from its first sign to its last"
    if why := explodes(formula, gold):
        return None, why
    return formula, ""


def equal_parts(formula: str, gold: str) -> list[str]:
    """The sides of ``a = b = c`` that say what the answer is, without its name; all of it for a gold with "="."""
    parts = [part.strip() for part in formula.split("=") if part.strip()]
    if "=" in gold or len(parts) < 2:
        return [formula]
    return [part for part in parts[:-1] if not _NAME.fullmatch(part)] + parts[-1:]


def _outside_commas(formula: str) -> str:
    return formula.replace("{,}", "").replace("\\,", " ").replace("\\;", " ").replace("\\:", " ").replace("\\!", "")


def explodes(formula: str, gold: str) -> str:
    """Why evaluating a formula could take for ever; empty when it cannot, or when the gold is no simpler."""
    if unknown := _macros(formula) - _SAFE - _macros(gold):
        return f"\\{min(unknown)} is not evaluated"
    own = _measure(gold)
    for what, size in _measure(formula).items():
        if size > max(_LIMITS[what], own[what]):
            return f"too large to evaluate: {what}"
    return ""


def _macros(text: str) -> set[str]:
    return set(re.findall(r"\\([A-Za-z]+)", text))


_LIMITS = {
    "powers of brackets": _MAX_POWER,
    "a power of a letter": _MAX_LETTER_POWER,
    "a power of a number": _MAX_NUMBER_POWER,
    "powers in powers": 1,
    "many powers": 6,
    "a factorial or binomial": _MAX_FACTORIAL,
    "factorials of more than a number": 0,
    "digits": _MAX_DIGITS,
    "functions": _MAX_FUNCTIONS,
    "exponentials": 0,
    "the length of an exponent": _MAX_EXPONENT,
    "letters": _MAX_LETTERS,
}


def _measure(formula: str) -> Counter[str]:
    """How large a formula is, by each of the limits."""
    size: Counter[str] = Counter(dict.fromkeys(_LIMITS, 0))
    bare = re.sub(r"\\(?:text|mathrm|textbf|mathbf)\s*\{[^{}]*\}", " ", formula)
    numbers = [int(n[:9]) if len(n) <= 9 else 10**9 for n in re.findall(r"\d+", bare)]
    size["digits"] = max((len(n) for n in re.findall(r"\d+", bare.replace(",", ""))), default=0)
    size["functions"] = len(_FUNCTION.findall(bare))
    size["exponentials"] = len(re.findall(r"exp(?![A-Za-z])", bare))
    size["powers of brackets"] = 1
    size["letters"] = len(re.findall(r"[A-Za-z]", re.sub(r"\\[A-Za-z]+", " ", bare)))
    powers = list(_POWER.finditer(bare))
    size["many powers"] = len(powers)
    for power in powers:
        exponent = _group_at(bare, power.end())
        base = bare[: power.start()].rstrip()
        largest = math.prod(int(n[:9]) for n in re.findall(r"[1-9]\d*", exponent))
        size["the length of an exponent"] = max(size["the length of an exponent"], len(exponent))
        depth = 1 + (len(_POWER.findall(exponent)) + len(re.findall(r"exp|!|binom", exponent)))
        size["powers in powers"] = max(size["powers in powers"], depth)
        numeric = bool(re.search(r"(?<![A-Za-z\d])\d{1,9}$", base)) and exponent.strip("{}+- ").isdigit()
        if base[-1:] in tuple(")]}|"):
            size["powers of brackets"] *= largest
        else:
            key = "a power of a number" if numeric else "a power of a letter"
            size[key] = max(size[key], largest)
        if re.match(r"\s*(?:\^|\*\*)", bare[power.end() + len(exponent) :]):
            size["powers in powers"] = max(size["powers in powers"], 2)
    if _FACTORIAL.search(bare) or _BINOMIAL.search(bare):
        size["a factorial or binomial"] = max(numbers, default=0)
        plain = re.sub(r"(?<![\d.])(?:\d+|[A-Za-z])\s*!(?!\s*!)|\(\s*[A-Za-z]\s*[-+]\s*\d\s*\)\s*!(?!\s*!)", " ", bare)
        plain = _PLAIN_BINOMIAL.sub(" ", plain)
        left = len(_FACTORIAL.findall(plain)) + len(_BINOMIAL.findall(plain))
        size["factorials of more than a number"] = left + (len(powers) if left else 0)
        size["many powers"] += len(powers)
    return size


def _group_at(text: str, at: int) -> str:
    """What a power sign is followed by: a group in braces or brackets, or one token."""
    if text[at : at + 1] in ("{", "("):
        depth = 0
        for position in range(at, len(text)):
            depth += {"{": 1, "(": 1, "}": -1, ")": -1}.get(text[position], 0)
            if not depth:
                return text[at : position + 1]
        return text[at:]
    match = re.match(r"[-+]?\s*(?:\d+|\\[A-Za-z]+|[A-Za-z])", text[at:])
    return match[0] if match else ""
