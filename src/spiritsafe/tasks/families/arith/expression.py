"""Evaluates an arithmetic expression without ``eval``: whole numbers, ``+ - * /``, brackets; exact fractions.

In: text of at most 200 characters. Out: its value and the numbers it uses, or None when it is not an expression.
"""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise
from typing import final

_MAX_CHARACTERS = 200
_TOKEN = re.compile(r"\s*(\d{1,9}|[-+*/()])")


@final
class _Reader:
    """Recursive descent over the tokens; depth is bounded by the length of the text."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens
        self.position = 0
        self.used: list[int] = []

    def peek(self) -> str:
        return self.tokens[self.position] if self.position < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.position += 1
        return token

    def sum(self) -> Fraction | None:
        left = self.product()
        while left is not None and self.peek() in ("+", "-"):
            operator = self.take()
            right = self.product()
            if right is None:
                return None
            left = left + right if operator == "+" else left - right
        return left

    def product(self) -> Fraction | None:
        left = self.atom()
        while left is not None and self.peek() in ("*", "/"):
            operator = self.take()
            right = self.atom()
            if right is None or (operator == "/" and right == 0):
                return None
            left = left * right if operator == "*" else left / right
        return left

    def atom(self) -> Fraction | None:
        token = self.take()
        if token == "(":
            inner = self.sum()
            return inner if self.take() == ")" else None
        if not token.isdigit():
            return None
        self.used.append(int(token))
        return Fraction(int(token))


def evaluate(text: str) -> tuple[Fraction, tuple[int, ...]] | None:
    """``(value, numbers used in order)`` of an expression, or None when it is none or divides by zero."""
    text = text.strip()
    if len(text) > _MAX_CHARACTERS:
        return None
    tokens, position = [], 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if not match:
            return None
        tokens.append(match[1])
        position = match.end()
    if any(a.isdigit() and b.isdigit() for a, b in pairwise(tokens)):
        return None
    reader = _Reader(tokens)
    value = reader.sum()
    if value is None or reader.position != len(tokens):
        return None
    return value, tuple(reader.used)
