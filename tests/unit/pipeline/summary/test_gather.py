from __future__ import annotations

import json
import shutil
from pathlib import Path

import click
import pytest
from finished_run import SilentWatcher
from page_checker import PageChecker
from pipeline_parts import context_after
from places import ROOT

from spiritsafe.cli import cli
from spiritsafe.core.errors import SourceError
from spiritsafe.core.events import EventLog
from spiritsafe.exam import host_software
from spiritsafe.pipeline import load_recipe, run_recipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.measuring.measure import measures_of
from spiritsafe.pipeline.summary import gather as summary
from spiritsafe.pipeline.summary.gather import rebuild_report, report_data
from spiritsafe.report import ReportData, terminal_summary


def data_of(run: Path) -> dict[str, object]:
    return dict(json.loads(next(run.glob("stages/*-report/report.json")).read_text("utf-8")))


def test_the_report_agrees_with_the_certificates(tiny_run: Path) -> None:
    data = data_of(tiny_run)
    certificates = {
        path.name.split(".")[0]: json.loads(path.read_text("utf-8"))
        for path in tiny_run.glob("stages/*-exam/*.certificate.json")
    }
    made = ["rl", "rl-random", "rl-format", "rl-rft", "tuned", "student", "on-policy"]
    assert {rung["name"] for rung in data["ladder"]} == {"base", "teacher", "small", *made}  # type: ignore[attr-defined, index, union-attr]
    (exam,) = data["exams"]  # type: ignore[misc]
    assert [score["model"] for score in exam["scores"]] == ["base", "teacher", *made]
    for score in exam["scores"]:
        assert score["sealed"] == certificates[score["model"]]["result"]["sealed"]["accuracy"]
        assert score["public"]["statement"] == certificates[score["model"]]["result"]["gap_statement"]
        assert (score["against"] is None) == (score["model"] == "base")
    for row in exam["outcomes"]:
        assert sum(row["counts"].values()) == 6


def test_transcripts_are_training_problems(tiny_run: Path) -> None:
    splits = {transcript["split"] for transcript in data_of(tiny_run)["transcripts"]}  # type: ignore[attr-defined]
    assert splits == {"train"}


def test_trace_counts_add_up(tiny_run: Path) -> None:
    for row in data_of(tiny_run)["inputs"]["traces"]:  # type: ignore[index]
        assert row["num_verified"] + sum(row["dropped"].values()) == row["num_asked"]


def test_predicted_memory_stands_beside_the_measured(tiny_run: Path) -> None:
    rows = {row["what"]: row for row in data_of(tiny_run)["memory"]}  # type: ignore[attr-defined]
    steps = {"rl", "rl-random", "rl-format", "rl-rft", "harvest", "tuned"}
    assert set(rows) == {"teacher", "sampled", "signal", "student", "on-policy"} | steps
    assert all(row["measured_bytes"] for row in rows.values())


def test_a_prediction_that_fails_costs_nothing_else(
    tiny_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object, **kwargs: object) -> None:
        raise KeyError("hidden_size")

    monkeypatch.setattr(summary, "predicted_memory", fails)
    rows = summary.memory_uses(context_after(tiny_run, tmp_path), {"teacher": 5, "exam": 6})
    assert {"teacher", "exam"} == {row.what for row in rows}
    for row in rows:
        assert row.predicted_bytes is None
        assert row.note.startswith("not predicted: KeyError")
        assert row.measured_bytes


def test_a_checkpoint_that_was_copied_is_no_miss_of_the_plan(tiny_run: Path, tmp_path: Path) -> None:
    """Whether there is memory to spare for it is known only when it is made."""
    context = context_after(tiny_run, tmp_path)
    context.run.create("")
    (planned,) = (use for use in summary.memory_uses(context, {}) if use.what == "teacher")
    assert planned.predicted_bytes is not None
    EventLog(context.run.events, stage="teacher").metrics("checkpoint", {"copied_bytes": 1_000_000_000})
    measured = planned.predicted_bytes + 950_000_000
    (use,) = (use for use in summary.memory_uses(context, {"teacher": measured}) if use.what == "teacher")
    assert use.predicted_bytes == planned.predicted_bytes + 1_000_000_000
    assert use.missed is None


def test_the_page_can_be_built_again(tiny_run: Path) -> None:
    before = (tiny_run / "report.html").read_text("utf-8")
    assert rebuild_report(tiny_run).read_text("utf-8") == before
    assert "student" in terminal_summary(report_data(tiny_run))


def test_a_run_that_an_earlier_version_finished_is_shown_as_before(tmp_path: Path) -> None:
    stage = tmp_path / "stages" / "9f2c-report"
    stage.mkdir(parents=True)
    shutil.copy(ROOT / "experiments" / "quickstart-zen4" / "report.json", stage / "report.json")
    assert "student gained 37 points (+25 to +48) on the sealed exam" in rebuild_report(tmp_path).read_text("utf-8")
    assert "40.8\u00a0% [32.0–50.2]" in terminal_summary(report_data(tmp_path))


def test_an_unfinished_run_has_no_report(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no report yet"):
        report_data(tmp_path)


def test_the_commands_it_shows_can_be_called(tiny_run: Path) -> None:
    steps = [step["command"].split() for step in data_of(tiny_run)["exams"][0]["verification"]["steps"]]  # type: ignore[index]
    context = click.Context(cli)
    for program, name, *rest in steps:
        command = cli.get_command(context, name)
        assert (program, command is not None) == ("spiritsafe", True)
        if isinstance(command, click.Group):
            command, rest = command.commands[rest[0]], rest[1:]
        assert command is not None
        required = {p.opts[0] for p in command.params if isinstance(p, click.Option) and p.required}
        assert required <= set(rest), f"{name} needs {required - set(rest)}"


RECIPE = """
name = "no-exam"
[models.base]
source = "tiny:0?hidden=32"
[data.chats]
task = "talk_task:talks"
problems = 24
[[steps]]
kind = "tune"
name = "taught"
from = "base"
learns = ["chats"]
train = { max_steps = 3 }
[[steps]]
kind = "sample"
name = "said"
from = "taught"
on = ["chats"]
keep = "all"
sampling = { temperature = 1.0, max_tokens = 4 }
[[steps]]
kind = "measure"
name = "held-out"
from = ["base", "taught"]
on = ["chats"]
what = ["nll", "kl:base"]
problems = 6
"""


@pytest.mark.slow
def test_a_run_without_an_exam_shows_what_it_made_and_certifies_nothing(tmp_path: Path) -> None:
    path = tmp_path / "no-exam.toml"
    path.write_text(RECIPE, "utf-8")
    recipe, text = load_recipe(str(path))
    outcome = run_recipe(recipe, text, root=tmp_path, cache=tmp_path / "cache", watcher=SilentWatcher())
    data = ReportData.from_json(data_of(outcome.directory))
    assert data.exams == ()
    assert [(rung.name, rung.role) for rung in data.ladder] == [("base", "base"), ("taught", "tuned")]
    assert [row.name for row in data.made] == ["taught", "said"]
    assert {talk.verdict for talk in data.transcripts} == {None}  # nothing here can grade a conversation
    assert data.run.versions == host_software()
    assert [(one.model, one.what, one.unit) for one in data.measured] == [
        (model, what, unit)
        for model in ("base", "taught")
        for what, unit in (("nll", "nats a token"), ("nll", "bits a byte"), ("kl:base", "nats a token"))
    ]
    own = measures_of(StageDirectory(next(outcome.directory.glob("stages/*-held-out")), {}))
    assert own.rows[1].held_out is not None
    assert own.rows[1].held_out_change is not None
    assert data.measured[3].value == own.rows[1].held_out.nats_per_token
    assert data.measured[3].difference == own.rows[1].held_out_change.nats_per_token
    assert (data.measured[3].against, data.measured[0].against) == ("base", None)
    page = PageChecker(outcome.report.read_text("utf-8"))
    assert page.problems == []
    assert "nothing here is certified" in page.text
    assert "Practice, never a certificate" in page.text
    assert not list(outcome.directory.glob("stages/*-exam"))
    assert not (outcome.directory / "keys").exists()
