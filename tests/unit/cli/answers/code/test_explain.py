"""``spiritsafe code explain``: with models behind endpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from called import call, records_of
from click.testing import CliRunner
from compiled_parts import SHAPES_TESTS, write_shapes
from compilers import FORTRAN, compiler
from fake_endpoint import Answer, FakeEndpoint
from fake_subject import SOURCE, FakeSubject

from spiritsafe.assist.explaining.report import ExplanationsReport
from spiritsafe.assist.writing.report import TestsReport
from spiritsafe.cli.answers.code import command
from spiritsafe.cli.answers.code.report_folder import ReportFolder
from spiritsafe.core.canonical import digest_bytes
from spiritsafe.core.errors import RecipeError, SpiritsafeError, TaskError

Start = Callable[[Answer], FakeEndpoint]
PLAIN = "It gives the number that comes behind it in a row of small ones, without any exception."
TESTS = "".join(f"test t{number} wants return {number}\n" for number in range(6))


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file, and its subject."""
    path = tmp_path / "parts.py"
    path.write_text(SOURCE)
    monkeypatch.setattr("spiritsafe.assist.subjects_at", lambda path, **_: [FakeSubject(path=path)])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "spiritsafe-tests").mkdir()
    (tmp_path / "spiritsafe-tests" / "test_parts.py").write_text(TESTS)
    return path


def both(body: dict[str, Any]) -> str:
    """Explains; and writes the first parts anew, where it was told how."""
    question: str = body["messages"][-1]["content"]
    if not question.startswith("Write this part"):
        return PLAIN
    number = int(question.split("def part_")[1][0])
    right = PLAIN in question and number < 3
    return f"```python\ndef part_{number}():\n    return {number if right else 9}\n```"


def asked(endpoint: FakeEndpoint, path: Path, *arguments: str) -> list[str]:
    return ["explain", str(path), "--endpoint", endpoint.url, "--endpoint-model", "one", *arguments]


def test_a_page_and_a_record_are_written_and_nothing_else(parts: Path, tmp_path: Path, fake_endpoint: Start) -> None:
    def tree() -> dict[str, str]:
        files = [path for path in tmp_path.rglob("*") if path.is_file()]
        return {str(path.relative_to(tmp_path)): digest_bytes(path.read_bytes()) for path in files}

    before = tree()
    endpoint = fake_endpoint(both)
    text = call(command, *asked(endpoint, parts, "--fail-under", "0.5"))
    assert text.count("suffices\n") == 3
    assert text.count("does not suffice  fails t") == 3
    assert "wrote the code anew itself" in text
    after = tree()
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"spiritsafe-explained/parts.py.md", "spiritsafe-explained/report.json"}
    out = tmp_path / "spiritsafe-explained"
    assert (out / "parts.py.md").read_text().count("\n**suffices**") == 3
    (record,) = json.loads((out / "report.json").read_text())["files"]
    report = ExplanationsReport.from_json(record)
    assert report.tests_file == "spiritsafe-tests/test_parts.py"
    assert report.model_digest == report.rebuilder_digest


def test_another_model_can_write_anew_and_the_gate_closes(parts: Path, fake_endpoint: Start) -> None:
    explainer, rebuilder = fake_endpoint(lambda body: PLAIN), fake_endpoint(both)
    other = ["--rebuilder-endpoint", rebuilder.url, "--rebuilder-model", "two"]
    arguments = asked(explainer, parts, *other, "--fail-under", "0.6")
    done = CliRunner().invoke(command, arguments)
    assert isinstance(done.exception, SpiritsafeError)
    assert done.exception.exit_code == 1
    assert "50.0%, below 60.0%" in str(done.exception)
    assert (len(explainer.requests), len(rebuilder.requests)) == (6, 12)
    assert {request.body["model"] for request in rebuilder.requests} == {"two"}
    (record,) = records_of(command, *arguments[:-2], "--overwrite")
    assert record["model"].startswith("one at ")
    assert record["rebuilder"].startswith("two at ")


def test_what_does_not_fit_is_refused_before_anything_is_asked(
    parts: Path, tmp_path: Path, fake_endpoint: Start
) -> None:
    endpoint = fake_endpoint(both)
    with pytest.raises(RecipeError, match="half named"):
        call(command, *asked(endpoint, parts, "--rebuilder-model", "two"))
    with pytest.raises(RecipeError, match="is no file"):
        call(command, *asked(endpoint, tmp_path))
    (tmp_path / "bad").write_bytes(b"\xff")
    with pytest.raises(TaskError, match="not UTF-8"):
        call(command, *asked(endpoint, parts, "--tests", str(tmp_path / "bad")))
    (tmp_path / "spiritsafe-tests" / "test_parts.py").unlink()
    with pytest.raises(TaskError, match="There are no tests at"):
        call(command, *asked(endpoint, parts))
    assert endpoint.requests == []
    assert not (tmp_path / "spiritsafe-explained").exists()


def test_a_page_that_is_there_is_kept(parts: Path, tmp_path: Path, fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(both)
    (tmp_path / "spiritsafe-explained").mkdir()
    (tmp_path / "spiritsafe-explained" / "parts.py.md").write_text("mine")
    with pytest.raises(RecipeError, match="is there already"):
        call(command, *asked(endpoint, parts))
    assert endpoint.requests == []


def test_a_second_call_asks_nothing_where_nothing_changed(parts: Path, tmp_path: Path, fake_endpoint: Start) -> None:
    endpoint = fake_endpoint(both)
    arguments = asked(endpoint, parts)
    (first,) = records_of(command, *arguments)
    num = len(endpoint.requests)
    assert records_of(command, *arguments) == [first]
    assert "does not suffice  fails t" in call(command, *arguments)
    assert len(endpoint.requests) == num
    tests = tmp_path / "spiritsafe-tests" / "test_parts.py"
    tests.write_text(TESTS.replace("test t5 wants return 5\n", ""))
    call(command, *arguments)
    assert len(endpoint.requests) > num
    num = len(endpoint.requests)
    call(command, *arguments, "--rebuilder-endpoint", endpoint.url, "--rebuilder-model", "two")
    assert len(endpoint.requests) > num
    page = tmp_path / "spiritsafe-explained" / "parts.py.md"
    page.write_text(page.read_text() + "My own thoughts.\n")
    num = len(endpoint.requests)
    with pytest.raises(RecipeError, match="is there already, and not as `spiritsafe code explain` left it"):
        call(command, *arguments)
    assert len(endpoint.requests) == num


def test_several_files_share_a_folder(parts: Path, tmp_path: Path, fake_endpoint: Start) -> None:
    (tmp_path / "b").mkdir()
    other = tmp_path / "b" / "parts.py"
    other.write_text(SOURCE)
    endpoint = fake_endpoint(both)
    for path in (parts, other, parts, other):
        call(command, *asked(endpoint, path))
    out = tmp_path / "spiritsafe-explained"
    assert {path.name for path in out.iterdir()} == {"parts.py.md", "parts.py_b.md", "report.json"}
    assert len(json.loads((out / "report.json").read_text())["files"]) == 2


def test_tests_are_those_that_were_written_for_the_file(parts: Path, tmp_path: Path, fake_endpoint: Start) -> None:
    """Where two files have one name, that of the tests says little."""
    folder = ReportFolder(tmp_path / "spiritsafe-tests", TestsReport, "code tests", overwrite=True)
    report = TestsReport(path=str(parts), language="python", source_digest="", model="m", model_digest="d")
    folder.put(parts, "test_parts_a.py", {}, report, TESTS)
    (tmp_path / "spiritsafe-tests" / "test_parts.py").write_text("nonsense")
    (record,) = records_of(command, *asked(fake_endpoint(both), parts))
    assert record["tests_file"] == "spiritsafe-tests/test_parts_a.py"


def test_a_fortran_file_with_tests_of_ones_own(tmp_path: Path, fake_endpoint: Start) -> None:
    compiler(FORTRAN)
    path = write_shapes(tmp_path)
    (tmp_path / "own.f90").write_text(SHAPES_TESTS)
    endpoint = fake_endpoint(lambda body: "It is the greater one of two whole numbers, whichever is given first.")
    (record,) = records_of(
        command, *asked(endpoint, path, "--tests", str(tmp_path / "own.f90"), "--out", str(tmp_path / "out"))
    )
    assert [(one["name"], one["verdict"]) for one in record["routines"]] == [
        ("larger", "does not suffice"),
        ("scale", "does not suffice"),
    ]
    assert set(record["ignored"]) == {"test_wrong"}
