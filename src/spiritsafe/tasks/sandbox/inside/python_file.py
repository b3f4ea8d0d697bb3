"""A Python file as a program, in the interpreter that is warm already.

In: a path and arguments. Out: the exit code, once all has happened that ``python path`` does at its end: threads are
awaited, exit functions are called, what is left is destroyed, and every file is written.
"""

from __future__ import annotations

import atexit
import builtins
import gc
import os
import site
import sys
import threading
import types


def warm_up() -> None:
    """Add what Python adds when it starts without ``-S``."""
    site.setquit()
    site.sethelper()


def run_file(path: str, arguments: list[str]) -> int:
    """Run a file in this process as ``python path`` would; its exit code."""
    _begin(path, arguments)
    known = set(sys.modules)
    code = _run_main(path)
    vars(threading)["_shutdown"]()  # from here on what Python does at its end, in its order
    vars(atexit)["_run_exitfuncs"]()
    is_written = _flush()
    for name in [name for name in sys.modules if name not in known or name == "__main__"]:
        del sys.modules[name]
    gc.collect()
    return (code if is_written and _flush() else 120) & 255


def _begin(path: str, arguments: list[str]) -> None:
    sys.argv = [path, *arguments]
    sys.path[0] = os.path.dirname(os.path.realpath(path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "spiritsafe"]:
        del sys.modules[name]
    main = types.ModuleType("__main__")
    vars(main).update(__file__=path, __builtins__=builtins, __annotations__={}, __cached__=None)
    sys.modules["__main__"] = main
    sys.stdin = os.fdopen(0, encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False)
    vars(sys).update(__stdin__=sys.stdin, __stdout__=sys.stdout, __stderr__=sys.stderr)


def _run_main(path: str) -> int:
    try:
        with open(path, "rb") as file:
            source = file.read()
        exec(compile(source, path, "exec", dont_inherit=True), vars(sys.modules["__main__"]))
    except SystemExit as error:
        return _code_of(error.code)
    except BaseException as error:  # noqa: BLE001  as Python's own main does
        own = error.__traceback__
        sys.excepthook(type(error), error.with_traceback(own and own.tb_next), own and own.tb_next)
        return 1
    return 0


def _code_of(said: object) -> int:
    if said is None:
        return 0
    if isinstance(said, int):
        return said if abs(said) < 1 << 63 else -1  # what does not fit into a machine word
    sys.stderr.write(f"{said}\n")
    return 1


def _flush() -> bool:
    """Write what waits in the streams; whether the program's own output could be written."""
    is_written = True
    for name in ("stdout", "stderr", "__stdout__", "__stderr__"):
        stream = getattr(sys, name, None)
        try:
            if stream is not None and not getattr(stream, "closed", False):
                stream.flush()
        except Exception:  # noqa: BLE001  it may be an object of the program's, and do whatever
            is_written = is_written and name != "stdout"
    return is_written
