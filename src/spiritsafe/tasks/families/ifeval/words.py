r"""Words as IFEval's reference counts them: runs of ``\w``, and tokens in capital letters.

In: a text. Out: a number. Tokens are those of NLTK's word tokenizer, as far as it matters whether a token is in capital
letters: quotes, brackets, stars, dashes and ends of sentences stand by themselves, a hyphen or a dot inside a word does
not split it, and clitics are tokens (``IT'S`` has two in capital letters, ``I'm`` has one).
"""

from __future__ import annotations

import re

_WORD = re.compile(r"\w+")
_APART = re.compile(
    r"""[\s«“‘„`»”’";@#$%&‒–—―?!*\[\](){}<>]|--|\.{2,}|''|[:,](?!\d)|(?<!\w)'(?!(?:re|ve|ll|[mtsdn])\b)(?=\w)""",
    re.IGNORECASE,
)
_CLITIC = re.compile(r"(?<=[^'])(?:'[sSmMdD]|')$")
_LONG_CLITIC = re.compile(r"(?<=[^'])(?:'ll|'LL|'re|'RE|'ve|'VE|n't|N'T)$")
_TWO_IN_ONE = re.compile(
    r"\b(?:(can)(not)|(d)('ye)|(gim)(me)|(gon)(na)|(got)(ta)|(lem)(me)|(more)('n)|(wan)(na)(?=$))\b", re.IGNORECASE
)


def num_words(text: str) -> int:
    """Runs of letters, digits and underscores."""
    return sum(1 for _ in _WORD.finditer(text))


def num_capital_words(text: str) -> int:
    """Tokens with a capital letter and without a small one; hyphenated words are one."""
    pieces = (piece for piece in _APART.split(text) if piece and piece != piece.lower())
    return sum(part.isupper() for piece in pieces for part in _tokens(piece))


def _tokens(piece: str) -> list[str]:
    """A piece without spaces, its clitics split off."""
    tokens = [piece]
    for clitic in (_CLITIC, _LONG_CLITIC):
        tokens = [part for token in tokens for part in _cut(token, clitic)]
    return [part for token in tokens for part in _halves(token)]


def _cut(token: str, clitic: re.Pattern[str]) -> list[str]:
    found = clitic.search(token)
    return [token[: found.start()], token[found.start() :]] if found and found.start() else [token]


def _halves(token: str) -> list[str]:
    return [part for part in _TWO_IN_ONE.split(token) if part]
