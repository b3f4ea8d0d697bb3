from __future__ import annotations

import os
import threading
import time
from contextlib import suppress

import psutil
import pytest
from sandboxes import every_layer, sandbox_of

from spiritsafe.tasks.sandbox.job import Limits, Run, RunStep
from spiritsafe.tasks.sandbox.sandbox import Sandbox, SandboxFailure


def python(source: str, *, stdin: str = "", has_channel: bool = False, **changes: object) -> Run:
    step = RunStep(python="main.py", stdin=stdin, has_channel=has_channel)
    return Run(files={"main.py": source}, steps=(step,), **changes)  # type: ignore[arg-type]


@every_layer
def test_programs_read_write_and_end(layer: str) -> None:
    source = """import sys
print(sys.stdin.read().upper(), sys.argv)
print('oh', file=sys.stderr)
open('a/b', 'wb').write(bytes([0, 255]))
sys.exit(3)
"""
    run = Run(
        files={"main.py": source, "a/c": b"\x01"},
        steps=(RunStep(python="main.py", arguments=("one",), stdin="grüße"), RunStep(argv=("/bin/true",))),
        collect=("a/b", "a/c", "missing"),
    )
    result = sandbox_of(layer).run(run)
    first, second = result.steps
    assert (first.code, first.text, first.errors) == (3, "GRÜSSE ['main.py', 'one']\n", "oh\n")
    assert second.code is None  # the first one failed
    assert result.files == {"a/b": b"\0\xff", "a/c": b"\x01"}
    assert result.stop is None
    assert not result.has_ended_well
    assert result.layer.startswith(layer)


@every_layer
def test_a_warm_interpreter_is_as_python_is(layer: str) -> None:
    """Its own main module, errors with their lines, threads and atexit, exit codes."""
    source = """
import atexit, threading, __main__
assert __name__ == "__main__" and __main__.later
def later(): print("later")
"""
    result = sandbox_of(layer).run(python(source.replace("and __main__.later", "")))
    assert (result.steps[0].code, result.steps[0].text) == (0, "")
    for text, code, said in (
        ("import atexit; atexit.register(print, 'bye'); print('hi')", 0, "hi\nbye\n"),
        (
            "import threading, time; threading.Thread(target=lambda: (time.sleep(0.1), print('done'))).start()",
            0,
            "done\n",
        ),
        ("raise SystemExit", 0, ""),
        ("raise SystemExit('so')", 1, ""),
        ("print(1/0)", 1, ""),
        ("import os; os._exit(9)", 9, ""),
        ("def broken(:", 1, ""),
        (
            "import pickle as p\nclass A: pass\nprint(type(p.loads(p.dumps(A()))))",
            0,
            "<class '__main__.A'>\n",
        ),
        ("import csv, xml.dom.minidom, sqlite3; print('imported')", 0, "imported\n"),
    ):
        step = sandbox_of(layer).run(python(text)).steps[0]
        assert (step.code, step.text) == (code, said), (text, step.errors)
    assert sandbox_of(layer).run(python("import os; os.abort()")).steps[0].code in (-6, -11)
    assert 'File "main.py", line 2' in sandbox_of(layer).run(python("\n1/0")).steps[0].errors


@every_layer
@pytest.mark.parametrize("read_only", [False, True])
def test_a_program_that_is_handed_in_can_be_executed(layer: str, read_only: bool) -> None:
    run = Run(files={"bin/say": b"#!/bin/sh\necho said\n"}, steps=(RunStep(argv=("bin/say",)),), read_only=read_only)
    result = sandbox_of(layer).run(run)
    assert (result.steps[0].text, result.steps[0].errors) == ("said\n", "")


@every_layer
def test_environment_is_empty(layer: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_KEY", "hidden")
    with Sandbox(layer=layer, num_boxes=1) if sandbox_of(layer) else sandbox_of(layer) as fresh:
        run = python("import os; print(sorted(os.environ))", environment={"OWN": "1"})
        assert fresh.run(run).steps[0].text == "['HOME', 'LANG', 'OWN', 'PATH', 'TMPDIR']\n"
        shell = Run(steps=(RunStep(argv=("/usr/bin/env",)),))
        assert "hidden" not in fresh.run(shell).steps[0].text


@every_layer
def test_limits_end_a_run_and_the_next_one_is_as_the_first(layer: str) -> None:
    sandbox = sandbox_of(layer)
    sleeps = sandbox.run(python("import time; time.sleep(60)", limits=Limits(wall_s=0.3)))
    assert sleeps.stop == "time"
    assert sleeps.steps[0].code is None
    computes = sandbox.run(python("while True: pass", limits=Limits(cpu_s=1.0)))
    assert (computes.stop, computes.steps[0].code) == (None, -24)
    prints = sandbox.run(python("while True: print('x' * 999)", limits=Limits(output_bytes=10_000)))
    assert prints.stop == "output"
    assert len(prints.steps[0].out) <= 10_000
    holds = sandbox.run(python("bytearray(1 << 29)", limits=Limits(memory_bytes=1 << 28)))
    assert "MemoryError" in holds.steps[0].errors
    assert sandbox.run(python("import os; print(os.listdir())")).steps[0].text == "['main.py']\n"


@every_layer
def test_two_runs_talk_and_see_nothing_of_each_other(layer: str) -> None:
    talks = "import os, socket\nother = socket.socket(fileno=3)\n"
    first = talks + "other.sendall(b'hello')\nprint(other.recv(99))\nprint(os.listdir())"
    second = talks + "said = other.recv(99)\nopen('mine', 'w').write('x')\nother.sendall(said.upper())"
    one, other = sandbox_of(layer).run_pair(
        python(first, has_channel=True), python(second, has_channel=True, collect=("mine",))
    )
    assert one.steps[0].text == "b'HELLO'\n['main.py']\n"
    assert other.files == {"mine": b"x"}


@every_layer
def test_a_run_that_is_alone_has_no_channel(layer: str) -> None:
    step = sandbox_of(layer).run(python("import os; os.fstat(3)")).steps[0]
    assert "Bad file descriptor" in step.errors


@every_layer
def test_a_box_that_dies_is_replaced(layer: str) -> None:
    sandbox_of(layer)
    with Sandbox(layer=layer, num_boxes=1) as sandbox:
        assert sandbox.run(python("print(1)")).steps[0].text == "1\n"
        (box,) = sandbox._boxes
        for process in psutil.Process(box._process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # it ended with the one before
                process.kill()
        box._process.kill()
        assert sandbox.run(python("print(2)")).steps[0].text == "2\n"
        (box,) = sandbox._boxes
        box._process.kill()
        box._process.wait()
        assert sandbox.run(python("print(3)")).steps[0].text == "3\n"


def test_a_sandbox_that_cannot_be_made_is_no_wrong_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    from spiritsafe.tasks.sandbox import sandbox as module

    def fails(*args: object) -> None:
        raise OSError("no room for processes")

    monkeypatch.setattr(module, "open_layer", fails)
    with pytest.raises(SandboxFailure, match="no room for processes"):
        Sandbox(layer="namespaces").run(python("print(1)"))


@every_layer
def test_threads_share_boxes(layer: str) -> None:
    sandbox_of(layer)
    with Sandbox(layer=layer, num_boxes=2) as sandbox:
        said: list[str] = []

        def ask(number: int) -> None:
            said.append(sandbox.run(python(f"print({number})")).steps[0].text)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(said) == sorted(f"{number}\n" for number in range(12))
        assert len(sandbox._boxes) <= 2


@every_layer
def test_parts_come_in_their_order_and_a_failure_is_told(layer: str) -> None:
    def part(number: int) -> str:
        if number == 1:
            raise ValueError("this one")
        return sandbox_of(layer).run(python(f"print({number})")).steps[0].text

    assert sandbox_of(layer).map(part, [2, 3, 4]) == ["2\n", "3\n", "4\n"]
    assert sandbox_of(layer).map(part, []) == []
    with pytest.raises(ValueError, match="this one"):
        sandbox_of(layer).map(part, [1, 5])
    assert part(6) == "6\n"


@every_layer
@pytest.mark.parametrize("is_nested", [False, True])
def test_ctrl_c_ends_the_runs_of_all_parts(layer: str, is_nested: bool) -> None:
    endless = python("print('begun', flush=True)\nwhile True: pass\n", limits=Limits(cpu_s=3000.0, wall_s=3000.0))
    fates: list[str] = []
    with Sandbox(layer=sandbox_of(layer).layer.partition("+")[0], num_boxes=2) as sandbox:

        def run(_: object) -> None:
            with suppress(SandboxFailure):
                sandbox.run(endless)
                fates.append("it came to an end")
            fates.append("it was ended")

        def part(is_first: bool) -> None:
            if is_first:
                while not sandbox._boxes:
                    time.sleep(0.01)
                raise KeyboardInterrupt
            if is_nested:
                sandbox.map(run, [None])
            else:
                run(None)

        with pytest.raises(KeyboardInterrupt):
            sandbox.map(part, [True, False, False])
        assert set(fates) == {"it was ended"}  # the third may have begun, too
        assert sandbox.map(lambda n: sandbox.run(python(f"print({n})")).steps[0].text, [1, 2]) == ["1\n", "2\n"]


@every_layer
def test_a_forked_process_has_boxes_of_its_own(layer: str) -> None:
    from spiritsafe.tasks.sandbox import sandbox as module

    sandbox_of(layer)
    shared = Sandbox(layer=layer, num_boxes=1)
    module._shared.append(shared)
    try:
        assert shared.run(python("print(1)")).steps[0].text == "1\n"
        awake, waker = os.pipe()
        pid = os.fork()
        if not pid:
            os.write(waker, shared.run(python("print(2)")).steps[0].out)
            shared.close()
            os._exit(0)
        os.waitpid(pid, 0)
        assert os.read(awake, 9) == b"2\n"
        assert shared.run(python("print(3)")).steps[0].text == "3\n"
    finally:
        module._shared.remove(shared)
        shared.close()
        for descriptor in (awake, waker):
            os.close(descriptor)


@every_layer
def test_nothing_is_left_of_a_sandbox(layer: str) -> None:
    sandbox_of(layer)
    before = {p.pid for p in psutil.Process().children(recursive=True)}
    descriptors = psutil.Process().num_fds()
    with Sandbox(layer=layer, num_boxes=1) as sandbox:
        for _ in range(5):
            sandbox.run(python("import os; os.fork(); os.setsid() if os.getpid() > 9 else None; print(1)"))
    assert {p.pid for p in psutil.Process().children(recursive=True)} == before
    assert psutil.Process().num_fds() == descriptors


_TRACES = """
import os
def tried(action):
    try:
        action()
        return True
    except OSError:
        return False
parent = os.getppid()
print([
    tried(lambda: os.open(f"/proc/{parent}/stat", os.O_RDONLY)),
    tried(lambda: open(f"/proc/{parent}/mem", "r+b", 0)),
    tried(lambda: os.setpriority(os.PRIO_PROCESS, parent, 3)),
    tried(lambda: os.sched_setaffinity(parent, os.sched_getaffinity(parent))),
    tried(lambda: os.open("trace", os.O_CREAT | os.O_WRONLY)),
    tried(lambda: os.open("/dev/shm/trace", os.O_CREAT | os.O_WRONLY)),
])
"""
"""Run by a process that was forked by one of its own user: what could it leave to the next one?"""


@every_layer
def test_a_read_only_run_has_no_place_for_traces(layer: str) -> None:
    source = f"""import os, sys
if not os.fork():
    exec({_TRACES!r})
    sys.stdout.flush()
    os._exit(0)
os.wait()
"""
    step = sandbox_of(layer).run(python(source, read_only=True)).steps[0]
    assert (step.code, step.text) == (0, f"{[False] * 6}\n"), step.errors
