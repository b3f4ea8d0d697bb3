from __future__ import annotations

from report_parts import estimate
from rich.cells import cell_len

from spiritsafe.report import ReportData, terminal_summary
from spiritsafe.report.numbers import WIDTH


def test_the_ladder_with_intervals(data: ReportData) -> None:
    words = terminal_summary(data).replace("\u00a0", " ")
    assert words.startswith("SmolLM2-135M-sums-24L gained 51 points (+44 to +58)")
    assert "54.5 % [47.6–62.1]" in words
    assert "+51.0 [+44.2, +58.5]" in words
    assert "84 % [76–94]" in words
    assert "SmolLM2-135M-sums-24L     227 MB 84 %" in words
    assert "Cannot rule out studying" in words
    assert words.endswith("quickstart: 9 stages, 9 min 10 s; self-examined.")


def test_lines_are_never_wider_than_the_terminal(data: ReportData) -> None:
    wide = data.ladder[2].model_copy(
        update={"name": "模型" * 40, "weight_bytes": 10**13, "tokens_per_s": 123_456.0, "sealed": estimate(1.0, 0.0)}
    )
    for ladder in (data.ladder, (*data.ladder, wide)):
        for line in terminal_summary(data.model_copy(update={"ladder": ladder})).splitlines():
            assert cell_len(line) <= WIDTH


def test_names_cannot_drive_the_terminal(data: ReportData) -> None:
    evil = data.ladder[2].model_copy(update={"name": "\x1b[2J\x1b]0;owned\x07[bold red]m[/]\nnew line"})
    words = terminal_summary(data.model_copy(update={"ladder": (*data.ladder[:2], evil)}))
    assert "\x1b" not in words
    assert "\x07" not in words
    assert "[bold" in words


def test_missing_parts(data: ReportData) -> None:
    bare = ReportData(run=data.run, inputs=data.inputs)
    assert terminal_summary(bare).startswith("This run made no model.")
    assert "no certificate" in terminal_summary(bare)
    unsat = data.ladder[0].model_copy(update={"sealed": None, "public": None, "tokens_per_s": None})
    assert "did not sit" in terminal_summary(data.model_copy(update={"ladder": (unsat,)}))


def test_steps_have_a_table_and_their_findings(steps: ReportData) -> None:
    words = terminal_summary(steps).replace("\u00a0", " ")
    assert words.startswith("rl gained 17 points (+12 to +23) over SmolLM2-135M-sums")
    table = next(part for part in words.split("\n\n") if part.startswith("Made"))
    assert "1.28 PFLOP" in table
    assert "+17.0 [+12.0, +22.5]" in table
    assert "rl: It gained +17.0 points" in words
    assert "Warnings and alarms: 3, in the report." in " ".join(words.split())
    assert all(cell_len(line) <= WIDTH for line in words.splitlines())


def test_many_models_are_told_of_in_one_line(steps: ReportData) -> None:
    words = " ".join(terminal_summary(steps).split())
    assert "Public against sealed: 6 of 6 models show no sign of studying" in words
    assert "Cannot rule out" not in words
    rung = steps.ladder[3]
    assert rung.public is not None
    gap = rung.public.gap.model_copy(update={"p_value": 0.01})
    studied = rung.model_copy(update={"public": rung.public.model_copy(update={"gap": gap})})
    ladder = (*steps.ladder[:3], studied, *steps.ladder[4:])
    words = " ".join(terminal_summary(steps.model_copy(update={"ladder": ladder})).split())
    assert "5 of 6 models show no sign" in words
    assert f"{studied.name}: public minus sealed" in words
