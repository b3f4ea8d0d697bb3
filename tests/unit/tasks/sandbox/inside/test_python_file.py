from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from sandboxes import every_layer, sandbox_of

from spiritsafe.tasks.sandbox import landlock, walls
from spiritsafe.tasks.sandbox.job import Run, RunStep

PROGRAMS = {
    "arguments": "import sys; print(sys.argv, __name__, __file__, sys.modules['__main__'].__name__)",
    "names": "print(sorted(globals())); __builtins__.print(1)",
    "beside": "import beside; print(beside.value)",
    "below": "import sys; sys.argv = ['x']; from folder import deep; print(deep.value)",
    "input": "print(input('a? ')); print(input()); print(input())",
    "standard error": "import os, sys; sys.stderr.write('said\\n'); os._exit(4)",
    "streams": "import sys\nfor s in sys.stdin, sys.stdout, sys.stderr: print(s.encoding, s.errors, s.line_buffering)",
    "bytes": "import sys; sys.stdout.buffer.write(bytes(range(256))); print('\\udcff', file=sys.stderr)",
    "surrogates": "print('gr\\udcfc\\u00fc')",
    "exit": "exit(3)",
    "quit": "print('x', end=''); quit()",
    "code 256": "raise SystemExit(256)",
    "code -1": "raise SystemExit(-1)",
    "code True": "raise SystemExit(True)",
    "code beyond a word": "raise SystemExit(2**70)",
    "code tuple": "raise SystemExit((1, 2))",
    "code text": "raise SystemExit('so')",
    "code float": "import sys; sys.exit(0.0)",
    "annotations": "def f(x: int): pass\nprint(f.__annotations__)\ny: int = 3\nprint(__annotations__)",
    "error": "def f():\n    1/0\nf()",
    "cause": "try:\n    1/0\nexcept ZeroDivisionError as error:\n    raise ValueError('x') from error",
    "group": "raise ExceptionGroup('g', [ValueError('a'), TypeError('b')])",
    "syntax": "print(1)\nx = (",
    "null": "x = '\0'",
    "not utf-8": b"x = '\xff'",
    "coded": "# coding: latin-1\nprint(len('\u00fc'))",
    "hook": "import sys\nsys.excepthook = lambda *a: print('hook', a[0].__name__, a[2].tb_lineno)\n1/0",
    "warning": "import warnings; warnings.warn('old', DeprecationWarning)",
    "handlers": "import signal; print([signal.getsignal(n) for n in (2, 13, 25)])",
    "closed pipe": "import os\na, b = os.pipe(); os.close(a); os.write(b, b'x')",
    "closed output": "import sys; print(1); sys.stdout.close()",
    "no output": "import sys; print(1); sys.stdout = None",
    "other output": "import io, sys; print(1); sys.stdout = io.StringIO(); print(2)",
    "wrapped output": "import io, sys; sys.stdout = io.TextIOWrapper(sys.stdout.buffer, 'latin-1'); print('\u00fc')",
    "failing output": "import sys\nclass S:\n    def write(self, x): pass\n    def flush(self): 1/0\nsys.stdout = S()",
    "file left open": "f = open('written', 'w'); f.write('abc')",
    "file left open in a module": "import opener",
    "destructor": "class A:\n    def __del__(self): print('gone', len('x'))\na = A(); b = [a]",
    "exit functions": "import atexit\nfor n in (1, 2): atexit.register(print, n)\n1/0",
    "exit function fails": "import atexit; atexit.register(lambda: None + 1); print(1)",
    "threads": "import threading, time\n"
    "threading.Thread(target=lambda: (time.sleep(0.1), print('late'))).start()\nprint('first')",
    "thread then exit": "import atexit, threading, time\natexit.register(print, 'exit')\n"
    "threading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()\nraise SystemExit(5)",
    "daemon": "import threading, time\nthreading.Thread(target=time.sleep, args=(60,), daemon=True).start()\nprint(1)",
    "asyncio": "import asyncio\nasync def f():\n    await asyncio.sleep(0.01)\n    print('x')\nasyncio.run(f())",
    "fork": "import os\nif os.fork():\n    os.wait()\n    print('parent')\nelse:\n    print('child')",
    "child": "import subprocess as s, sys\nprint(s.run([sys.executable, '-c', 'print(5)'], stdout=-1).stdout)",
    "pickle": "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))))",
    "dataclass": "from dataclasses import *\n@dataclass\nclass A:\n    x: int\nprint(A(1), fields(A)[0].type)",
    "unittest": "from unittest import *\nclass T(TestCase):\n    def test(self): pass\n"
    "print(main(argv=['x', '-q'], exit=False, testRunner=TextTestRunner(open('log', 'w'))).result)",
    "deep": "def f(n): return n and 1 + f(n - 1)\nprint(f(960))",
    "source": "import inspect\ndef f(): return 1\nprint(inspect.getsource(f))",
}  # fmt: skip
SAID_OTHERWISE = ("null", "not utf-8", "failing output", "exit function fails")
"""Python complains of the file before it compiles it, or of an object by its address."""
BESIDE = {
    "beside.py": "value = 7",
    "folder/deep.py": "value = 8",
    "opener.py": "f = open('written', 'w'); f.write('module')",
}


def reference(layer: str, files: dict[str, str | bytes], path: str, folder: Path) -> tuple[int, bytes, bytes, object]:
    """What the same interpreter says that is started for this file alone."""
    python = landlock._interpreter() if layer == landlock.NAME else walls.interpreter()
    for name, text in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(folder), "PYTHONHASHSEED": "0"}
    command = [str(python), "-B", path, "one", "two"]
    done = subprocess.run(command, cwd=folder, env=environment, input=b"a\nb", capture_output=True, check=False)
    written = folder / "written"
    return done.returncode, done.stdout, done.stderr, written.read_bytes() if written.exists() else None


def ours(layer: str, files: dict[str, str | bytes], path: str) -> tuple[int | None, bytes, bytes, object]:
    step = RunStep(python=path, arguments=("one", "two"), stdin="a\nb")
    result = sandbox_of(layer).run(Run(files=files, steps=(step,), collect=("written",)))
    return result.steps[0].code, result.steps[0].out, result.steps[0].err, result.files.get("written")


@every_layer
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_file_runs_as_python_runs_it(layer: str, name: str, tmp_path: Path) -> None:
    files = {**BESIDE, "main.py": PROGRAMS[name]}
    got = ours(layer, files, "main.py")
    code, out, err, written = reference(layer, files, "main.py", tmp_path)
    # Python names the whole path, which is another one in each sandbox: here it is the one that was given
    shown = f"{tmp_path.resolve()}/".encode()
    expected = (code, out.replace(shown, b""), err.replace(shown, b""), written)
    if name in SAID_OTHERWISE:
        got, expected = (*got[:2], b"", got[3]), (*expected[:2], b"", written)
    assert got == expected


@every_layer
def test_modules_are_found_beside_the_file(layer: str, tmp_path: Path) -> None:
    files: dict[str, str | bytes] = {"folder/main.py": "import deep; print(deep.value)", "folder/deep.py": "value = 1"}
    got = ours(layer, files, "folder/main.py")
    assert got == reference(layer, files, "folder/main.py", tmp_path) == (0, b"1\n", b"", None)


@every_layer
def test_nothing_of_the_sandbox_can_be_imported_or_is_shown(layer: str) -> None:
    source = """
import sys
print([name for name in sys.modules if "spiritsafe" in name or "fork_server" in name])
for name in ("spiritsafe", "run", "fork_server", "kernel"):
    try:
        __import__(name)
    except ImportError:
        print("none")
"""
    code, out, err, _ = ours(layer, {"main.py": source}, "main.py")
    assert (code, out, err) == (0, b"[]\nnone\nnone\nnone\nnone\n", b"")


@every_layer
def test_each_run_draws_its_own_numbers_and_sees_no_module_of_the_one_before(layer: str) -> None:
    source = "import beside, random, sys; beside.value += 1; sys.seen = 1; print(beside.value, random.random())"
    first, second = (ours(layer, {**BESIDE, "main.py": source}, "main.py")[1].split() for _ in range(2))
    assert first[0] == second[0] == b"8"
    assert first[1] != second[1]


@every_layer
def test_a_file_that_is_missing_is_an_error(layer: str) -> None:
    code, _, err, _ = ours(layer, {}, "main.py")
    assert code == 1
    assert b"main.py" in err
