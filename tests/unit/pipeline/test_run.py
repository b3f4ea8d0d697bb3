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

import psutil
import pytest
from finished_run import SMALLER, SilentWatcher, run_again
from pipeline_parts import context_after

from spiritsafe.core.canonical import JSON, digest, short
from spiritsafe.core.errors import BudgetError, CompatibilityError, RecipeError, SpiritsafeError, StorageError
from spiritsafe.core.process.platforms import in_a_row
from spiritsafe.pipeline import run
from spiritsafe.pipeline import run as running
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.load import load_recipe
from spiritsafe.pipeline.run import StageSpec, stages_of
from spiritsafe.pipeline.run_directory import RunDirectory, StageDirectory
from spiritsafe.training import loop


def test_the_paper_is_sealed_before_anything_is_trained() -> None:
    names = [stage.name for stage in stages_of(load_recipe("tiny")[0])]
    assert names.index("seal") < names.index("teach") < names.index("student") < names.index("exam")


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

    studied = [t.problem for path in tiny_run.rglob("*.jsonl") if path.parent.name[3:] in ("traces", "sample")
               for t in read_traces(path)]  # fmt: skip
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
    for stage in ("01-source", "02-seal"):
        shutil.copytree(tiny_run / "stages" / stage, copy / "stages" / stage)
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
    for stage, pause in (
        ("04-teach", 0.3),
        ("05-sample", 0.1),
        ("06-capture", 0.05),
        ("07-before-rl", 0.1),
        ("08-rl", 0.15),
        ("10-rl-random", 0.1),
        ("10-rl-random", 0.3),
        ("13-harvest", 0.1),
        ("14-tuned", 0.1),
        ("15-cut-student", 0.1),
        ("16-student", 0.2),
        ("18-on-policy", 0.3),
        ("19-exam", 1.0),
        ("19-exam", 4.0),
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


def test_torchrun_is_refused_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "x")
    with pytest.raises(RecipeError) as caught:
        run_again(tmp_path / "new")
    assert "spiritsafe.training.train" in caught.value.hint
    assert not (tmp_path / "new").exists()


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


def one_stage(context: RunContext, watcher: Warned, root: Path, name: str = "later") -> StageDirectory:
    """Run one more stage, which does nothing."""
    spec = StageSpec(name=name, work=lambda *_: {"summary": "done"}, settings={})
    stage = StageDirectory(root / name, {})
    root.mkdir(exist_ok=True)
    run._run_stage(replace(context, watcher=watcher, run=RunDirectory(root, "run", {})), spec, stage)
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
    spec = next(spec for spec in stages_of(context.recipe) if spec.name == "teach")
    stage = context.run.stage(4, "teach", {})
    with pytest.raises(BudgetError, match="Memory ran out: a further 23 MB") as raised:
        running._run_stage(context, spec, stage)
    assert "Run the same command again" in raised.value.hint
    assert f"micro_batch_tokens {raised.value.hint.split('micro_batch_tokens ')[1].split(';')[0]}" in raised.value.hint
    running._run_stage(context, spec, stage)
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
        running._run_stage(context, spec, context.run.stage(5, "sample", {}))
    assert "max_context" in raised.value.hint


def test_a_missed_prediction_is_an_event(tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "peak_bytes", lambda: 1 << 50)
    context = context_after(tiny_run, tmp_path / "runs")
    context.run.create("")
    running._run_stage(
        context, StageSpec(name="sample", work=lambda *args: {}, settings={}), context.run.stage(5, "sample", {})
    )
    kinds = {one["kind"]: one for one in map(json.loads, context.run.events.read_text("utf-8").splitlines())}
    assert "too low" in kinds["memory_missed"]["text"]
