r"""Whether a text is one well-formed formula, from its first sign to its last.

In: LaTeX or plain mathematics, and which separators it may have. Out: yes or no. A parser that mends what it is given
reads ``4 \to \sqrt{25}`` as 4 and leaves the rest out; what this grammar accepts has no rest.
"""

from __future__ import annotations

import re
from typing import final

_TOKEN = re.compile(
    r"\s+|\\[,;:!]|\\(?:left|right)(?=\s*(?:[()\[\]|]|\\[{}|]))|\\displaystyle(?![A-Za-z])"
    r"|(?P<token>\d{1,3}(?:(?:,|\{,\})\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+"
    r"|\\(?:text|mathrm|textbf|mathbf)\{[A-Za-z°. /^2-3]*\}|\\[A-Za-z]+|\\[{}%$|]|\*\*|[A-Za-z\u0370-\u03ff]|[^\s\\])"
)
_FUNCTIONS = {
    "\\sin", "\\cos", "\\tan", "\\sec", "\\csc", "\\cot", "\\arcsin", "\\arccos", "\\arctan", "\\log", "\\ln", "\\exp",
    "\\lg",
}  # fmt: skip
_LETTERS = {
    "\\alpha", "\\beta", "\\gamma", "\\delta", "\\epsilon", "\\varepsilon", "\\theta", "\\lambda", "\\mu", "\\nu",
    "\\rho",
    "\\sigma", "\\tau", "\\phi", "\\varphi", "\\omega", "\\psi", "\\chi", "\\Delta", "\\Omega",
}  # fmt: skip
_SYMBOLS = _LETTERS | {"\\pi", "\\infty", "\\emptyset", "\\varnothing", "∞"}
_TWO_GROUPS = {"\\frac", "\\dfrac", "\\tfrac", "\\cfrac", "\\binom", "\\dbinom", "\\tbinom"}
_CLOSING = {"(": ")", "[": "]", "{": "}", "\\{": "\\}", "|": "|", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}
_MIXED = {("(", "]"), ("[", ")")}  # half-open intervals
_PRODUCTS = {"*", "/", "×", "·", "÷", "\\cdot", "\\times", "\\div", "\\ast"}
_SEPARATORS = {
    ",", ";", "=", "<", ">", "≤", "≥", "≠", "\\le", "\\leq", "\\ge", "\\geq", "\\ne", "\\neq", "\\lt", "\\gt", "\\in",
    "\\cup", "\\cap", "\\pm", "±", "\\mp", "\\approx", ":", "\\mid", "\\to", "\\lor", "\\wedge",
}  # fmt: skip
_MAX_DEPTH = 20
_POSTFIXES = {"!", "'", "%", "\\%", "°"}


def _tokens(text: str) -> list[str] | None:
    found, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            return None
        if match["token"]:
            found.append(match["token"])
        position = match.end()
    return found


def separators(text: str) -> set[str]:
    """The separators of lists, relations and unions that a text has."""
    return _SEPARATORS.intersection(_tokens(text) or ())


def is_formula(text: str, allowed: set[str]) -> bool:
    """Whether the whole text is one formula, or several with the allowed separators between them."""
    tokens = _tokens(text)
    if not tokens:
        return False
    reader = _Reader(tokens, allowed)
    return reader.sequence() and reader.position == len(tokens)


@final
class _Reader:
    """Recursive descent; each method reads its part and says whether it was there."""

    def __init__(self, tokens: list[str], allowed: set[str]) -> None:
        self.tokens = tokens
        self.allowed = allowed
        self.position = 0
        self.depth = 0

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self, token: str = "") -> bool:
        if not self.peek() or (token and self.peek() != token):
            return False
        self.position += 1
        return True

    def sequence(self) -> bool:
        if not self.sum():
            return False
        while self.peek() in self.allowed:
            self.take()
            if not self.sum():
                return False
        return True

    def sum(self) -> bool:
        self.signs()
        if not self.product():
            return False
        while self.peek() in ("+", "-"):
            self.signs()
            if not self.product():
                return False
        return True

    def signs(self) -> None:
        while self.peek() in ("+", "-", "\\$", "$"):
            self.take()

    def product(self) -> bool:
        if not self.factor():
            return False
        while True:
            if self.peek() in _PRODUCTS:
                self.take()
                self.signs()
                if not self.factor():
                    return False
            elif self.peek()[:5] in ("\\text", "\\math"):  # a unit
                self.take()
                return self.peek() != "^" or (self.take() and self.script())
            elif not self.begins_factor():
                return True
            elif not self.factor():
                return False

    def begins_factor(self) -> bool:
        """Whether the next token may follow a factor without a sign between: no number may, "4 5" is two."""
        token = self.peek()
        known = token in _FUNCTIONS | _SYMBOLS | _TWO_GROUPS or token == "\\sqrt"
        return known or token.isalpha() or token in ("(", "[", "{", "\\{", "\\lfloor", "\\lceil")

    def factor(self) -> bool:
        if not self.base():
            return False
        while True:
            if self.peek() in _POSTFIXES:
                self.take()
            elif self.peek() in ("^", "**") or (self.peek() == "_" and self.tokens[self.position - 1].isalpha()):
                self.take()
                if not self.script():
                    return False
            else:
                return True

    def script(self) -> bool:
        if self.peek() == "{":
            return self.base()
        self.signs()
        token = self.peek()
        return (token[:1].isdigit() or token.isalpha() or token in _SYMBOLS or token == "\\circ") and self.take()

    def base(self) -> bool:
        token = self.peek()
        if token in _CLOSING:
            self.take()
            self.depth += 1
            inner = self.depth <= _MAX_DEPTH and self.sequence()
            self.depth -= 1
            closed = self.peek() == _CLOSING[token] or (token, self.peek()) in _MIXED
            return inner and closed and self.take()
        self.take()
        if token in _TWO_GROUPS:
            return self.group() and self.group()
        if token == "\\sqrt":
            if self.peek() == "[" and not (self.take() and self.sum() and self.take("]")):
                return False
            return self.group()
        if token in _FUNCTIONS:
            while self.peek() in ("^", "_"):
                self.take()
                if not self.script():
                    return False
            return self.factor()
        return token[:1].isdigit() or (token[:1] == "." and len(token) > 1) or token.isalpha() or token in _SYMBOLS

    def group(self) -> bool:
        """``{…}``, or the one digit or letter that LaTeX takes without braces."""
        if self.peek() == "{":
            return self.base()
        token = self.peek()
        if token.isdigit() and len(token) > 1:  # \frac12 is one over two
            self.tokens[self.position : self.position + 1] = [token[0], token[1:]]
            token = token[0]
        return token.isalnum() and self.take()
