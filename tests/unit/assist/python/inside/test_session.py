from __future__ import annotations

from pathlib import Path

import pytest

from spiritsafe.assist.python.project import python_module
from spiritsafe.assist.python.turns import ModuleTests, ModuleTurn, run_module_turns, sandbox_with
from spiritsafe.tasks.code.duet.duet import DuetTurn


def turns_of(path: Path, text: str, *programs: str) -> tuple[DuetTurn, ...]:
    """One of the original, and one of each other program."""
    module = python_module(path)
    tests = ModuleTests(module=module, text=text, name=f"test_{path.stem}.py")
    versions = [module.source, *programs]
    turns = [ModuleTurn(program) for program in range(len(versions))]
    return run_module_turns(
        sandbox_with(module.environment.readable_parts(module.tops)), tests, versions, turns, cpu_s=5.0
    ).turns


def written(folder: Path, texts: dict[str, str]) -> Path:
    for name, text in texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_a_module_that_has_the_name_of_one_of_pythons_own(tmp_path: Path) -> None:
    source = "import math\n\n\ndef mean(values):\n    return math.floor(sum(values))\n"
    folder = written(tmp_path, {"statistics.py": source, "user.py": "from statistics import mean\n"})
    text = "import statistics, user\ndef test_a(): assert statistics.mean([1.5, 2]) == user.mean([3]) == 3\n"
    right, wrong = turns_of(folder / "statistics.py", text, source.replace("floor", "ceil"))
    assert right.has_passed, right.why_not
    assert wrong.tests[0].outcome == "failed"


def test_others_that_import_the_module_have_the_version_of_the_turn(tmp_path: Path) -> None:
    source = "LIMIT = 1\n\n\ndef f():\n    return LIMIT\n"
    folder = written(
        tmp_path,
        {
            "pack/__init__.py": "from .a import g\n",
            "pack/a.py": "from .b.c import f as g\nfrom . import b\n",
            "pack/b/__init__.py": "from .c import LIMIT\n",
            "pack/b/c.py": source,
            "pack/late.py": "from pack.b import c\nlate = c.f()\n",
        },
    )
    text = """import pack
def test_early(): assert pack.g() == 1
def test_constant(): assert pack.b.LIMIT == 1
def test_late():
    import pack.late
    assert pack.late.late == 1
"""
    right, wrong = turns_of(folder / "pack/b/c.py", text, source.replace("1", "2"))
    assert right.has_passed, right.why_not
    assert [test.outcome for test in wrong.tests] == ["failed"] * 3


def test_a_package_is_a_module_too(tmp_path: Path) -> None:
    source = '"""Pack."""\nfrom . import low\n\n\ndef f(a):\n    return low.g(a) + 1\n'
    folder = written(tmp_path, {"pack/__init__.py": source, "pack/low.py": "def g(a):\n    return a\n"})
    text = "import pack\ndef test_a(): assert pack.f(1) == 2 and pack.__path__ and pack.__doc__ == 'Pack.'\n"
    right, wrong = turns_of(folder / "pack/__init__.py", text, source.replace("+", "-"))
    assert right.has_passed, right.why_not
    assert not wrong.has_passed


def test_libraries_with_compiled_parts(tmp_path: Path) -> None:
    pytest.importorskip("numpy")
    source = "import numpy as np\n\n\ndef f(a):\n    return np.asarray(a).sum() + 1\n"
    folder = written(tmp_path, {"sums.py": source})
    text = """import numpy, random
from sums import f
def test_a(): assert f([1, 2]) == 4
def test_chance(): assert 0, (numpy.random.random(), random.random())
"""
    right, wrong, again = turns_of(folder / "sums.py", text, source.replace("+ 1", "- 1"), source)
    assert [[test.outcome for test in turn.tests] for turn in (right, wrong, again)] == [
        ["passed", "failed"],
        ["failed", "failed"],
        ["passed", "failed"],
    ]
    whys = [turn.tests[1].why for turn in (right, wrong, again)]
    draws = [part for why in whys for part in why.partition("(")[2].partition(")")[0].split(",")]
    assert len({*draws}) == 6  # each process draws anew


def test_data_beside_the_module_is_found(tmp_path: Path) -> None:
    source = """import importlib.resources
from pathlib import Path


def f():
    beside = Path(__file__).with_name("data.txt").read_text()
    return beside + importlib.resources.files("pack").joinpath("data.txt").read_text()
"""
    folder = written(tmp_path, {"pack/__init__.py": "", "pack/reads.py": source, "pack/data.txt": "x"})
    (turn,) = turns_of(folder / "pack/reads.py", "from pack.reads import f\ndef test_a(): assert f() == 'xx'\n")
    assert turn.has_passed, turn.why_not


def test_nothing_within_reach_tells_of_other_programs(tmp_path: Path) -> None:
    """All that frames hold, and what that holds, down to some depth: neither the text nor its code."""
    source = "def f(a):\n    return a + 123456789\n"
    folder = written(tmp_path, {"pack/__init__.py": "", "pack/mod.py": source})
    text = """import base64, sys, types
from pack import mod
def bytes_of(one):
    try:
        return one if isinstance(one, bytes) else one.encode() + base64.b64decode(one.encode() + b"===")
    except ValueError:
        return one.encode()
def test_a():
    frame, seen, waiting, found = sys._getframe(), {}, [], []
    while frame:
        waiting += [frame.f_locals, {k: v for k, v in frame.f_globals.items() if "pytest" not in str(v)[:60]}]
        frame = frame.f_back
    for _ in range(7):
        later = []
        for one in waiting:
            if id(one) in seen or isinstance(one, (types.FunctionType, types.ModuleType, type)):
                continue
            seen[id(one)] = one
            secrets = [b"12345678" + b"9", (123456788 + 1).to_bytes(4, "little")]
            if isinstance(one, (str, bytes)) and any(secret in bytes_of(one) for secret in secrets):
                found.append(one)
            if isinstance(one, types.CodeType) and "pack/mod.py" in one.co_filename:
                found.append(one)
            parts = list(one.values()) + list(one) if isinstance(one, dict) else []
            parts += list(one) if isinstance(one, (list, tuple, set, frozenset)) else []
            parts += list(getattr(one, "__dict__", {}).values())
            parts += [cell.cell_contents for cell in getattr(one, "__closure__", None) or ()]
            later += parts
        waiting = later
    assert len(seen) > 500
    assert found == []
    assert mod.f(0) == 123456788 + 1
"""
    right, wrong = turns_of(folder / "pack/mod.py", text, source.replace("a +", "a -"))
    assert right.has_passed, right.why_not
    assert "assert found" not in wrong.why_not


def test_lines_of_errors_are_those_of_the_original(tmp_path: Path) -> None:
    source = "def f(a):\n    b = [\n        a,\n    ]\n    return b\n\n\ndef g():\n    return 1 / 0\n"
    text = """import pytest, traceback
from mod import f, g
def test_a():
    f(1)
    with pytest.raises(ZeroDivisionError) as caught: g()
    assert caught.tb.tb_next.tb_lineno == 9
    told = "".join(traceback.format_exception(caught.value))
    assert 'project/mod.py", line 9, in g' in told and "return 1" not in told
"""
    folder = written(tmp_path, {"mod.py": source})
    right, shorter = turns_of(folder / "mod.py", text, source.replace("[\n        a,\n    ]", "None"))
    assert right.has_passed, right.why_not
    assert shorter.has_passed, shorter.why_not


def test_no_frame_below_a_test_leads_to_the_code_under_test(tmp_path: Path) -> None:
    source = "def f(a):\n    return a + 1\n"
    folder = written(tmp_path, {"mod.py": source})
    text = """import sys, types
from mod import f
def held(value, depth=3):
    if isinstance(value, types.CodeType):
        yield value
    elif depth and isinstance(value, (dict, types.MappingProxyType)):
        for one in [*value, *value.values()]:
            yield from held(one, depth - 1)
    elif depth and isinstance(value, (list, tuple, set, frozenset)):
        for one in value:
            yield from held(one, depth - 1)
    elif depth and type(value).__name__ == "_Turns":
        yield from held(vars(value), depth - 1)
def test_a():
    frame, found = sys._getframe(), []
    while frame is not None:
        found += [code for value in frame.f_locals.values() for code in held(value)]
        frame = frame.f_back
    assert f(1) == 2
    assert [code.co_name for code in found if code.co_filename.endswith("/project/mod.py")] == []
"""
    (turn,) = turns_of(folder / "mod.py", text)
    assert turn.has_passed, turn.why_not


def test_errors_have_lines_and_no_columns(tmp_path: Path) -> None:
    """A column tells ``>`` from ``>=``."""
    folder = written(tmp_path, {"mod.py": "def f(a):\n    return a > 1\n"})
    text = """import traceback
from mod import f
def test_a():
    try:
        f("x")
    except TypeError as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        assert (last.lineno, last.colno, last.end_colno) == (2, None, None)
"""
    right, wrong = turns_of(folder / "mod.py", text, "def f(a):\n    return a >= 1\n")
    assert right.has_passed, right.why_not
    assert wrong.has_passed, wrong.why_not


def test_tests_may_use_up_the_stack_and_may_not_use_ctypes(tmp_path: Path) -> None:
    folder = written(tmp_path, {"mod.py": "def f(a):\n    return f(a + 1)\n"})
    text = """import pytest
from mod import f
def test_a():
    with pytest.raises(RecursionError):
        f(1)
def test_b():
    import ctypes
"""
    (turn,) = turns_of(folder / "mod.py", text)
    assert [(test.outcome, test.why) for test in turn.tests] == [
        ("passed", ""),
        ("failed", "it looks at the code under test instead of at what it does"),
    ]
