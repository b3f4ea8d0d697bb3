import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fake_endpoint import Answer, FakeEndpoint, HttpReply, chat_body

from spiritsafe.core.errors import BudgetError, CompatibilityError, EndpointError, RecipeError, StorageError, TaskError
from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.core.process.platforms import Platform, read_platforms
from spiritsafe.core.records import Attempt, Message, Problem, Prompt, Sampling, Verdict
from spiritsafe.rollouts import (
    CollectReport,
    FakeGenerator,
    FakeReply,
    ReadTopLogprobs,
    RemoteConfig,
    RemoteGenerator,
    collect,
    read_attempts,
)
from spiritsafe.rollouts.attempts.collect import grade_attempt

TASK_CODE = """
from spiritsafe.core.records import Message, Problem, Verdict

class Equal:
    name = "equal"
    version = "1"

class SumTask:
    name = "sums"
    version = "1"
    verifier = Equal()

    def grade(self, problem, text):
        status = "correct" if text == problem.facts["answer"] else "wrong" if text.isdigit() else "unparsed"
        score = 1.0 if status == "correct" else 0.0
        return Verdict(status=status, score=score, answer=text, verifier="equal", version="1")

def problems(count):
    return [
        Problem(task="sums", canonical_text=f"{i}+1", messages=(Message(role="user", content=f"{i}+1?"),),
                facts={"answer": str(i + 1)}, solution=str(i + 1))
        for i in range(count)
    ]
"""
_namespace: dict[str, Any] = {}
exec(TASK_CODE, _namespace)  # the same code runs in the subprocesses below
TASK: Any = _namespace["SumTask"]()
problems: Callable[[int], list[Problem]] = _namespace["problems"]


def fake(given: Sequence[Problem], share: float = 0.5) -> FakeGenerator:
    return FakeGenerator.share_correct({p.id: p.solution or "" for p in given}, share, wrong="0")


def run(directory: Path, count: int = 10, **changes: Any) -> CollectReport:
    given = problems(count)
    arguments: dict[str, Any] = {"num_samples": 3, "seed": 1, "shard_size": 4}
    generator = changes.pop("generator", None) or fake(given)
    sampling = changes.pop("sampling", Sampling())
    task = changes.pop("task", TASK)
    given = changes.pop("problems", given)
    return collect(task, given, generator, sampling, directory=directory, **{**arguments, **changes})


class Watcher:
    def __init__(self) -> None:
        self.seen: list[tuple[float, float | None, str, str]] = []
        self.kept: list[tuple[str, dict[str, Any]]] = []

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        self.seen.append((done, total, unit, note))

    def metrics(self, kind: str, values: dict[str, Any]) -> None:
        self.kept.append((kind, values))


def rows(directory: Path) -> list[dict[str, Any]]:
    """All rows without seconds."""
    found = []
    for path in sorted(directory.glob("shard-*.parquet")):
        found += pq.read_table(path).drop_columns(["seconds"]).to_pylist()
    return found


def test_every_attempt_is_there_graded_and_in_order(tmp_path: Path) -> None:
    watcher = Watcher()
    report = run(tmp_path, events=watcher)
    given = problems(10)
    found = rows(tmp_path)
    assert [(r["problem_id"], r["sample_index"]) for r in found] == [(p.id, i) for p in given for i in range(3)]
    gold = {p.id: p.facts["answer"] for p in given}
    assert all((r["verdict_status"] == "correct") == (r["text"] == gold[r["problem_id"]]) for r in found)
    assert sorted(p.name for p in tmp_path.glob("shard-*")) == [f"shard-0000{i}.parquet" for i in range(3)]
    assert report.num_attempts == 30
    assert report.num_correct == sum(r["verdict_status"] == "correct" for r in found)
    assert 0 < report.num_correct < 30
    assert report.num_wrong == 30 - report.num_correct
    assert report.pass_rate == report.num_correct / 30
    assert (report.num_problems, report.num_shards, report.num_skipped_shards) == (10, 3, 0)
    assert report.num_tokens == sum(r["num_tokens"] for r in found)
    assert watcher.seen[-1] == (30, 30, "attempts", f"{report.num_correct} of 30 correct")
    assert [(kind, values["shard"], values["num_attempts"]) for kind, values in watcher.kept] == [
        ("shard", 0, 12),
        ("shard", 1, 12),
        ("shard", 2, 6),
    ]


def test_attempts_that_end_badly_are_kept_and_counted(tmp_path: Path) -> None:
    replies = [
        FakeReply(finish_reason="error", error="fire"),
        FakeReply(text="I cannot.", finish_reason="refused"),
        FakeReply(text="1", finish_reason="length"),
        FakeReply(text="hm"),
        FakeReply(text="7"),
    ]
    generator = FakeGenerator(lambda _, index: replies[index])
    report = run(tmp_path, count=1, generator=generator, num_samples=5)
    assert (report.num_errors, report.num_refused, report.num_truncated) == (1, 1, 1)
    assert (report.num_correct, report.num_wrong, report.num_unparsed, report.num_unscored) == (1, 1, 2, 1)
    assert report.pass_rate == 0.25
    first = rows(tmp_path)[0]
    assert (first["verdict_status"], first["verdict_reason"], first["error"]) == (
        "unscored",
        "no attempt: fire",
        "fire",
    )


def test_a_finished_collection_is_not_done_again(tmp_path: Path) -> None:
    first = run(tmp_path)
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir() if p.name != ".lock"}

    def never(problem_id: str, index: int) -> str:
        raise AssertionError("asked again")

    watcher = Watcher()
    again = run(tmp_path, generator=FakeGenerator(never), events=watcher)
    assert again == first.model_copy(update={"num_skipped_shards": 3})
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir() if p.name != ".lock"} == before
    assert watcher.seen[-1][:2] == (30, 30)


def test_only_what_is_missing_or_damaged_is_done_again(tmp_path: Path) -> None:
    first = run(tmp_path / "a")
    run(tmp_path / "b")
    (tmp_path / "b/shard-00000.parquet").unlink()
    damaged = tmp_path / "b/shard-00002.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    (tmp_path / "b/.shard-00001.parquet.x.tmp").write_bytes(b"left behind by a killed writer")
    again = run(tmp_path / "b")
    assert again == first.model_copy(update={"num_skipped_shards": 1})
    assert rows(tmp_path / "a") == rows(tmp_path / "b")
    assert not list((tmp_path / "b").glob(".*.tmp"))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"seed": 2}, "seed"),
        ({"num_samples": 4}, "num_samples"),
        ({"shard_size": 5}, "shard_size"),
        ({"sampling": Sampling(temperature=0.5)}, "sampling"),
        ({"generator": FakeGenerator(lambda *_: "1", name="other")}, "model"),
        ({"count": 11}, "problems"),
        ({"problems": problems(10)[::-1]}, "problems"),
    ],
)
def test_a_directory_of_other_inputs_is_refused(tmp_path: Path, change: dict[str, Any], word: str) -> None:
    run(tmp_path)
    before = rows(tmp_path)
    with pytest.raises(CompatibilityError, match=f"another {word}"):
        run(tmp_path, **change)
    assert rows(tmp_path) == before


def test_another_version_of_task_or_verifier_is_another_input(tmp_path: Path) -> None:
    run(tmp_path)
    newer = type("Newer", (type(TASK),), {"version": "2"})()
    with pytest.raises(CompatibilityError, match=r"another version \('1' there, '2' now\)"):
        run(tmp_path, task=newer)
    stricter = type(
        "Stricter", (type(TASK),), {"verifier": type("Verifier", (), {"name": "equal", "version": "2"})()}
    )()
    with pytest.raises(CompatibilityError, match=r"another verifier .*equal/1.*equal/2"):
        run(tmp_path, task=stricter)


def test_problems_that_changed_under_the_same_id_are_other_inputs(tmp_path: Path) -> None:
    run(tmp_path)
    reworded = [p.model_copy(update={"messages": (Message(role="user", content="?"),)}) for p in problems(10)]
    assert reworded[0].id == problems(1)[0].id
    with pytest.raises(CompatibilityError, match="another problems"):
        run(tmp_path, problems=reworded)


def test_shards_without_a_manifest_are_refused(tmp_path: Path) -> None:
    run(tmp_path)
    (tmp_path / "manifest.json").unlink()
    with pytest.raises(CompatibilityError, match="without a manifest"):
        run(tmp_path)


def test_bad_requests(tmp_path: Path) -> None:
    for change in ({"num_samples": 0}, {"shard_size": 0}):
        with pytest.raises(RecipeError):
            run(tmp_path, **change)
    with pytest.raises(TaskError, match="no problems"):
        run(tmp_path, problems=[])
    with pytest.raises(TaskError, match="twice"):
        run(tmp_path, problems=[*problems(2), *problems(1)])


class Sloppy:
    """A Generator that breaks the protocol's promise."""

    def __init__(self, change: Callable[[list[Attempt]], list[Attempt]]) -> None:
        self._inner = FakeGenerator(lambda *_: "1")
        self._change = change

    def describe(self) -> GeneratorInfo:
        return self._inner.describe()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        return iter(self._change(list(self._inner.generate(prompts, sampling))))

    def score(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[float, ...]]:
        return []

    def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda attempts: attempts[:-1], "1 attempts missing"),
        (lambda attempts: [*attempts, attempts[0]], "not asked for"),
        (lambda attempts: [attempts[0].model_copy(update={"problem_id": "x"})], "not asked for"),
    ],
)
def test_a_generator_that_breaks_its_promise(tmp_path: Path, change: Any, words: str) -> None:
    with pytest.raises(EndpointError, match=words):
        run(tmp_path, generator=Sloppy(change))
    assert not list(tmp_path.glob("shard-*"))


def test_the_order_of_arrival_does_not_matter(tmp_path: Path) -> None:
    first = run(tmp_path / "a", generator=Sloppy(lambda attempts: attempts))
    second = run(tmp_path / "b", generator=Sloppy(lambda attempts: attempts[::-1]))
    assert first == second
    assert rows(tmp_path / "a") == rows(tmp_path / "b")


def test_attempts_are_graded_as_they_arrive(tmp_path: Path) -> None:
    order: list[str] = []

    def answer(problem_id: str, index: int) -> str:
        order.append("drawn")
        return "1"

    class Noting(type(TASK)):  # type: ignore[misc]  # the class comes from exec
        def grade(self, problem: Problem, text: str) -> Verdict:
            order.append("graded")
            verdict: Verdict = super().grade(problem, text)
            return verdict

    run(tmp_path, count=1, generator=FakeGenerator(answer), task=Noting())
    assert order == ["drawn", "graded"] * 3


def test_a_remote_source_that_fails_leaves_finished_shards(
    tmp_path: Path, fake_endpoint: Callable[[Answer], FakeEndpoint]
) -> None:
    num_left = iter(range(14))
    down = HttpReply(status=401, body=b"")
    endpoint = fake_endpoint(lambda _: "1" if next(num_left, None) is not None else down)
    with RemoteGenerator(endpoint.url, "m", config=RemoteConfig(concurrency=1)) as generator:
        with pytest.raises(EndpointError, match="401"):
            run(tmp_path, generator=generator)
        assert [p.name for p in tmp_path.glob("shard-*")] == ["shard-00000.parquet"]
        num_left = iter(range(10**6))
        report = run(tmp_path, generator=generator)
    assert report.num_skipped_shards == 1
    assert report.num_attempts == 30


def test_grade_attempt_grades_what_has_a_text() -> None:
    (problem,) = problems(1)
    (attempt,) = FakeGenerator(lambda *_: "1").generate([Prompt(problem_id=problem.id, messages=())], Sampling())
    assert grade_attempt(TASK, problem, attempt).status == "correct"


SCRIPT = TASK_CODE + textwrap.dedent("""
    import sys, time
    from pathlib import Path
    from spiritsafe.core.records import Sampling
    from spiritsafe.rollouts import FakeGenerator, collect

    given = problems(int(sys.argv[2]))
    golds = {p.id: p.solution for p in given}
    inner = FakeGenerator.share_correct(golds, 0.5, wrong="0")
    def answer(problem_id, index):
        time.sleep(float(sys.argv[3]))
        return inner._answer(problem_id, index)
    collect(SumTask(), given, FakeGenerator(answer), Sampling(), num_samples=3, seed=1,
            directory=Path(sys.argv[1]), shard_size=4)
""")


def command(directory: Path, count: int, sleep_s: float) -> list[str]:
    return [sys.executable, "-c", SCRIPT, str(directory), str(count), str(sleep_s)]


def test_killed_and_repeated_equals_unbroken(tmp_path: Path) -> None:
    unbroken = run(tmp_path / "unbroken", count=40)
    broken = tmp_path / "broken"
    num_kills = 0
    for wanted in (2, 7):
        process = subprocess.Popen(command(broken, 40, 0.002))
        deadline = time.monotonic() + 60
        while len(list(broken.glob("shard-*"))) < wanted and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.001)
        time.sleep(0.005 * wanted)  # somewhere inside the next shard
        process.send_signal(signal.SIGKILL)
        num_kills += process.wait() == -signal.SIGKILL
    assert num_kills >= 1
    resumed = run(broken, count=40)
    assert resumed == unbroken.model_copy(update={"num_skipped_shards": resumed.num_skipped_shards})
    assert rows(broken) == rows(tmp_path / "unbroken")
    names = [sorted(p.name for p in d.iterdir()) for d in (broken, tmp_path / "unbroken")]
    assert names[0] == names[1]
    manifests = [json.loads((d / "manifest.json").read_text()) for d in (broken, tmp_path / "unbroken")]
    assert manifests[0] == manifests[1]


def test_two_at_once_share_the_work(tmp_path: Path) -> None:
    both = [subprocess.Popen(command(tmp_path / "both", 8, 0.001)) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    run(tmp_path / "one", count=8)
    assert rows(tmp_path / "both") == rows(tmp_path / "one")


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a directory")
    with pytest.raises(StorageError, match="cannot be written"):
        run(blocked / "x")
    if os.geteuid() == 0:  # root may write anywhere but here
        closed = Path("/proc/spiritsafe")
    else:
        closed = tmp_path / "closed"
        closed.mkdir()
        closed.chmod(0o500)
    with pytest.raises(StorageError) as caught:
        run(closed)
    assert caught.value.hint


def test_a_disk_that_fills_up_is_an_error_with_a_next_step(tmp_path: Path) -> None:
    """A file size limit stands in for a full disk: it needs no privilege, and writes fail half-way just the same."""
    code = textwrap.dedent(f"""
        import resource, sys
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
        from spiritsafe.core.errors import StorageError
        try:
            exec({SCRIPT!r})
        except StorageError as error:
            print(error.diagnostics())
            sys.exit(7)
    """)
    directory = tmp_path / "full"
    done = subprocess.run(
        [sys.executable, "-c", code, str(directory), "4", "0"], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 7, done.stderr
    assert "cannot be written" in done.stdout
    assert "run the same command again" in done.stdout
    assert [p.name for p in directory.iterdir() if p.suffix != ".json"] == [".lock"]  # nothing half-written stays
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 2048
    assert run(directory, count=4).num_attempts == 12


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    mount = shutil.which("mount")
    path = tmp_path / "disk"
    path.mkdir()
    made = mount and subprocess.run(
        [mount, "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(path)], capture_output=True, check=False
    )
    if not made or made.returncode != 0:
        pytest.skip("mounting needs privileges that this process lacks; the file size limit is tested instead")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_loses_nothing(small_disk: Path, tmp_path: Path) -> None:
    filler = small_disk / "filler"
    directory = small_disk / "attempts"
    run(directory, count=4)  # one shard fits
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"x" * 512):
            pass
    with pytest.raises(StorageError, match="No space left") as caught:
        run(directory.with_name("more"), count=10)
    assert "disk is full" in caught.value.hint
    assert run(directory, count=4).num_skipped_shards == 1
    filler.unlink()
    shutil.rmtree(directory)
    report = run(directory.with_name("more"), count=10)
    assert report == run(tmp_path / "elsewhere").model_copy(update={"num_skipped_shards": report.num_skipped_shards})


class Located:
    """A Generator that says where it computes."""

    def __init__(self, platform: Platform | None) -> None:
        self.inner = fake(problems(10))
        self.describe, self.score, self.close = self.inner.describe, self.inner.score, self.inner.close
        self.generate = self.inner.generate
        self.here = platform

    def platform(self) -> Platform | None:
        return self.here


def test_a_collection_that_goes_on_elsewhere_says_so_and_no_two_number_formats_are_mixed(tmp_path: Path) -> None:
    here = Platform(device="cpu", processor="A", torch="2", compute_dtype="bfloat16")
    elsewhere = here.model_copy(update={"processor": "B"})
    half = here.model_copy(update={"compute_dtype": "float32"})

    def warnings(platform: Platform | None, directory: Path = tmp_path) -> list[str]:
        watcher = Watcher()
        run(directory, generator=Located(platform), events=watcher)
        return [values["message"] for kind, values in watcher.kept if kind == "warning"]

    def interrupt(directory: Path = tmp_path) -> None:
        (directory / "shard-00001.parquet").unlink()

    assert warnings(here) == []
    assert warnings(elsewhere) == []  # nothing is left to draw
    assert read_platforms(tmp_path) == (here,)
    interrupt()
    assert warnings(here) == []
    interrupt()
    (said,) = warnings(elsewhere)
    assert "begun on A, torch 2, bfloat16 and goes on on B" in said
    interrupt()
    with pytest.raises(CompatibilityError, match="begun in bfloat16") as caught:
        warnings(half)
    assert "SPIRITSAFE_BF16=on" in caught.value.hint
    assert warnings(None) == []  # an endpoint: nobody can know
    # what an earlier version began
    old = tmp_path / "old"
    run(old)
    assert read_platforms(old) == ()
    interrupt(old)
    (said,) = warnings(half, old)
    assert "was not recorded" in said


def served(url: str, **changes: Any) -> RemoteGenerator:
    return RemoteGenerator(url, "m", config=RemoteConfig(concurrency=1, backoff_base_s=0.0, **changes))


def asked(endpoint: FakeEndpoint) -> list[tuple[str, int]]:
    return [(seen.body["messages"][0]["content"], seen.body["seed"]) for seen in endpoint.requests]


def test_what_an_endpoint_answered_is_never_asked_again(
    tmp_path: Path, fake_endpoint: Callable[[Answer], FakeEndpoint]
) -> None:
    """It goes away in the middle of the second shard of three; of that one, only the rest is asked again."""
    left = iter(range(17))
    endpoint = fake_endpoint(lambda _: "1" if next(left, None) is not None else HttpReply(status=401))
    with served(endpoint.url) as generator, pytest.raises(EndpointError, match="401"):
        run(tmp_path / "a", generator=generator)
    assert len((tmp_path / "a" / "answered-00001.jsonl").read_text().splitlines()) == 5
    with (tmp_path / "a" / "answered-00001.jsonl").open("ab") as file:
        file.write(b'{"attempt": {"problem')  # killed in the middle of a line

    second = fake_endpoint(lambda _: "1")
    with served(endpoint.url) as generator:
        left = iter(range(1000))
        report = run(tmp_path / "a", generator=generator)
    everything = asked(endpoint)
    assert len(everything) == 30 + 1  # the one that was answered with 401 twice
    assert len(set(everything)) == 30
    with served(second.url) as generator:
        run(tmp_path / "b", generator=generator)
    assert [{**row, "seconds": 0, "model": ""} for row in rows(tmp_path / "a")] == [
        {**row, "seconds": 0, "model": ""} for row in rows(tmp_path / "b")
    ]
    assert (report.num_attempts, report.num_skipped_shards) == (30, 1)
    assert not list((tmp_path / "a").glob("answered-*"))


def test_what_failed_is_asked_again_on_another_day_and_what_was_refused_is_not(
    tmp_path: Path, fake_endpoint: Callable[[Answer], FakeEndpoint]
) -> None:
    bad_day = True

    def answer(body: dict[str, Any]) -> str | HttpReply:
        question = body["messages"][0]["content"]
        if question == "2+1?":
            return HttpReply(status=400, body=b'{"error": {"code": "content_filter", "message": "no"}}')
        return HttpReply(reset=True) if bad_day and question in ("1+1?", "9+1?") else "1"

    endpoint = fake_endpoint(answer)
    with served(endpoint.url, max_tries=2) as generator:
        first = run(tmp_path, generator=generator)
        assert (first.num_errors, first.num_refused) == (6, 3)
        bad_day = False
        num_before = len(endpoint.requests)
        second = run(tmp_path, generator=generator)
        assert [question for question, _ in asked(endpoint)[num_before:]] == ["1+1?"] * 3 + ["9+1?"] * 3
        assert (second.num_errors, second.num_refused, second.num_skipped_shards) == (0, 3, 1)
        assert second.num_attempts == first.num_attempts == 30
        num_before = len(endpoint.requests)
        third = run(tmp_path, generator=generator)
    assert third == second.model_copy(update={"num_skipped_shards": 3})
    assert len(endpoint.requests) == num_before


def test_a_bad_second_day_loses_nothing_of_the_first(
    tmp_path: Path, fake_endpoint: Callable[[Answer], FakeEndpoint]
) -> None:
    endpoint = fake_endpoint(lambda body: HttpReply(reset=True) if body["messages"][0]["content"] == "1+1?" else "1")
    with served(endpoint.url, max_tries=1) as generator:
        first = run(tmp_path, generator=generator)
    before = rows(tmp_path)
    endpoint._answer = lambda _: HttpReply(status=401)
    with served(endpoint.url, max_tries=1) as generator, pytest.raises(EndpointError, match="401"):
        run(tmp_path, generator=generator)
    assert rows(tmp_path) == before
    assert first.num_errors == 3


def test_a_budget_counts_over_all_days_and_goes_on_when_it_is_raised(
    tmp_path: Path, fake_endpoint: Callable[[Answer], FakeEndpoint]
) -> None:
    """Each answer may take 20 + 8 tokens, once it is known what stands before a prompt, and takes 20 + 2.

    The first answer of a day is booked with 1 + 8: the estimate of its prompt is all that is known by then.
    """
    endpoint = fake_endpoint(lambda _: "1")
    sampling = Sampling(max_tokens=8)
    for tokens, num_answers in ((100, 4), (96, 4), (330, 14), (4000, 30)):
        with served(endpoint.url, budget={"tokens": tokens}) as generator:
            if num_answers < 30:
                with pytest.raises(BudgetError, match=f"{22 * num_answers} of {tokens} tokens"):
                    run(tmp_path, generator=generator, sampling=sampling)
            else:
                assert run(tmp_path, generator=generator, sampling=sampling).num_attempts == 30
        assert len(endpoint.requests) == num_answers
    assert len(set(asked(endpoint))) == 30


def test_likeliest_tokens_lie_beside_the_attempts(
    tmp_path: Path, fake_endpoint: Callable[[Answer], FakeEndpoint]
) -> None:
    def answer(body: dict[str, Any]) -> HttpReply:
        entry = {"token": "1", "bytes": [49], "logprob": -0.5, "top_logprobs": [{"token": "1", "logprob": -0.5}]}
        assert body["top_logprobs"] == 1
        return HttpReply(body=chat_body("1", logprobs={"content": [entry]}))

    with served(fake_endpoint(answer).url, top_logprobs=1) as generator:
        report = run(tmp_path / "with", generator=generator)
        assert generator.take_listing(problems(1)[0].id, 0) is None  # nothing is held
    listed = ReadTopLogprobs(tmp_path / "with")
    attempts = [attempt for attempt, _ in read_attempts(tmp_path / "with")]
    found = [listed.of(attempt) for attempt in attempts]
    one = {"id": None, "bytes": "31", "logprob": -0.5}
    assert found == [[{**one, "top": [one]}]] * 30
    with served(fake_endpoint(lambda _: "1").url) as generator:
        run(tmp_path / "without", generator=generator)
    assert not (tmp_path / "without" / "top-logprobs.jsonl").exists()
    assert report.num_attempts == 30
