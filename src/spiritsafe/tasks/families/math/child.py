"""Runs math-verify inside a child process, under the limits of :mod:`spiritsafe.core.process.children.pool`."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from typing import Any, final

import mpmath
from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify
from sympy import (
    Abs,
    Add,
    Expr,
    FiniteSet,
    Interval,
    Mul,
    Number,
    NumberSymbol,
    Pow,
    Tuple,
    acos,
    acot,
    asin,
    atan,
    binomial,
    ceiling,
    cos,
    cosh,
    cot,
    csc,
    exp,
    factorial,
    floor,
    log,
    sec,
    sin,
    sinh,
    tan,
    tanh,
)
from sympy import I as ImaginaryUnit

_PROSE = re.compile(
    r"(?<![\\A-Za-z{])(?!(?:sin|cos|tan|sec|csc|cot|log|exp|sqrt|arc\w+|mod|inf|det)\b)[A-Za-z]{3,}"
    r"|\b[A-Za-z]{1,2} [A-Za-z]{2,}"
)
_POINTS = (1.3728, 2.6197)
_STEP = 0.4173
"""Between the values of the symbols: no round numbers, where different expressions may happen to agree."""
_DIGITS = 50
_MAX_BITS = 100_000
_CLEARLY = 1e-3
"""Relative; math-verify itself rounds to 6 digits."""
_VALUES: dict[Any, Callable[..., Any]] = {
    Add: lambda *parts: mpmath.fsum(parts),
    Mul: lambda *parts: mpmath.fprod(parts),
    Pow: mpmath.power,
    Abs: abs,
    factorial: mpmath.factorial,
    binomial: mpmath.binomial,
    floor: mpmath.floor,
    ceiling: mpmath.ceil,
    log: mpmath.log,
    **{
        function: getattr(mpmath, function.__name__)
        for function in (sin, cos, tan, sec, csc, cot, asin, acos, atan, acot, sinh, cosh, tanh, exp)
    },
}
_TARGETS = (LatexExtractionConfig(), ExprExtractionConfig())


def _differ(gold: Any, answer: Any) -> bool:
    """Whether two expressions have clearly different values somewhere.

    Evaluating is quick where proving two expressions equal may take for ever; so only what looks equal is proved.
    """
    if isinstance(gold, Tuple) and isinstance(answer, Tuple) and len(gold) == len(answer):
        return any(_differ(left, right) for left, right in zip(gold, answer, strict=True))
    if isinstance(gold, FiniteSet) and isinstance(answer, FiniteSet) and len(gold) == len(answer):
        return any(all(_differ(left, right) for right in answer) for left in gold)
    if isinstance(gold, (Tuple, Interval)) and isinstance(answer, Expr):
        return True
    if not isinstance(gold, Expr) or not isinstance(answer, Expr):
        return False
    symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
    with mpmath.workdps(_DIGITS):
        for point in _POINTS:
            at = {symbol: mpmath.mpf(point + index * _STEP) for index, symbol in enumerate(symbols)}
            try:
                left = _value(gold, at)
            except (ArithmeticError, ValueError):
                return False
            try:
                right = _value(answer, at)
            except (ArithmeticError, ValueError):
                return left is not None  # 1/0, or too large to write down: not the gold, which has a value
            if left is None or right is None:
                return False
            if abs(left - right) > _CLEARLY * max(1e-3, abs(left), abs(right)):
                return True
    return False


@final
class MathHandler:
    """Payload ``{"gold": …, "answer": …}`` → "correct", "wrong" or "unparsed".

    math-verify's own limits (``SIGALRM``, main thread only) are off: the pool's limits hold instead. What clearly has
    another value than the gold is wrong without a proof.
    """

    def __init__(self) -> None:
        logging.disable(logging.CRITICAL)  # math-verify warns at every call that its limits are off

    def __call__(self, payload: dict[str, Any]) -> str:
        """Compare one answer.

        Raises:
            ValueError: The gold itself cannot be parsed: the data is at fault, not the model.
        """
        gold = self._parse(payload["gold"])
        if not gold:
            raise ValueError(f"the gold answer {payload['gold']!r} is not mathematics that math-verify can read")
        answer = self._parse(payload["answer"])
        if not answer:
            return "unparsed"
        if _differ(gold[0], answer[0]):
            return "wrong"
        correct = verify(gold, answer, timeout_seconds=None, raise_on_error=True)
        return "correct" if correct else "wrong"

    def _parse(self, text: str) -> Any:
        """Bare LaTeX needs dollar signs to be seen as LaTeX; prose must not get them, or its letters become symbols."""
        text = text.strip().rstrip(".,;:").rstrip()
        marked = "$" in text or "\\boxed" in text or "\\(" in text or "\\[" in text
        bare = "" if marked or _PROSE.search(text) else f"${text}$"
        for candidate in (bare, text):
            parsed = candidate and parse(candidate, _TARGETS, fallback_mode="no_fallback", parsing_timeout=None)
            if parsed:
                return parsed
        return []


def _value(node: Any, at: dict[Any, Any]) -> Any:
    """An expression's value at a point, in one pass of fixed precision; None when a part is of no known kind.

    Raises:
        ArithmeticError: It has none, or one too large to write down.
        ValueError: The same.
    """
    if node in at:
        return at[node]
    if not node.args and node.is_infinite:
        raise OverflowError("infinite")
    if isinstance(node, (Number, NumberSymbol)) or node is ImaginaryUnit:
        value = mpmath.mpmathify(node.evalf(_DIGITS)) if node is not ImaginaryUnit else mpmath.mpc(0, 1)
    else:
        function = _VALUES.get(node.func)
        parts = [_value(part, at) for part in node.args] if function else []
        if function is None or any(part is None for part in parts):
            return None
        try:
            value = function(*parts)
        except TypeError:  # a function that is not defined for complex numbers
            return None
    if not mpmath.isfinite(value) or (value and mpmath.mag(value) > _MAX_BITS):
        raise OverflowError("no number that can be written down")
    return value
