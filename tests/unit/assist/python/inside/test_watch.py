"""Audit hooks last as long as their process, so each look is one of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

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
trusted = trusted_code() | code_parts([secret])
class Name(str):
    def __str__(self): __import__('os')._exit(3)  # it would run unwatched
class Holder:
    __code__ = property(lambda self: f.__code__)
def forget(): del sys.modules["ctypes"], sys.modules["_ctypes"]
def trusting():
    import ctypes
trusted |= code_parts([trusting.__code__])
def refuse():
    import os
    os.write(1, b"refused")
    os._exit(7)
def begin(): watch("/x/pack/mod.py", "pack/mod.py", trusted, refuse)
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
    "sys.settrace(lambda *_: None)",
    "sys.setprofile(lambda *_: None)",
    "forget() or __import__('ctypes')",
    "forget() or __import__('importlib').import_module('ctypes')",
    "forget() or __import__('_ctypes')",
    "__import__('_testcapi')",
    "sys.audit('object.__getattr__')",  # an error of the hook's would lead to its frame
    "sys.audit('open')",
    "sys.settrace(lambda frame, *_: frame.f_code) or f(1)",
    "exec(compile('f.__code__', inspect.__file__, 'exec'), vars(inspect) | {'f': f})",
    "open('/usr/lib/python3/pack/mod.py')",
    "open(b'/usr/lib/python3/pack/mod.py')",
    "open(Name('/usr/lib/python3/pack/mod.py'))",
    "open('/usr/lib/python3/pack/__pycache__/mod.cpython-311.pyc')",
    "io.open_code('/elsewhere/pack/mod.py')",
    "__import__('os').open('mod.py', 0, dir_fd=__import__('os').open('/usr', 0))",
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
    "trusting()",
    "forget() or trusting()",
    "open(Name('/dev/null'))",
    "sys.audit('object.__getattr__', Holder(), '__code__')",  # nobody is asked for it
    "sys.audit('object.__getattr__', f, Name('__code__'))",
    "open(b'/dev/null')",
    "io.StringIO(__import__('json').__loader__.get_data(__import__('json').__file__).decode())",
    "pytest.raises(ZeroDivisionError, f, 1, 0).value",
]


TAIL = """
import json, os
for expression in json.loads(sys.stdin.read()):
    child = os.fork()
    if not child:
        # what is run as the program is among what is loaded, and so is trusted
        begin()
        exec(compile(expression, "test_it.py", "exec"))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def ends(expressions: list[str], folder: Path) -> dict[str, int]:
    """Exit codes of processes that each run one of them under watch."""
    (folder / "program.py").write_text(HEAD + TAIL)
    told = subprocess.run(
        [sys.executable, str(folder / "program.py")],
        input=json.dumps(expressions),
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(zip(expressions, map(int, told.stdout.replace("refused", "").split()), strict=True))


def test_whoever_looks_is_ended(tmp_path: Path) -> None:
    tried = [f"try:\n    {one}\nexcept BaseException as error:\n    print(repr(error))" for one in REFUSED]
    assert ends(tried, tmp_path) == dict.fromkeys(tried, 7)


def test_whoever_only_uses_it_is_not(tmp_path: Path) -> None:
    assert ends(ALLOWED, tmp_path) == dict.fromkeys(ALLOWED, 0)
