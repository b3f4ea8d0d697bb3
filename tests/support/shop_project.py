"""A small project in a folder ``src``: relative imports, a dataclass, an enum, a cache, effects of importing it."""

from __future__ import annotations

from pathlib import Path

PRICES = '''"""Prices."""

from __future__ import annotations

import enum
import functools
import logging
from dataclasses import dataclass, field

from .rates import rate

LOADED = []
LOADED.append("once")


class Kind(enum.Enum):
    SMALL = 1
    LARGE = 2


@dataclass(frozen=True)
class Item:
    name: str
    num: int = 1
    notes: list = field(default_factory=list)

    def price(self):
        return rate(self.name) * self.num


@functools.cache
def fibonacci(n):
    if n < 2:
        return n
    return fibonacci(n - 1) + fibonacci(n - 2)


def total(items):
    found = 0
    for item in items:
        found += item.price()
    return found


def checked(n):
    try:
        if n < 0:
            raise ValueError("negative")
    except ValueError:
        logging.exception("bad")
        raise
    return n
'''
HEAD = """import pytest
import shop
from shop import prices
from shop.prices import LOADED, Item, Kind, checked, fibonacci, total
"""
GOOD = f"""{HEAD}

def test_price():
    assert Item("a", 3).price() == 6


def test_total():
    assert shop.total([Item("a", 2), Item("b")]) == 7


def test_others_see_it():
    from shop.inner import inner_total

    assert inner_total([Item("b", 5)]) == 15


def test_fibonacci():
    assert fibonacci(10) == 55


def test_checked():
    with pytest.raises(ValueError, match="negative"):
        checked(-1)
    assert checked(0) == 0


def test_state():
    assert LOADED == ["once"]
    LOADED.append("twice")
    assert Kind(1) is Kind.SMALL
"""


def shop_project(folder: Path) -> Path:
    """Write it, with tests and tools that are none of its modules; its folder."""
    package = folder / "src" / "shop"
    for path, text in {
        package / "__init__.py": "from .prices import total as total\n",
        package / "rates.py": 'RATES = {"a": 2, "b": 3}\n\n\ndef rate(name):\n    return RATES[name]\n',
        package / "prices.py": PRICES,
        package / "test_prices.py": "def test_nothing():\n    pass\n",
        package / "__main__.py": "def main():\n    return 1\n\n\nmain()\n",
        package / "inner" / "__init__.py": "from ..prices import total as inner_total\n",
        package / "tests" / "__init__.py": "",
        package / "tests" / "helper.py": "def help(a):\n    return a + 1\n",
        folder / "setup.py": "def build(a):\n    return a + 1\n",
        folder / "conftest.py": "def pytest_configure(config):\n    1 / 0\n",
        folder / "pytest.ini": "[pytest]\naddopts = --no-such-option\n",
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder
