from __future__ import annotations

import re
from pathlib import Path

import pytest
from page_checker import PageChecker

import spiritsafe.report as room
from spiritsafe.core.errors import StorageError
from spiritsafe.report import Inputs, LossPoint, ReportData, build_report, write_report
from spiritsafe.report.charts.loss_curves import MAX_POINTS


def test_the_page_is_well_formed(page: str) -> None:
    checker = PageChecker(page)
    assert checker.problems == []
    assert checker.tags.count("h1") == 1
    assert page.startswith('<!doctype html>\n<html lang="en">')


def test_the_page_loads_nothing_and_runs_nothing(page: str) -> None:
    checker = PageChecker(page)
    assert not {"script", "img", "iframe", "object", "embed", "base", "form"} & set(checker.tags)
    loading = [value for _, key, value in checker.attributes if key in ("src", "href", "srcset", "action")]
    assert all(value.startswith("#") or value == "data:," for value in loading)
    assert not re.search(r"https?:|@import|url\(", page)
    assert not [key for _, key, _ in checker.attributes if key.startswith("on") or key == "style"]


def test_hostile_names_everywhere_change_no_structure(data: ReportData) -> None:
    attack = "'\"></title></style><script src=//x></script>\u202e"
    text = data.model_dump_json()
    for name in ("SmolLM2-135M-sums-24L", "quickstart", "Apache-2.0", "worked solutions", "distil", "dev problem"):
        text = text.replace(f'"{name}"', '"' + attack.replace('"', '\\"') + '"')
    hostile = ReportData.model_validate_json(text)
    checker = PageChecker(build_report(hostile))
    assert checker.problems == []
    assert "script" not in checker.tags
    assert sorted(set(checker.tags)) == sorted(set(PageChecker(build_report(data)).tags))
    assert "⟨U+202E⟩" in checker.text


def _without_interval(text: str) -> list[str]:
    """Scores and changes with no interval behind them; shares of bytes ("3.6 % less") are measurements."""
    text = text.replace("\u00a0", " ")
    found = []
    for match in re.finditer(r"(?<![–\d.])(?<!to )−?\d+\.\d %", text):
        if not re.match(r" \(?[−\d.]+(–| to )[−\d.]+ %| less| more", text[match.end() :]):
            found.append(match.group())
    for match in re.finditer(r"(?<!to )(?<!\()[+−]\d+\.\d(?![\d%])(?! %)", text):
        if not re.match(r"( points)? \(?[+−]?\d+\.\d to [+−]?\d| to [+−]?\d", text[match.end() :]):
            found.append(match.group())
    return found


def test_every_score_has_an_interval(page: str) -> None:
    text = PageChecker(page).text
    assert len(re.findall(r"\d+\.\d %", text)) > 50
    assert _without_interval(text) == []


def test_a_score_without_interval_would_be_found() -> None:
    assert _without_interval("Sealed score 54.5 % Change") == ["54.5 %"]
    assert _without_interval("54.5 % (47.6–62.1 %), +51.0 points") == ["+51.0"]
    assert _without_interval("+51.0 points (+44.2 to +58.5), 3.6 % less") == []


def test_all_parts_are_there_and_reachable(page: str) -> None:
    checker = PageChecker(page)
    titles = ("The ladder", "Studying for the test?", "Every problem accounted for", "What went in", "Learning curves")
    more = ("Where the time went", "Sample transcripts", "Memory: predicted", "How to verify", "Licences and lineage")
    for title in (*titles, *more, "How to repeat it"):
        assert title in checker.text
    links = [value for tag, key, value in checker.attributes if tag == "a" and key == "href"]
    assert {"#ladder", "#public", "#outcomes", "#transcripts", "#verify", "#run"} <= set(links)


def test_a_run_without_anything_still_makes_a_page(data: ReportData) -> None:
    checker = PageChecker(build_report(ReportData(run=data.run, inputs=Inputs())))
    assert checker.problems == []
    assert "This run made no model; no exam in this recipe" in checker.text


def test_a_page_without_an_exam_keeps_all_promises(no_exam: ReportData) -> None:
    page = build_report(no_exam)
    checker = PageChecker(page)
    assert checker.problems == []
    assert _without_interval(PageChecker(build_report(no_exam.model_copy(update={"compute": ()}))).text) == []
    assert not {"script", "img", "iframe", "object", "embed", "base", "form"} & set(checker.tags)
    links = [value for _, key, value in checker.attributes if key == "href"]
    assert {"#ladder", "#measured", "#steps", "#curves", "#transcripts", "#memory", "#lineage"} <= set(links)
    assert not {"#public", "#outcomes"} & set(links)
    for shown in (
        "nothing here is certified",
        "Practice, never a certificate",
        "llama-r1",
        "rests on the maker’s word",
        "no certificate",
        "not graded",
        "ways: accuracy against compute, maths",
        "Learning curves",
    ):
        assert shown in checker.text, shown
    assert "sealed exam" not in checker.text.lower()
    assert "secret" not in page


def test_a_page_of_two_exams_keeps_all_promises(two_exams: ReportData) -> None:
    page = build_report(two_exams)
    checker = PageChecker(page)
    assert checker.problems == []
    assert _without_interval(checker.text) == []
    assert "qwen-sums gained 30 points" in checker.text
    attack = "'\"></svg></title><script src=//x></script>"
    text = two_exams.model_dump_json()
    for name in ("maths", "code", "qwen", "code:solve"):
        text = text.replace(f'"{name}"', '"' + name + attack.replace('"', '\\"') + '"')
    hostile = PageChecker(build_report(ReportData.model_validate_json(text)))
    assert hostile.problems == []
    assert "script" not in hostile.tags


def test_names_in_measures_and_data_change_no_structure(no_exam: ReportData) -> None:
    attack = "'\"></title></style><script src=//x></script>\u202e"
    text = no_exam.model_dump_json()
    for name in ("chats", "chats.jsonl", "held-out", "deepseek-r1", "llama", "ways", "Hello?"):
        text = text.replace(f'"{name}"', '"' + attack.replace('"', '\\"') + f'{name}"')
    hostile = PageChecker(build_report(ReportData.model_validate_json(text)))
    assert hostile.problems == []
    assert "script" not in hostile.tags


def test_the_size_stays_bounded(data: ReportData) -> None:
    losses = tuple(LossPoint(step=step, num_tokens=step, loss=1 / (step + 1)) for step in range(100 * MAX_POINTS))
    curve = data.curves[0].model_copy(update={"losses": losses})
    talk = data.transcripts[0].model_copy(update={"text": "<&>" * 100_000})
    large = data.model_copy(update={"curves": (curve,) * 3, "transcripts": (talk,) * 500})
    assert len(build_report(large).encode()) < 2_000_000
    assert len(build_report(data).encode()) < 200_000


def test_written_whole_or_not_at_all(tmp_path: Path, data: ReportData, page: str) -> None:
    write_report(tmp_path / "report.html", data)
    assert (tmp_path / "report.html").read_text("utf-8") == page
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_report(tmp_path / "file" / "report.html", data)


def test_public_names() -> None:
    assert sorted(room.__all__, key=lambda name: (not name.isupper(), name.islower(), name)) == room.__all__
    assert {"ReportData", "build_report", "terminal_summary", "write_report"} <= set(room.__all__)


def test_a_page_with_steps_keeps_all_promises(steps: ReportData) -> None:
    page = build_report(steps)
    checker = PageChecker(page)
    assert checker.problems == []
    assert _without_interval(checker.text) == []
    links = [value for _, key, value in checker.attributes if key == "href"]
    assert {"#steps", "#rewards"} <= set(links)
    attack = "'\"></svg></title><script src=//x></script>"
    text = steps.model_dump_json().replace('"SmolLM2-135M-sums"', '"' + attack.replace('"', '\\"') + '"')
    hostile = PageChecker(build_report(ReportData.model_validate_json(text)))
    assert hostile.problems == []
    assert "script" not in hostile.tags


def test_a_page_without_steps_names_no_such_part(page: str) -> None:
    assert "#rewards" not in page
    assert "#steps" not in page
