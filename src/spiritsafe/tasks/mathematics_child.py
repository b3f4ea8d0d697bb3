"""Runs math-verify inside a child process; see :mod:`spiritsafe.tasks.children` for the limits it runs under."""

from __future__ import annotations

import logging
import re
from typing import Any, final

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

__all__ = ["MathHandler"]

_PROSE = re.compile(
    r"(?<![\\A-Za-z{])(?!(?:sin|cos|tan|sec|csc|cot|log|exp|sqrt|arc\w+|mod|inf|det)\b)[A-Za-z]{3,}"
    r"|\b[A-Za-z]{1,2} [A-Za-z]{2,}"
)
_TARGETS = (LatexExtractionConfig(), ExprExtractionConfig())


@final
class MathHandler:
    """Payload ``{"gold": …, "answer": …}`` → "correct", "wrong" or "unparsed".

    math-verify's own limits (``SIGALRM``, main thread only) are off: the pool's limits hold instead.
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
