"""Tests in Python: those that pytest would find, and asserts that stand alone.

In: a module's text. Out: see :mod:`~spiritsafe.tasks.code.duet.kills`.
"""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.tasks.code.duet.kills import Kills, kills_of
from spiritsafe.tasks.code.languages.signature import CodeSignature
from spiritsafe.tasks.code.suites.suite import Suite
from spiritsafe.tasks.sandbox.sandbox import Sandbox


def _run(sandbox: Sandbox, *, tests: str, signature: CodeSignature, gold: str, mutants: Sequence[str]) -> Kills:
    return kills_of(sandbox, tests=tests, gold=gold, mutants=mutants)


def _rules(signature: CodeSignature) -> str:
    return f"""Write a Python module. Its tests are functions without arguments whose names begin with `test_`; a test \
fails by raising, as `assert` does. Import the function from `solution`:

```python
from solution import {signature.name}


def test_smallest():
    assert {signature.name}(...) == ...
```"""


SUITE = Suite(run=_run, rules=_rules)
