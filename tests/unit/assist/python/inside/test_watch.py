"""Audit hooks last as long as their process, so each look is one of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HEAD = """
import gc, inspect, warnings, operator, string, sys, traceback, logging, functools, unittest.mock, dis, ctypes, io
import pytest
from spiritsafe.assist.python.inside.watch import code_parts, trusted_code, watch

def other(): yield 1
secret = compile('''
def f(a, b=1):
    return a // b
def g():
    yield 1
def own():
    return f.__code__.co_argcount
''', "/x/pack/mod.py", "exec")
space = {}
exec(secret, space)
f, g, own = space["f"], space["g"], space["own"]
def failing():
    try: f(1, 0)
    except ZeroDivisionError as error: return error.__traceback__
trusted = {**trusted_code(), **code_parts([secret])}
def refuse():
    import os
    os.write(1, b"refused")
    os._exit(7)
watch("/x/pack/mod.py", "pack/mod.py", trusted, refuse)
"""
REFUSED = [
    "f.__code__",
    "operator.attrgetter('__code__')(f)",
    "'{0.__code__.co_consts}'.format(f)",
    "string.Formatter().format('{0.__code__.co_code}', f)",
    "inspect.getmembers(f)",
    "type(f).__dict__['__code__'].__get__(f)",
    "g().gi_code",
    "failing().tb_next.tb_frame.f_code",
    "list(traceback.walk_tb(failing()))[1][0].f_code",
    "dis.Bytecode(f)",
    "functools.partial(getattr, f, '__code__')()",
    "functools.update_wrapper(type('W', (), {})(), f, assigned=['__code__'], updated=[])",
    "logging.Formatter('{f.__code__.co_code}', style='{', validate=False).format("
    "logging.makeLogRecord({'f': f, 'exc_info': None}))",
    "unittest.mock.patch.object(f, '__code__').__enter__()",
    "gc.get_objects()",
    "gc.get_referents(f)",
    "gc.get_referrers(f)",
    "(ctypes.c_char * 8).from_address(id(f))",
    "sys._current_frames()",
    "sys.settrace(lambda frame, *_: frame.f_code) or f(1)",
    "exec(compile('f.__code__', inspect.__file__, 'exec'), vars(inspect) | {'f': f})",
    "open('/usr/lib/python3/pack/mod.py')",
    "open('/usr/lib/python3/pack/__pycache__/mod.cpython-311.pyc')",
    "io.open_code('/elsewhere/pack/mod.py')",
    "pytest.raises(ZeroDivisionError, f, 1, 0).traceback[-1].frame.code.raw",
]
ALLOWED = [
    "f(4, 2)",
    "own()",
    "inspect.signature(f)",
    "unittest.mock.create_autospec(f)(1)",
    "functools.wraps(f)(lambda: 1)()",
    "traceback.format_tb(failing())",
    "logging.getLogger('x').error('said', exc_info=(ZeroDivisionError, ZeroDivisionError(), failing()))",
    "warnings.warn('said', stacklevel=2)",
    "other.__code__",
    "other().gi_code",
    "(lambda: 0).__code__.co_consts",
    "inspect.isgeneratorfunction(g)",
    "f.__defaults__, f.__name__, repr(f)",
    "sys._getframe().f_code",
    "type('C', (), {'m': f})().m.__name__",
    "open('/dev/null')",
    "pytest.raises(ZeroDivisionError, f, 1, 0).value",
]


def run(expression: str, folder: Path) -> subprocess.CompletedProcess[str]:
    program = folder / "program.py"
    # what is run as the program is among what is loaded, and so is trusted
    program.write_text(f"{HEAD}\nexec(compile({expression!r}, 'test_it.py', 'exec'))\nprint('went on')\n")
    return subprocess.run([sys.executable, str(program)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("expression", REFUSED)
def test_whoever_looks_is_ended(expression: str, tmp_path: Path) -> None:
    result = run(f"try:\n    {expression}\nexcept BaseException as error:\n    print(repr(error))", tmp_path)
    assert (result.returncode, result.stdout) == (7, "refused"), result.stderr


@pytest.mark.parametrize("expression", ALLOWED)
def test_whoever_only_uses_it_is_not(expression: str, tmp_path: Path) -> None:
    result = run(expression, tmp_path)
    assert (result.returncode, result.stdout) == (0, "went on\n"), result.stderr
