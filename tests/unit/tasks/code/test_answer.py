from __future__ import annotations

import re
import time

import pytest

from spiritsafe.tasks.code.answer import code_in, fenced_blocks
from spiritsafe.tasks.code.languages.language import Language, language_named

PYTHON = language_named("python")
WANTED = re.compile(r"^[ \t]*def f\b", re.MULTILINE)
F = "def f(x):\n    return x\n"


def found(text: str, wanted: re.Pattern[str] | None = WANTED, language: Language = PYTHON) -> str | None:
    return code_in(text, language, wanted)


@pytest.mark.parametrize(
    "text",
    [
        f"```python\n{F}```",
        f"```\n{F}```",
        f"```py\n{F}```\nThat is it.",
        f"```Python3\n{F}```",
        f"``` python \n{F}```",
        f'```python title="a.py"\n{F}```',
        f"~~~python\n{F}~~~",
        f"````python\n{F}````",
        f"Here:\n```python\n{F}``` \nDone.",
        f"```python\n{F}",  # cut
        f"  ```python\n{F}  ```",
        f"1. It is\n   ```python\n   {F.replace('    return', '       return')}   ```",
        f"```text\nf(1) -> 1\n```\n```python\n{F}```\n```text\ndef f(y): nothing\n```",
        f"```python\n{F}```\n```python\nprint(f(1))\n```",
        f"```python\ndef f(x):\n    return 0\n```\nNo:\n```python\n{F}```",
        f"```bash\npip install x\n```\n\n```python\n{F}```",
        F,
    ],
    ids=ascii,
)
def test_the_code_is_found(text: str) -> None:
    code = found(text)
    assert code is not None
    assert code.rstrip() == F.rstrip()


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", None),
        ("I cannot.", None),
        ("```text\ndef f(x): pass\n```", None),
        ("```fortran\nend\n```", None),
        ("```python\nx = 1\n```", "x = 1\n"),
        ("```python\nx = 1\n```\n```python\ny = 2\n```", "y = 2\n"),
        ("````python\n```\ninner\n```\n````", "```\ninner\n```\n"),
        ("```python\n~~~\n```", "~~~\n"),
        ("~~~python\n```\n~~~", "```\n"),
        ("```python\nx = '```'\n```", "x = '```'\n"),
        ("```python\nx = 1\n```python\ny = 2\n```", "x = 1\n```python\ny = 2\n"),
        ("```python\n```", ""),
        ("```python", ""),
        ("```python\r\nx = 1\r\n```\r\n", "x = 1\r\n"),
        ("  ```python\n    x\n\n  y\n  ```", "  x\n\ny\n"),
        ("  ```python\n    x\n y\n  ```", "    x\n y\n"),
        ("`def f(x): pass`", None),
    ],
    ids=ascii,
)
def test_what_is_no_code_is_not_found(text: str, code: str | None) -> None:
    assert found(text) == code


def test_without_a_wanted_word_only_blocks_are_code() -> None:
    assert found(F, None) is None
    assert found(f"```\n{F}```", None) == F


def test_languages_are_told_apart() -> None:
    text = f"```fortran\nend function f\n```\n```cobol\nGOBACK.\n```\n```python\n{F}```"
    assert found(text, None, language_named("fortran")) == "end function f\n"
    assert found(text, None, language_named("cobol")) == "GOBACK.\n"
    assert found(text, None) == F


def test_blocks_know_their_places() -> None:
    text = f"a\n```python\n{F}```\nb\n~~~\nc"
    first, second = fenced_blocks(text)
    assert text[first.start : first.end] == f"```python\n{F}```"
    assert (first.word, first.code) == ("python", F)
    assert (second.word, second.code, text[second.start : second.end]) == ("", "c", "~~~\nc")


HOSTILE = {
    "a long word and a backtick": "```" + "a" * 300_000 + "`",
    "spaces and a backtick": "```" + " " * 300_000 + "`",
    "backticks and a word": "`" * 300_000 + " a`",
    "tildes": "~" * 300_000 + "`",
    "spaces": " " * 300_000 + "`",
    "many fences": "```\n" * 100_000,
    "many words": "```a\n" * 100_000,
    "many kinds of fence": "```a\n~~~b\n" * 50_000,
    "longer and longer fences": "".join("`" * (3 + n) + "\n" for n in range(700)),
    "an indented fence": " " * 100_000 + "```\n" + (" " * 1000 + "x\n") * 300 + "```",
    "def without end": "def " * 100_000,
}


@pytest.mark.parametrize("what", HOSTILE)
def test_long_answers_take_no_longer_than_they_are_long(what: str) -> None:
    """Each of these took minutes or more with a pattern that tries again; a quarter of a second is a hundredfold."""
    started = time.process_time()
    fenced_blocks(HOSTILE[what])
    found(HOSTILE[what])
    assert time.process_time() - started < 5.0
