"""The grading pool: whatever a verifier does costs one attempt, and nothing of it is left."""

import importlib.util
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import hostile_task
import pytest
from hostile_task import PROBLEM

from spiritsafe.core.errors import TaskError
from spiritsafe.core.process.children.pool import shared_pool
from spiritsafe.core.records import Attempt, Problem, Sampling, Verdict
from spiritsafe.rollouts.attempts.collect import Grader, grade_attempt
from spiritsafe.tasks.families.mix import MixTask
from spiritsafe.tasks.grading.pool import GraderPool
from spiritsafe.tasks.registry import load_task
from spiritsafe.tasks.task import Draft, Task, Verifier

SOURCE = "hostile_task:HostileTask"
MARK = "SPIRITSAFE_TEST_GRADERS"
OK, RIGHT = (PROBLEM, "ok"), ["correct", "correct", "wrong", "correct"]

needs_gym = pytest.mark.skipif(
    importlib.util.find_spec("reasoning_gym") is None, reason="the extra gym is not installed"
)
needs_proc = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="counts processes in /proc")


def marked(mark: str = "") -> list[int]:
    """All processes that carry a mark, whoever their parent is, but for the children of the shared pool."""
    found = []
    shared = {child._process.pid for child in shared_pool()._idle}
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={os.getpid()}{mark}\0".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return [pid for pid in found if pid not in shared]


@pytest.fixture(scope="module", autouse=True)
def interrupts() -> Iterator[None]:
    """A shell that starts pytest in the background has it ignore Ctrl-C, and all that it starts."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module", autouse=True)
def mark(interrupts: None) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(MARK, str(os.getpid()))
        yield
    assert not Path("/proc").exists() or marked() == []


@pytest.fixture(scope="module")
def pool() -> Iterator[GraderPool]:
    with GraderPool(SOURCE, num_workers=1, wall_s=1.0, cpu_s=5, memory_bytes=512 << 20) as pool:
        yield pool


def outcome(pool: GraderPool, text: str) -> tuple[str, str]:
    """Status and reason of one attempt, once its neighbours in the batch turned out well."""
    before, deed, *after = pool.grade_many([OK, (PROBLEM, text), OK, (PROBLEM, "no"), OK])
    assert [verdict.status for verdict in (before, *after)] == RIGHT
    assert (deed.verifier, deed.version) == ("hostile", "1")
    return deed.status, deed.reason


@needs_proc
@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("sleep", "no verdict within 1 s"),
        ("stop itself", "no verdict within 1 s"),
        ("ignore the CPU limit and spin", "no verdict within 1 s"),
        ("fork and sleep", "it left processes running"),
        ("start a process", "it left processes running"),
        ("start a process in a session of its own", "it left processes running"),
        ("leave a grandchild", "it left processes running"),
        ("leave a daemon", "it left processes running"),
        ("leave a daemon and die", "its process ended with code 9"),
        ("multiply", "it started more than 64 processes"),
        ("allocate", "MemoryError: the memory limit was reached"),
        ("print", "it printed more than 1048576 bytes"),
        ("print errors", "it printed more than 1048576 bytes"),
        ("write a large file", "File too large"),
        ("raise", "ValueError: invalid literal for int() with base 10: 'junk'"),
        ("exit", "SystemExit: 3"),
        ("interrupt", "KeyboardInterrupt"),
        ("die", "its process ended with code 3"),
        ("crash", "its process was ended by SIGSEGV"),
        ("kill its keeper", "the keeper died"),
        ("write junk", "it wrote into the pipe of verdicts"),
        ("write half a line of junk", "it wrote into the pipe of verdicts"),
        ("write deep junk", "it wrote into the pipe of verdicts"),
        ("write much junk", "it wrote into the pipe of verdicts"),
        ("close all files", "its process ended"),
        ("lock and raise", "ValueError: the lock is not released"),
        ("give nothing", "TypeError: the verifier gave a NoneType, not a Verdict"),
        ("give text", "TypeError: the verifier gave a str, not a Verdict"),
        ("give a long answer", "the verdict is too long"),
    ],
)
def test_a_misdeed_costs_one_attempt_and_nothing_is_left_of_it(pool: GraderPool, deed: str, reason: str) -> None:
    status, found = outcome(pool, deed)
    assert status == "unscored"
    assert reason in found
    assert len(marked()) == 2  # a keeper and its worker


@pytest.mark.parametrize("deed", ["die later", "write junk later", "an alarm later", "print a little", "run a process"])
def test_what_a_verdict_leaves_behind_does_not_reach_the_next_attempt(pool: GraderPool, deed: str) -> None:
    assert outcome(pool, deed) == ("wrong", "")
    time.sleep(0.1)
    assert outcome(pool, "ok") == ("correct", "")


def test_a_leak_ends_with_its_process(pool: GraderPool) -> None:
    """Two fit into the limit; the third fails, and is repeated in a fresh process."""
    verdicts = pool.grade_many([(PROBLEM, "leak")] * 5 + [OK])
    assert [verdict.status for verdict in verdicts] == ["wrong"] * 5 + ["correct"]


def test_throughput_recovers(pool: GraderPool) -> None:
    def seconds() -> float:
        started = time.perf_counter()
        assert all(verdict.status == "correct" for verdict in pool.grade_many([OK] * 200))
        return time.perf_counter() - started

    before = min(seconds() for _ in range(3))
    pool.grade_many([(PROBLEM, deed) for deed in ("die", "raise", "write junk", "sleep")])
    assert min(seconds() for _ in range(5)) < 5 * before  # the least of several: others may use the machine


def test_children_share_the_memory_limit_and_cpu_seconds_are_counted() -> None:
    with GraderPool(SOURCE, num_workers=1, cpu_s=0.5, memory_bytes=512 << 20) as pool:
        assert outcome(pool, "allocate in children") == ("unscored", "its processes together reached the memory limit")
        assert outcome(pool, "spin") == ("unscored", "the limit of 0.5 CPU seconds was reached")


def test_workers_do_not_wait_for_each_other() -> None:
    """While one sleeps, the rest of the batch is graded, except the few that are already in its keeper's hands."""
    with GraderPool(SOURCE, num_workers=2, wall_s=1.0) as pool:
        texts = ["sleep", *(["ok", "no"] * 100)]
        started = time.perf_counter()
        verdicts = pool.grade_many([(PROBLEM, text) for text in texts])
        assert time.perf_counter() - started < 60.0  # a hundred times the limit, did they wait
    assert [verdict.status for verdict in verdicts] == ["unscored", *(["correct", "wrong"] * 100)]
    assert pool.grade_many([]) == []


def test_verdicts_are_those_of_the_task() -> None:
    task = load_task("arith:sums")
    texts = ["#### 7", "", "seven", "#### \ud800", "9" * 100_000, "\x00\n\n#### 12"]
    pairs = [(problem, text) for problem in task.problems("train", seed=0, count=20) for text in texts]
    pairs += [(problem, task.gold(problem)) for problem, _ in pairs]
    with GraderPool(task, num_workers=2) as pool:
        assert pool.grade_many(pairs) == [task.grade(problem, text) for problem, text in pairs]
        assert pool.grade(*pairs[-1]).status == "correct"


@needs_gym
@needs_proc
def test_a_verifier_that_is_isolated_anyhow_runs_in_the_worker_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    task = load_task("gym:spell_backward")
    pairs = [
        (problem, text) for problem in task.problems("train", seed=0, count=5) for text in (task.gold(problem), "x")
    ]
    monkeypatch.setenv(MARK, f"{os.getpid()}gym")
    with GraderPool(task, num_workers=1) as pool:
        assert pool.grade_many(pairs) == [task.grade(problem, text) for problem, text in pairs]
        assert len(marked("gym")) == 2


def test_it_stands_where_collection_wants_a_grader(pool: GraderPool) -> None:
    grader: Grader = pool
    assert grader.name.startswith("hostile_task:HostileTask?sha256=")
    assert (grader.version, grader.verifier.name, grader.verifier.version) == ("1", "hostile", "1")
    attempt = Attempt(
        problem_id=PROBLEM.id,
        sample_index=0,
        model="m",
        sampling=Sampling(),
        seed=0,
        text="ok",
        finish_reason="stop",
    )
    assert grade_attempt(grader, PROBLEM, attempt).status == "correct"


def test_threads_share_it() -> None:
    found: list[tuple[str, str]] = []
    with GraderPool(SOURCE, num_workers=2, wall_s=1.0) as pool:

        def work(text: str) -> None:
            found.extend((text, verdict.status) for verdict in pool.grade_many([(PROBLEM, text)] * 20))
            found.append((text, pool.grade(PROBLEM, text).status))

        threads = [threading.Thread(target=work, args=(text,)) for text in ("ok", "no", "die", "ok")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(set(found)) == [("die", "unscored"), ("no", "wrong"), ("ok", "correct")]
    assert len(found) == 84


def test_temporary_files_go_with_the_worker() -> None:
    with GraderPool(SOURCE, num_workers=1) as other:
        noted = Path(other.grade(PROBLEM, "write where it graded").answer or "")
        assert (noted / "note").read_text() == "x"
        other.grade(PROBLEM, "die")
        assert not noted.exists()
        noted = Path(other.grade(PROBLEM, "write where it graded").answer or "")
    assert not noted.parent.exists()


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("hostile_task:unbuildable", "RuntimeError: not in a child"),
        ("hostile_task:never_the_same", "it built"),
        ("hostile_task:NO_TASK", "made a dict, not a Task"),
        ("hostile_task:nothing", "hostile_task.py has no nothing"),
        ("arit:sums", "neither a task family nor a module"),
        ("arith:sum", 'no kind "sum"'),
        ("__main__:task", "its module is the program itself"),
        (hostile_task.A_TASK, "neither a task family nor a module"),
    ],
)
def test_what_cannot_be_graded_elsewhere_fails_at_once(source: object, message: str) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        GraderPool(source)  # type: ignore[arg-type]  # one of them is a Task
    assert caught.value.hint


def test_limits_that_make_no_sense_are_refused() -> None:
    for limits in ({"wall_s": 0.0}, {"cpu_s": -1}, {"memory_bytes": 0}, {"output_bytes": 0}, {"num_workers": 0}):
        with pytest.raises(TaskError):
            GraderPool(SOURCE, **limits)  # type: ignore[arg-type]  # one at a time
    with pytest.raises(TaskError, match="more than memory_bytes"):
        GraderPool(SOURCE, memory_bytes=1 << 20)
    with GraderPool("hostile_task:A_TASK", num_workers=1) as pool:
        assert pool.grade(*OK).status == "correct"


def test_ctrl_c_does_not_wait_for_the_rest_of_the_batch() -> None:
    with GraderPool(SOURCE, num_workers=2, wall_s=0.3) as pool:
        pool.grade_many([OK] * 8)
        timer = threading.Timer(0.2, signal.pthread_kill, [threading.get_ident(), signal.SIGINT])
        timer.start()
        started = time.perf_counter()
        with pytest.raises(KeyboardInterrupt):
            pool.grade_many([(PROBLEM, "sleep")] * 200)
        assert time.perf_counter() - started < 10.0
        timer.join()
        assert pool.grade(*OK).status == "correct"


SCRIPT = """
import os, sys
from hostile_task import PROBLEM
from spiritsafe.tasks.grading.pool import GraderPool
pool = GraderPool("hostile_task:HostileTask", num_workers=1, wall_s=60)
print(pool.grade(PROBLEM, "ok").status, flush=True)
"""


def run(rest: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, MARK: f"{os.getpid()}script", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return subprocess.run(
        [sys.executable, "-c", SCRIPT + rest], capture_output=True, text=True, check=False, env=environment
    )


@needs_proc
@pytest.mark.parametrize("deed", ["ok", "sleep"])
def test_everything_ends_when_the_pool_is_killed(deed: str) -> None:
    """Idle or in the middle of an attempt, as after kill -9."""
    rest = (
        "import threading, time\n"
        f"threading.Thread(target=pool.grade, args=(PROBLEM, {deed!r})).start()\n"
        "time.sleep(0.3)\n"
        "os._exit(0)\n"
    )
    assert run(rest).stdout.split() == ["correct"]
    deadline = time.monotonic() + 10
    while marked("script") and time.monotonic() < deadline:
        time.sleep(0.05)
    assert marked("script") == []


def test_a_forked_process_has_workers_of_its_own() -> None:
    rest = (
        "child = os.fork()\n"
        "print('own' if pool.grade(PROBLEM, 'ok').status == 'correct' else 'broken', flush=True)\n"
        "if not child: pool.close(); os._exit(0)\n"
        "os.waitpid(child, 0)\n"
        "pool.close()\n"
    )
    done = run(rest)
    assert done.stdout.split() == ["correct", "own", "own"], done.stderr


class _Sandboxed(Verifier):
    """Says in which process and thread it judges."""

    name = "sandboxed"
    version = "1"
    isolated = True
    sandboxed = True

    def judge(self, problem: Problem, text: str) -> Verdict:
        if text == "break":
            raise ValueError("broken")
        return self.verdict("wrong", reason=f"{os.getpid()} {threading.current_thread().name}", sandbox="walls")


class _Unable(_Sandboxed):
    def check_machine(self) -> None:
        raise TaskError("There is no sandbox here.", hint="Install one.")


class _CodeTask(Task):
    def __init__(self, verifier: Verifier) -> None:
        super().__init__(name="code:any", version="1", verifier=verifier)

    def _candidates(self, seed: int, *, exam: bool) -> Iterator[Draft]:
        yield from ()


def test_what_a_sandbox_holds_is_judged_in_threads_of_this_process() -> None:
    problem = Problem(task="code:any", canonical_text="x", messages=())
    with GraderPool(_CodeTask(_Sandboxed()), num_workers=2) as pool:
        assert not pool._idle
        verdicts = pool.grade_many([(problem, "a"), (problem, "break"), (problem, "b")])
        assert not pool._idle
    assert [verdict.status for verdict in verdicts] == ["wrong", "unscored", "wrong"]
    assert all(verdicts[place].reason.startswith(f"{os.getpid()} grader") for place in (0, 2))
    assert verdicts[0].sandbox == "walls"
    assert "sandbox" not in verdicts[1].to_json()


def test_a_mix_of_both_sends_each_where_it_belongs() -> None:
    task = MixTask([(_CodeTask(_Sandboxed()), 1), (load_task("arith:sums"), 1)])
    (sum_problem,) = task.parts[0].task.problems("train", seed=0, count=1)
    code = Problem(task="code:any", canonical_text="x", messages=())
    foreign = Problem(task="other:task", canonical_text="x", messages=())
    assert not task.verifier.sandboxed
    pool = GraderPool(load_task("arith:sums"), num_workers=1)
    pool._task, pool.verifier = task, task.verifier  # what a keeper builds anew has to have a spec
    with pool:
        answers = [(code, "a"), (sum_problem, f"#### {task.gold(sum_problem)}"), (foreign, "a"), (code, "b")]
        verdicts = pool.grade_many(answers)
    assert [verdict.status for verdict in verdicts] == [
        "wrong",
        "correct",
        "unparsed",
        "wrong",
    ]  # the third by the keeper
    assert verdicts[0].reason.startswith(str(os.getpid()))


def test_a_verifier_that_cannot_judge_here_says_so_before_any_attempt() -> None:
    with pytest.raises(TaskError, match="There is no sandbox here"):
        GraderPool(_CodeTask(_Unable()))
    with pytest.raises(TaskError, match="There is no sandbox here"):
        MixTask([(_CodeTask(_Unable()), 1), (load_task("arith:sums"), 1)]).verifier.check_machine()
