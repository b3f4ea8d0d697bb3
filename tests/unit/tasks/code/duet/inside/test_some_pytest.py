"""The little pytest against pytest itself: the same tests end the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spiritsafe.tasks.code.duet.inside import some_pytest, tests_host

MODULES = {
    "raises": '''
import pytest
def bad(kind, *words): raise kind(*words)
def test_a():
    with pytest.raises(ValueError): bad(ValueError)
def test_b():
    with pytest.raises(ValueError): pass
def test_c():
    with pytest.raises(ValueError): bad(TypeError)
def test_d():
    with pytest.raises((KeyError, ValueError), match=r"no .* left") as info: bad(ValueError, "there is no tea left")
    assert info.type is ValueError and info.value.args == ("there is no tea left",) and "tea" in str(info.value)
def test_e():
    with pytest.raises(ValueError, match="coffee"): bad(ValueError, "tea")
def test_f(): pytest.raises(ZeroDivisionError, lambda x: 1 / x, 0)
def test_g(): pytest.raises(ZeroDivisionError, lambda x: 1 / x, x=1)
def test_h(): assert pytest.raises(KeyError, {}.__getitem__, 5).value.args == (5,)
def test_i():
    with pytest.raises(Exception): bad(IndexError)
def test_j():
    with pytest.raises(LookupError): bad(IndexError)
def test_k():
    with pytest.raises(SystemExit): raise SystemExit(3)
''',
    "approx": '''
import math, pytest
approx = pytest.approx
def test_a(): assert 0.1 + 0.2 == approx(0.3)
def test_b(): assert 1.00001 == approx(1.0)
def test_c(): assert 1.0000005 == approx(1.0)
def test_d(): assert 1.05 == approx(1.0, abs=0.1)
def test_e(): assert 1.05 == approx(1.0, rel=0.01)
def test_f(): assert [0.1 + 0.2, 1] == approx([0.3, 1])
def test_g(): assert [0.3] == approx([0.3, 1])
def test_h(): assert {"a": 0.1 + 0.2} == approx({"a": 0.3})
def test_i(): assert {"b": 0.3} == approx({"a": 0.3})
def test_j(): assert approx(0.3) == 0.1 + 0.2
def test_k(): assert 1e-13 == approx(0)
def test_l(): assert 1e-11 == approx(0)
def test_m(): assert 0.3 != approx(0.3)
def test_n(): assert math.nan == approx(math.nan)
def test_o(): assert math.inf == approx(math.inf)
def test_p(): assert (0.1 + 0.2,) == approx((0.3,))
def test_q(): assert 1e9 + 1 == approx(1e9)
def test_r(): assert 1.0005 == approx(1.0, rel=1e-3, abs=1e-12)
def test_s(): assert None == approx(1.0)
def test_t(): assert 2 == approx(2)
def test_u(): assert "a" == approx(1.0)
''',
    "rows": '''
import pytest
@pytest.mark.parametrize("x", [1, 2, 3])
def test_a(x): assert x != 2
@pytest.mark.parametrize("x, y", [(1, 1), (2, 3)])
def test_b(x, y): assert x == y
@pytest.mark.parametrize(("x", "y"), [(1, 1), pytest.param(4, 4, id="four")], ids=["a", "b"])
def test_c(x, y): assert x == y
@pytest.mark.parametrize("x", [1, 2])
@pytest.mark.parametrize("y", [10, 20, 30])
def test_d(x, y): assert x + y != 22
@pytest.mark.parametrize("x", [(1, 2), (3, 3)])
def test_e(x): assert x[0] != x[1]
@pytest.mark.parametrize("x", [pytest.param([5]), [6]])
def test_f(x): assert x == [5]
@pytest.mark.parametrize(["x"], [(7,), (8,)])
def test_g(x): assert x == 7
@pytest.mark.parametrize("x", range(3))
def test_h(x): assert x < 2
class TestIt:
    @pytest.mark.parametrize("x", [1, 2])
    def test_i(self, x): assert x == 1
''',
    "fixtures": '''
import pytest
told = []
@pytest.fixture
def one(): return 1
@pytest.fixture()
def two(one):
    told.append("made")
    yield one + 1
    told.append("ended")
@pytest.fixture(scope="module")
def data(): return [1, 2]
def test_a(one): assert one == 1
def test_b(two): assert two == 2 and told == ["made"]
def test_c(): assert told == ["made", "ended"]
def test_d(two, one, data): assert two + one + sum(data) == 7
def test_e(one): assert one == 2
def test_f(missing): pass
def test_g(one, other=5): assert one + other == 6
@pytest.mark.parametrize("x", [1, 3])
def test_h(x, two): assert x < two
class TestIt:
    def test_i(self, two): assert two == 2
''',
    "classes": '''
import pytest
class TestIt:
    known = [1, 2]
    def helper(self): return 5
    def test_a(self): assert self.helper() == 5
    def test_b(self): assert self.known == []
    def test_c(self):
        self.known = 7
    def test_d(self): assert self.known == [1, 2]
    def check(self): assert False
class TestSetup:
    def setup_method(self): self.x = [1]
    def teardown_method(self): self.x.append(2)
    def test_e(self): self.x.append(3); assert self.x == [1, 3]
    def test_f(self): assert self.x == [1]
class TestTold:
    def setup_method(self, method): self.name = method.__name__
    def test_m(self): assert self.name == "test_m"
class TestMore(TestIt):
    def test_g(self): assert self.helper() == 6
class Helper:
    def test_h(self): assert False
def helper_test(): assert False
def test_i(): assert True, "fine"
def test_j(): raise KeyError("x")
def testk(): assert 1 == 1
''',
    "cases": '''
import unittest
class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls): cls.shared = 7
    def setUp(self): self.x = 1
    def tearDown(self): assert self.x != 99
    def test_a(self): self.assertEqual(self.x, 1)
    def test_b(self): self.assertEqual(self.x, 2)
    def test_c(self):
        with self.assertRaises(ValueError): int("x")
    def test_d(self):
        with self.assertRaisesRegex(ValueError, "nothing"): int("x")
    def test_e(self): self.x = 99
    def test_f(self): self.assertAlmostEqual(0.1 + 0.2, 0.3)
    def test_g(self): self.skipTest("later")
    @unittest.skip("later")
    def test_h(self): self.fail()
    def test_i(self):
        for n in range(3):
            with self.subTest(n=n): self.assertLess(n, 3)
    def test_j(self):
        for n in range(3):
            with self.subTest(n=n): self.assertNotEqual(n, 1)
    @unittest.expectedFailure
    def test_k(self): self.fail()
    @unittest.expectedFailure
    def test_l(self): pass
    def test_m(self): raise KeyError("x")
    def test_n(self): assert self.shared == 7
    def helper(self): assert False
class Base(unittest.TestCase):
    def make(self): return 3
class Derived(Base):
    def test_o(self): self.assertEqual(self.make(), 3)
''',
    "skips": '''
import pytest, unittest
def test_a(): pytest.skip("later")
def test_b(): pytest.fail("no")
@pytest.mark.skip(reason="later")
def test_c(): assert False
@pytest.mark.skip
def test_d(): assert False
@pytest.mark.slow_one
def test_e(): assert True
def test_f(): raise unittest.SkipTest("later")
@pytest.mark.skipif(True, reason="so")
def test_g(): assert False
@pytest.mark.skipif(False, reason="so")
def test_h(): assert True
''',
}  # fmt: skip

_PLUGIN = """
import json, os
found = {}
def pytest_runtest_logreport(report):
    name = report.nodeid.split("::", 1)[1].replace("::", ".")
    if report.skipped and not hasattr(report, "wasxfail"):
        found.setdefault(name, []).append("skipped")
    else:
        found.setdefault(name, []).append("failed" if report.failed else "passed")
def pytest_sessionfinish():
    with open(os.environ["FOUND"], "w") as file:
        json.dump(found, file)
"""


def by_pytest(text: str, folder: Path) -> dict[str, list[str]]:
    """Sorted outcomes by the names of functions, as pytest has them."""
    (folder / "test_it.py").write_text(text, "utf-8")
    (folder / "plugin.py").write_text(_PLUGIN, "utf-8")
    (folder / "pytest.ini").write_text("[pytest]\n", "utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-p", "plugin"]
    environment = {
        **os.environ,
        "FOUND": str(folder / "found.json"),
        "PYTHONPATH": str(folder),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
        "PYTEST_ADDOPTS": "",
    }
    done = subprocess.run(
        [*command, "test_it.py"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    outcomes: dict[str, list[str]] = {}
    for name, parts in json.loads((folder / "found.json").read_text("utf-8")).items():
        outcome = next((part for part in ("failed", "skipped") if part in parts), "passed")
        outcomes.setdefault(name.partition("[")[0], []).append(outcome)
    return {name: sorted(found) for name, found in outcomes.items()}


class Listener:
    """A report that is kept here."""

    def __init__(self) -> None:
        self.num_tests = 0
        self.messages: list[dict[str, str]] = []

    def say(self, message: dict[str, str]) -> None:
        self.messages.append(message)


class NoCode:
    is_lost = False


def by_ours(text: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """Likewise, as our own runner has them."""
    monkeypatch.setitem(sys.modules, "pytest", some_pytest.as_pytest())
    namespace = {"__name__": "tests"}
    listener = Listener()
    parts = tests_host._parts({"prelude": "", "checks": [], "tests": text})
    for name, test in tests_host._tests(parts, namespace):
        tests_host._run(name, test, NoCode(), listener)  # type: ignore[arg-type]  # what it needs of both
    outcomes: dict[str, list[str]] = {}
    for message in listener.messages:
        outcome = "failed" if message["outcome"] == "exited" else message["outcome"]
        outcomes.setdefault(message["test"].partition("[")[0], []).append(outcome)
    assert len({message["test"] for message in listener.messages}) == len(listener.messages)
    return {name: sorted(found) for name, found in outcomes.items()}


@pytest.mark.parametrize("what", MODULES)
def test_tests_end_as_in_pytest(what: str, tmp_path: Path) -> None:
    wanted = by_pytest(MODULES[what], tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        found = by_ours(MODULES[what], patch)
    assert found == wanted
    assert len(wanted) > 5
    assert {outcome for outcomes in wanted.values() for outcome in outcomes} >= {"passed", "failed"}


def test_what_is_not_there_says_so() -> None:
    with pytest.raises(AttributeError):
        some_pytest.as_pytest().importorskip  # noqa: B018


def test_approx_has_no_hash() -> None:
    with pytest.raises(TypeError):
        hash(some_pytest.approx(1))
    assert repr(some_pytest.approx([1])) == "approx([1])"
