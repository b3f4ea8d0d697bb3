"""Reports that were written before a run could have no exam or several."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from page_checker import PageChecker
from places import ROOT

from spiritsafe.core.errors import IntegrityError
from spiritsafe.report import ReportData, build_report, terminal_summary


def read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text("utf-8")))


REPORTS = sorted((ROOT / "experiments").glob("*/report.json"))
PUBLISHED = [path for path in REPORTS if "exams" not in read(path)]


def smallest() -> dict[str, Any]:
    return read(ROOT / "experiments" / "quickstart-zen4" / "report.json")


def test_some_were_published() -> None:
    assert len(PUBLISHED) >= 7
    assert len(PUBLISHED) < len(REPORTS)


@pytest.mark.parametrize("path", [p for p in REPORTS if p not in PUBLISHED], ids=lambda path: path.parent.name)
def test_one_of_today_is_read_as_it_is_written(path: Path) -> None:
    assert ReportData.from_json(read(path)).to_json() == read(path)


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.parent.name)
def test_every_published_report_is_read_with_all_its_numbers(path: Path) -> None:
    old = read(path)
    data = ReportData.from_json(old)
    (exam,) = data.exams
    assert [rung.name for rung in data.ladder] == [rung["name"] for rung in old["ladder"]]
    for rung, new in zip(old["ladder"], data.ladder, strict=True):
        score = exam.score_of(rung["name"])
        assert score is not None
        told = score.to_json()
        assert (new.role, new.num_parameters, new.weight_bytes) == (
            rung["role"],
            rung["num_parameters"],
            rung["weight_bytes"],
        )
        for name in ("sealed", "change", "gain_kept", "public", "tokens_per_s"):
            assert told[name] == rung[name], (rung["name"], name)
    gains = {row["name"]: row["gain"] for row in old.get("made", ()) if row["gain"]}
    assert {score.model: score.gain.to_json() for score in exam.scores if score.gain} == gains
    assert {"paper": exam.paper, "num_sealed": exam.num_sealed, "num_public": exam.num_public} == old["exam"]
    assert [one.to_json() for one in exam.outcomes] == old["outcomes"]
    assert [one.to_json() for one in exam.versus] == old.get("versus", [])
    assert exam.task == old["inputs"]["task"]["name"] == data.inputs.data[0].origin
    assert data.inputs.data[0].example == old["inputs"]["task"]["example"]
    assert ReportData.from_json(data.to_json()) == data


def test_its_page_and_its_table_can_be_made_again() -> None:
    data = ReportData.from_json(smallest())
    page = PageChecker(build_report(data))
    assert page.problems == []
    assert "student gained 37 points (+25 to +48) on the sealed exam, in 84 % of the teacher’s bytes." in page.text
    table = terminal_summary(data).replace("\u00a0", " ")
    assert "40.8 % [32.0–50.2]  +36.7 [+25.5, +47.8]" in table


def test_a_run_that_had_no_exam_has_none() -> None:
    old = smallest() | {"exam": None, "outcomes": [], "verification": None}
    old["ladder"] = [
        rung | {"sealed": None, "change": None, "gain_kept": None, "public": None} for rung in old["ladder"]
    ]
    data = ReportData.from_json(old)
    assert data.exams == ()
    assert len(data.unsat) == 3


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("inputs", "task"), None),
        (("inputs", "task", "name"), 7),
        (("ladder", 0, "sealed", "low"), "low"),
        (("ladder", 0), []),
        (("made", 0, "gain"), 0.5),
        (("exam",), "paper"),
        (("exam", "num_sealed"), -1),
        (("outcomes",), {}),
        (("verification", "separation"), "none"),
        (("stages", 0, "seconds"), None),
    ],
)
def test_a_damaged_one_is_refused(path: tuple[str | int, ...], value: object) -> None:
    old = smallest()
    place: Any = old
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    with pytest.raises(IntegrityError, match="Not a valid ReportData"):
        ReportData.from_json(old)


@pytest.mark.parametrize("strange", [None, [], {"inputs": []}, {"inputs": {"task": {}}}, "report"])
def test_what_is_no_report_is_refused(strange: object) -> None:
    with pytest.raises(IntegrityError, match="Not a valid ReportData"):
        ReportData.from_json(strange)
