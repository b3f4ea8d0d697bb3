from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from finished_run import SMALLER, SilentWatcher, run_again
from pipeline_parts import context_after

from spiritsafe.core.canonical import JSON, digest, short
from spiritsafe.core.errors import BudgetError, CompatibilityError, RecipeError, SpiritsafeError, StorageError
from spiritsafe.core.events import EventLog
from spiritsafe.core.process.platforms import in_a_row
from spiritsafe.core.records import Problem
from spiritsafe.models import default_cache
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.load import load_recipe, recipe_of
from spiritsafe.pipeline.run import run
from spiritsafe.pipeline.run import run as running
from spiritsafe.pipeline.run.stages import stages_of
from spiritsafe.pipeline.run_directory import RunDirectory, StageDirectory
from spiritsafe.pipeline.step import StageSpec
from spiritsafe.tracking import TrackedRun, Tracking
from spiritsafe.training import Parallel, loop


def test_the_paper_is_sealed_before_anything_is_trained() -> None:
    names = [stage.name for stage in stages_of(load_recipe("tiny")[0])]
    wanted = ["base", "lessons", "check", "seal", "teacher", "student", "exam", "report"]
    assert [name for name in names if name in wanted] == wanted


def test_what_trains_is_worked_on_by_all_processes_and_nothing_else() -> None:
    together = {stage.name for stage in stages_of(load_recipe("tiny")[0]) if stage.is_collective}
    assert together == {"teacher", "rl", "rl-random", "rl-format", "rl-rft", "tuned", "student", "on-policy"}


def test_every_stage_leaves_its_proof(tiny_run: Path) -> None:
    stages = sorted(path.name for path in (tiny_run / "stages").iterdir())
    assert [name[3:] for name in stages] == [s.name for s in stages_of(load_recipe("tiny", SMALLER)[0])]
    for name in stages:
        assert (tiny_run / "stages" / name / "done.json").is_file()
    assert (tiny_run / "report.html").read_text("utf-8").startswith("<!doctype html>")
    kinds = [json.loads(line)["kind"] for line in (tiny_run / "events.jsonl").read_text("utf-8").splitlines()]
    assert kinds.count("stage") == len(stages)
    assert "train_step" in kinds


def test_keys_are_private(tiny_run: Path) -> None:
    for path in (tiny_run / "keys").glob("*.json"):
        assert path.stat().st_mode & 0o077 == 0


def test_a_second_run_does_nothing(tiny_run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*.safetensors")}
    watcher = SilentWatcher()
    outcome = run_again(tiny_run.parent, watcher)
    assert outcome.num_run == 0
    assert outcome.directory == tiny_run
    assert watcher.began == []
    assert {path: path.stat().st_mtime_ns for path in tiny_run.rglob("*.safetensors")} == before


def test_no_exam_problem_lies_in_plain_text(tiny_run: Path) -> None:
    """Public problems stand in paper.json; sealed ones, and prompts of the exam bucket, nowhere."""
    from spiritsafe.pipeline.context import read_traces
    from spiritsafe.tasks import split_of

    studied = [trace.problem for path in tiny_run.rglob("traces.jsonl") for trace in read_traces(path)]
    studied += [
        Problem.from_json(json.loads(line))
        for path in tiny_run.rglob("problems.jsonl")
        for line in path.read_text("utf-8").splitlines()
    ]
    assert studied
    assert {split_of(problem) for problem in studied} == {"train"}
    assert not list(tiny_run.rglob("*sealed*.json"))


def fork_of(tiny_run: Path, root: Path) -> Path:
    """The run as it was when its paper had just been sealed."""
    copy = root / tiny_run.name
    (copy / "stages").mkdir(parents=True)
    for name in ("recipe.toml", "resolved.json"):
        shutil.copy(tiny_run / name, copy / name)
    shutil.copytree(tiny_run / "keys", copy / "keys")
    for stage in (path for path in (tiny_run / "stages").iterdir() if path.name < "09"):
        shutil.copytree(stage, copy / "stages" / stage.name)
    first = (tiny_run / "ledger.jsonl").read_bytes().split(b"\n")[0]
    (copy / "ledger.jsonl").write_bytes(first + b"\n")
    return copy


def results_of(run: Path) -> dict[str, object]:
    """What must not depend on interruptions: weights and the outcome of every try."""
    found: dict[str, object] = {}
    for path in sorted(run.glob("stages/*-exam/*.certificate.json")):
        result = json.loads(path.read_text("utf-8"))["result"]
        found[path.name] = [
            result["model_digest"],
            [[o["index"], o["half"], o["status"], o["score"], o["num_tokens"]] for o in result["outcomes"]],
        ]
    return found


def kill_tree(process: subprocess.Popen[bytes]) -> None:
    for child in [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]:
        try:
            child.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            continue
    process.wait()


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_any_stage_it_ends_in_the_same_certificates(tiny_run: Path, tmp_path: Path) -> None:
    copy = fork_of(tiny_run, tmp_path)
    command = [sys.executable, "-m", "spiritsafe", "run", "tiny", "--root", str(tmp_path)]
    for override in SMALLER:
        command += ["--set", override]
    stages = copy / "stages"
    # one kill in the middle of each of these stages: as soon as it has begun, and a moment later
    shutil.rmtree(stages / "05-pool")
    for stage, pause in (
        ("05-pool", 0.0),
        ("09-teacher", 0.3),
        ("10-sampled", 0.1),
        ("11-before-rl", 0.1),
        ("12-rl", 0.15),
        ("14-rl-random", 0.1),
        ("14-rl-random", 0.3),
        ("17-harvest", 0.1),
        ("18-tuned", 0.1),
        ("19-signal", 0.05),
        ("20-small", 0.1),
        ("21-student", 0.2),
        ("22-on-policy", 0.3),
        ("23-exam", 1.0),
        ("23-exam", 4.0),
    ):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 120
        while not (stages / stage / "inputs.json").exists() and process.poll() is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(pause)
        if process.poll() is None:
            kill_tree(process)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert results_of(copy) == results_of(tiny_run)
    assert len(results_of(copy)) == 9


def test_an_unwritable_root_is_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(StorageError) as caught:
        run_again(tmp_path / "new")
    assert "read-only" in caught.value.hint


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0 or not sys.platform.startswith("linux"), reason="needs root to mount a tmpfs")
def test_a_full_disk_is_one_clear_error_and_loses_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(disk)], check=False)
    if mounted.returncode != 0:
        pytest.skip("this machine does not let root mount a tmpfs")
    try:
        with pytest.raises(SpiritsafeError) as caught:
            run_again(disk)
        assert "full" in caught.value.diagnostics()
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        outcome = run_again(disk)
        assert outcome.num_skipped > 0
        assert outcome.report.is_file()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


class Warned(SilentWatcher):
    """Keeps warnings."""

    def __init__(self) -> None:
        super().__init__()
        self.warnings: list[str] = []

    def metrics(self, kind: str, values: dict[str, JSON]) -> None:
        if kind == "warning":
            self.warnings.append(str(values["message"]))


def work_on(context: RunContext, spec: StageSpec, stage: StageDirectory) -> None:
    """One stage, by one process, with no tracker."""
    nobody = TrackedRun(name="run", id="0", project="spiritsafe", directory=context.run.path)
    log = EventLog(context.run.events, stage="run")
    run._run_stage(context, spec, stage, Tracking((), nobody, log=log, watcher=context.watcher), Parallel())


def one_stage(context: RunContext, watcher: Warned, root: Path, name: str = "later") -> StageDirectory:
    """Run one more stage, which does nothing."""
    spec = StageSpec(name=name, work=lambda *_: {"summary": "done"}, settings={}, is_exact=name == "report")
    stage = StageDirectory(root / name, {})
    root.mkdir(exist_ok=True)
    work_on(replace(context, watcher=watcher, run=RunDirectory(root, "run", {})), spec, stage)
    return stage


def test_a_run_that_goes_on_elsewhere_says_so_once(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, watcher = context_after(tiny_run, tmp_path), Warned()
    (here,) = in_a_row(context.platforms().values())
    assert here is not None
    (tmp_path / f"run-{short(digest({}))}").mkdir()
    monkeypatch.setattr(run, "this_platform", lambda device, dtype: here)
    assert one_stage(context, watcher, tmp_path).platforms() == (here,)
    assert watcher.warnings == []
    elsewhere = here.model_copy(update={"processor": "Another", "instructions": "AVX2"})
    monkeypatch.setattr(run, "this_platform", lambda device, dtype: elsewhere)
    one_stage(context, watcher, tmp_path, "report")  # comes to the same everywhere
    assert watcher.warnings == []
    stage = one_stage(context, watcher, tmp_path)
    (said,) = watcher.warnings
    assert said.startswith("This run was begun on ")
    assert "goes on on Another, AVX2" in said
    assert stage.platforms() == (here, elsewhere)
    context.done["later"] = stage
    one_stage(context, watcher, tmp_path, "last")
    assert len(watcher.warnings) == 1  # it is on record
    assert context.platforms()["later"] == (here, elsewhere)
    half = "float32" if here.compute_dtype == "bfloat16" else "bfloat16"
    other_format = elsewhere.model_copy(update={"compute_dtype": half})
    monkeypatch.setattr(run, "this_platform", lambda device, dtype: other_format)
    with pytest.raises(CompatibilityError, match="which is another computation") as caught:
        one_stage(context, watcher, tmp_path, "refused")
    assert "SPIRITSAFE_BF16=" in caught.value.hint
    assert not (tmp_path / "refused").exists()


def test_the_report_says_on_what_a_run_was_begun_and_continued(tiny_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / tiny_run.name
    shutil.copytree(tiny_run, copy)
    (exam,) = copy.glob("stages/*-exam")
    held = json.loads((exam / "platforms.json").read_text())
    (exam / "platforms.json").write_text(json.dumps([*held, held[0] | {"processor": "Another"}]))
    (report,) = copy.glob("stages/*-report")
    (report / "done.json").unlink()
    assert run_again(tmp_path).num_run == 1
    page = (copy / "report.html").read_text("utf-8")
    assert "continued on Another" in page
    assert "Computed by more than one: exam" in page
    assert "continued on" not in (tiny_run / "report.html").read_text("utf-8")


def test_a_run_of_an_earlier_version_goes_on_and_its_platform_is_unknown(tiny_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / tiny_run.name
    shutil.copytree(tiny_run, copy)
    for path in copy.rglob("platforms.json"):
        path.unlink()
    watcher = Warned()
    (tmp_path / f"run-{short(digest({}))}").mkdir()
    one_stage(context_after(copy, tmp_path), watcher, tmp_path)
    (said,) = watcher.warnings
    assert "begun on a processor that was not recorded" in said


def test_a_stage_without_memory_says_what_the_same_command_will_do(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_after(tiny_run, tmp_path / "runs")
    context.run.create("")
    asked: list[int] = []
    original = loop.train

    def hungry(model, documents, objective, config, **more):  # type: ignore[no-untyped-def]
        asked.append(config.micro_batch_tokens)
        if len(asked) == 1:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 23068672 bytes.")
        return original(model, documents, objective, config, **more)

    monkeypatch.setattr("spiritsafe.pipeline.stages.training.train", hungry)
    spec = next(spec for spec in stages_of(context.recipe) if spec.name == "teacher")
    stage = context.run.stage(9, "teacher", {})
    with pytest.raises(BudgetError, match="Memory ran out: a further 23 MB") as raised:
        work_on(context, spec, stage)
    assert "Run the same command again" in raised.value.hint
    assert f"micro_batch_tokens {raised.value.hint.split('micro_batch_tokens ')[1].split(';')[0]}" in raised.value.hint
    work_on(context, spec, stage)
    assert asked[1] < asked[0]
    assert stage.is_done()
    kinds = [json.loads(line) for line in context.run.events.read_text("utf-8").splitlines()]
    assert any(one["kind"] == "memory" and "ran out before" in one["note"] for one in kinds)


def test_a_stage_without_memory_that_cannot_do_with_less_says_what_helps(tiny_run: Path, tmp_path: Path) -> None:
    def hungry(*args: object) -> dict[str, JSON]:
        raise MemoryError

    context = context_after(tiny_run, tmp_path / "runs")
    context.run.create("")
    spec = StageSpec(name="sample", work=hungry, settings={})
    with pytest.raises(BudgetError, match="Memory ran out") as raised:
        work_on(context, spec, context.run.stage(5, "sample", {}))
    assert "max_context" in raised.value.hint


def test_a_missed_prediction_is_an_event(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "peak_bytes", lambda: 1 << 50)
    context = context_after(tiny_run, tmp_path / "runs")
    context.run.create("")
    work_on(
        context, StageSpec(name="sampled", work=lambda *args: {}, settings={}), context.run.stage(10, "sampled", {})
    )
    kinds = {one["kind"]: one for one in map(json.loads, context.run.events.read_text("utf-8").splitlines())}
    assert "too low" in kinds["memory_missed"]["text"]


TASK = "arith:sums?terms=2&digits=1-2"
TRAIN = {"learning_rate": 3e-3, "tokens_per_step": 2048, "micro_batch_tokens": 2048, "max_steps": 2}
TUNE: dict[str, Any] = {"kind": "tune", "name": "t", "from": "base", "learns": ["lessons"], "train": TRAIN}
BASE: dict[str, Any] = {
    "name": "small",
    "models": {"base": {"source": "tiny:0"}},
    "data": {"lessons": {"task": TASK, "problems": 16}},
}


def small(root: Path, watcher: SilentWatcher | None = None, **tables: Any) -> running.RunOutcome:
    """A run over the tiny model and some sums."""
    recipe = recipe_of({**BASE, **tables})
    return running.run_recipe(recipe, "", root=root, cache=default_cache(), watcher=watcher or SilentWatcher())


@pytest.mark.slow
def test_one_step_and_no_exam_is_a_whole_run(tmp_path: Path) -> None:
    watcher = SilentWatcher()
    outcome = small(tmp_path, watcher, steps=[TUNE])
    assert watcher.began == ["base", "lessons", "check", "t", "report"]
    assert outcome.report.is_file()
    assert not (outcome.directory / "keys").exists()
    assert small(tmp_path, steps=[TUNE]).num_run == 0


@pytest.mark.slow
def test_given_models_sit_several_exams_and_nothing_is_made(tmp_path: Path) -> None:
    watcher = SilentWatcher()
    exams = [
        {"task": TASK, "problems": 4, "sampling": {"max_tokens": 4}},
        {"name": "long", "task": "arith:sums?terms=3", "problems": 4, "sits": ["other"], "sampling": {"max_tokens": 4}},
    ]
    models = {"base": {"source": "tiny:0"}, "other": {"source": "tiny:1"}}
    outcome = small(tmp_path, watcher, models=models, data={}, exams=exams)
    assert watcher.began == ["base", "other", "check", "seal", "seal-long", "exam", "exam-long", "report"]
    certificates = outcome.directory.glob("stages/*/*.certificate.json")
    assert sorted((path.parent.name[3:], path.name.partition(".")[0]) for path in certificates) == [
        ("exam", "base"),
        ("exam", "other"),
        ("exam-long", "other"),
    ]
    assert outcome.report.is_file()


SERVED = {"base": {"source": "tiny:0"}, "far": {"endpoint": "http://127.0.0.1:1/v1", "model": "m"}}
EXAM = {"task": TASK, "problems": 4}


@pytest.mark.parametrize(
    ("tables", "said"),
    [
        ({"steps": [TUNE], "exams": [{"task": "arith:nosuch", "problems": 4}]}, ['no kind "nosuch"']),
        (
            {
                "models": SERVED,
                "steps": [
                    {**TUNE, "from": "far"},
                    {"kind": "distil", "name": "d", "from": "base", "teacher": "far", "learns": ["lessons"]},
                    {"kind": "sample", "name": "s", "from": "far", "on": ["lessons"], "max_per_problem": 2},
                ],
                "exams": [EXAM],
            },
            ["t needs far itself", "d needs far itself", "s: max_per_problem is 2"],
        ),
        (
            {
                "steps": [{"kind": "cut", "name": "c", "from": "base", "max_bytes": 10, "calibrate": ["lessons"]}],
                "exams": [EXAM],
            },
            ["c: "],
        ),
    ],
    ids=["no such task", "weights behind an endpoint", "no layer fits"],
)
def test_what_cannot_work_is_told_at_once_and_before_anything_is_sealed(
    tmp_path: Path, tables: dict[str, Any], said: list[str]
) -> None:
    watcher = SilentWatcher()
    with pytest.raises(RecipeError) as caught:
        small(tmp_path, watcher, **tables)
    assert watcher.began[-1] == "check"
    for one in said:
        assert one in caught.value.message
    (run,) = tmp_path.iterdir()
    assert not list(run.glob("stages/*-seal*"))
    assert not (run / "ledger.jsonl").exists()
    assert not (run / "keys").exists()


@pytest.mark.slow
def test_edited_data_is_drawn_again_and_what_learnt_from_it_is_made_again(tmp_path: Path) -> None:
    def write(first: int) -> None:
        numbers = range(first, first + 24)
        turns = [
            ({"role": "user", "content": f"{n}?"}, {"role": "assistant", "content": f"It is {n}."}) for n in numbers
        ]
        lines = [json.dumps({"messages": turn}) for turn in turns]
        (tmp_path / "chats.jsonl").write_text("\n".join(lines) + "\n")

    data = {**BASE["data"], "chats": {"files": [str(tmp_path / "chats.jsonl")]}}
    steps = [TUNE, {**TUNE, "name": "u", "learns": ["chats"]}]
    write(0)
    small(tmp_path / "runs", data=data, steps=steps)
    assert small(tmp_path / "runs", data=data, steps=steps).num_run == 0
    write(100)
    watcher = SilentWatcher()
    small(tmp_path / "runs", watcher, data=data, steps=steps)
    assert (watcher.began, watcher.skipped) == (["chats", "check", "u", "report"], ["base", "lessons", "t"])
