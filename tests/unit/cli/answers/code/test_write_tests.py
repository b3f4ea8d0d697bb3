"""``spiritsafe code tests``: with a model behind an endpoint, on real code in a real sandbox."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from called import call, records_of
from click.testing import CliRunner
from compiled_parts import SHAPES_TESTS, TAX_TESTS, write_shapes, write_tax
from compilers import COBOL, FORTRAN, compiler
from fake_endpoint import Answer, FakeEndpoint, HttpReply, chat_body, error_body
from fake_subject import FakeSubject, answer

import spiritsafe
from spiritsafe import assist, cli
from spiritsafe.assist.writing.report import TestsReport
from spiritsafe.cli.answers.code import command
from spiritsafe.cli.answers.code.write_tests import files_of_tests
from spiritsafe.core.canonical import digest_bytes
from spiritsafe.core.errors import EndpointError, RecipeError, SourceError, SpiritsafeError, TaskError

Start = Callable[[Answer], FakeEndpoint]


PRICES = """def tax(net):
    return round(net * 0.2, 2)


def shipping(weight):
    if weight <= 0:
        return 0
    return 300 + 120 * weight


def unused():
    return None
"""
PRICES_TESTS = """from prices import shipping, tax


def test_tax():
    assert tax(12.34) == 2.47


def test_shipping():
    assert [shipping(0), shipping(1), shipping(2), shipping(-3)] == [0, 420, 540, 0]
"""


def asked(endpoint: FakeEndpoint, *arguments: str) -> list[str]:
    return ["tests", *arguments, "--endpoint", endpoint.url, "--endpoint-model", "fake"]


def tree(folder: Path) -> dict[str, str]:
    """Digests of all files below a folder."""
    return {
        str(path.relative_to(folder)): digest_bytes(path.read_bytes()) for path in folder.rglob("*") if path.is_file()
    }


def fortran(text: str) -> str:
    return f"```fortran\n{text}```"


@pytest.fixture
def fake_subjects(monkeypatch: pytest.MonkeyPatch) -> list[FakeSubject]:
    """What the command finds, instead of code."""
    found = [FakeSubject(path=Path("parts.py"))]
    monkeypatch.setattr("spiritsafe.assist.subjects_at", lambda path, *, most_mutants, seed: found)
    return found


def test_a_good_model_leaves_tests_that_were_run(tmp_path: Path, fake_endpoint: Start) -> None:
    compiler(FORTRAN)
    source = write_shapes(tmp_path)
    before = tree(tmp_path)
    endpoint = fake_endpoint(lambda body: fortran(SHAPES_TESTS))
    out = tmp_path / "out"
    text = call(command, *asked(endpoint, str(source), "--out", str(out), "--fail-under", "1"))
    assert re.search(r"15/15 +2 +1 +0 +100% +1 ", text), text
    after = tree(tmp_path)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"out/test_shapes.f90", "out/report.json"}
    written = (out / "test_shapes.f90").read_text()
    assert "test_larger" in written
    assert "test_wrong" not in written
    value = json.loads((out / "report.json").read_text())
    (report,) = [TestsReport.from_json(one) for one in value["files"]]
    assert value["spiritsafe"] == spiritsafe.__version__
    assert (report.killed, report.mutants, report.tests_file) == (15, 15, "test_shapes.f90")
    assert report.coverage == 1.0
    assert report.source_digest == digest_bytes(source.read_bytes())
    assert report.sandbox in ("namespaces", "namespaces+cgroup", "landlock")
    assert [one.name for one in report.invalid] == ["test_wrong"]
    assert report.cost.tokens_in > 0
    assert report.cost.tokens_out > 0


def test_a_lazy_model_is_told_what_survives_and_the_gate_closes(tmp_path: Path, fake_endpoint: Start) -> None:
    compiler(COBOL)
    source = write_tax(tmp_path)
    lazy = TAX_TESTS[: TAX_TESTS.index("IDENTIFICATION", 40)]
    endpoint = fake_endpoint(lambda body: f"```cobol\n{lazy}```")
    out = tmp_path / "out"
    arguments = asked(endpoint, str(source), "--out", str(out), "--fail-under", "0.9")
    done = CliRunner().invoke(command, arguments)
    assert isinstance(done.exception, SpiritsafeError)
    assert done.exception.exit_code == 1
    assert "below 90.0%" in str(done.exception)
    assert len(endpoint.requests) == 3  # two without gain
    assert "No test notices" in endpoint.requests[1].body["messages"][0]["content"]
    assert (out / "test_tax.cob").exists()
    assert (out / "report.json").exists()


def test_a_file_without_tests_says_why(fake_subjects: list[FakeSubject], tmp_path: Path, fake_endpoint: Start) -> None:
    fake_subjects.append(FakeSubject(path=Path("\x1b[2Jb.py")))
    replies = iter(["I cannot.", answer("test a fails"), answer("test c kills 0 1 2 3 4 5")])
    endpoint = fake_endpoint(lambda body: next(replies))
    text = call(command, *asked(endpoint, str(tmp_path), "--out", str(tmp_path / "out"), "--budget", "1"))
    assert "parts.py: no test is kept: it has no block of code with tests\n" in text
    assert "⟨U+001B⟩[2Jb.py: no test is kept: it fails: no\n" in text
    fake_subjects.pop()
    text = call(command, *asked(endpoint, str(tmp_path), "--out", str(tmp_path / "b"), "--budget", "1"))
    assert "no test is kept" not in text


@pytest.mark.slow
def test_a_python_module_gets_a_file_that_pytest_runs_and_explanations_that_it_decides(
    tmp_path: Path, fake_endpoint: Start
) -> None:
    (tmp_path / "shop").mkdir()
    source = tmp_path / "shop" / "prices.py"
    source.write_text(PRICES)
    flaky = "import random\ndef test_flaky():\n    assert sum(random.random() < 0.5 for _ in range(3)) == 1\n"
    endpoint = fake_endpoint(lambda body: f"```python\n{PRICES_TESTS}\n\n{flaky}```")
    out = tmp_path / "out"
    (record,) = records_of(command, *asked(endpoint, str(source), "--out", str(out), "--budget", "2"))
    report = TestsReport.from_json(record)
    assert {one.name for one in report.kept} <= {"test_tax", "test_shipping"}
    assert {one.name for one in report.invalid} == {"test_flaky"}
    assert report.killed > 0.8 * report.mutants
    assert report.coverage == 0.8  # nothing runs the last function
    environment = {**os.environ, "PYTHONPATH": str(source.parent)}
    ran = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(out)]
    done = subprocess.run(ran, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert re.search(rf"^{len(report.kept)} passed", done.stdout, re.MULTILINE), done.stdout

    def explains(body: dict[str, Any]) -> str:
        question: str = body["messages"][0]["content"]
        if not question.startswith("Write this part"):
            return "It is the fee in cents, in small steps by how heavy the parcel weighs."
        is_shipping = "def shipping" in question and "in cents" in question
        return f"```python\n{PRICES if is_shipping else PRICES.replace('300', '301').replace('0.2', '0.3')}```"

    other = fake_endpoint(explains)
    (explained,) = records_of(
        command,
        *("explain", str(source), "--tests", str(out / "test_prices.py"), "--out", str(tmp_path / "explained")),
        *("--endpoint", other.url, "--endpoint-model", "m"),
    )
    assert [(one["name"], one["verdict"]) for one in explained["routines"]] == [
        ("tax", "does not suffice"),
        ("shipping", "suffices"),
        ("unused", "not shown"),
    ]


def test_json_prints_the_records_and_nothing_else(
    tmp_path: Path, fake_endpoint: Start, fake_subjects: list[FakeSubject]
) -> None:
    fake_subjects.append(FakeSubject(path=Path("b/parts.py")))
    endpoint = fake_endpoint(lambda body: answer("test a kills 0 1 2 3 4 5"))
    records = records_of(command, *asked(endpoint, str(tmp_path), "--out", str(tmp_path / "out")))
    assert [TestsReport.from_json(one).killed for one in records] == [6, 6]
    assert [one["tests_file"] for one in records] == ["test_parts.py", "test_parts_b.py"]
    assert records == json.loads((tmp_path / "out" / "report.json").read_text())["files"]


def test_a_hostile_model_leaves_a_report_and_no_tests(
    tmp_path: Path, fake_endpoint: Start, fake_subjects: list[FakeSubject]
) -> None:
    hostile = iter(["", "```python\nnonsense test\n```", HttpReply(status=400, body=error_body("no"))])
    endpoint = fake_endpoint(lambda body: next(hostile, "x" * 300_000))
    text = call(command, *asked(endpoint, str(tmp_path), "--out", str(tmp_path / "out")))
    assert "0/6" in text
    assert os.listdir(tmp_path / "out") == ["report.json"]


def test_an_endpoint_that_is_not_there_has_its_own_code(tmp_path: Path, fake_subjects: list[FakeSubject]) -> None:
    arguments = ["tests", str(tmp_path), "--out", str(tmp_path / "out")]
    gone = ["--endpoint", "http://127.0.0.1:9/v1", "--endpoint-model", "m", "--request-tries", "1"]
    done = CliRunner().invoke(command, [*arguments, *gone])
    assert isinstance(done.exception, EndpointError)
    done = CliRunner().invoke(command, arguments)
    assert isinstance(done.exception, RecipeError)
    assert not (tmp_path / "out").exists()


def test_what_is_there_is_kept_unless_it_may_be_replaced(
    tmp_path: Path, fake_endpoint: Start, fake_subjects: list[FakeSubject]
) -> None:
    endpoint = fake_endpoint(lambda body: answer("test a kills 0 1 2 3 4 5"))
    out = tmp_path / "out"
    out.mkdir()
    (out / "test_parts.py").write_text("mine")
    (out / "other.py").write_text("mine too")
    arguments = asked(endpoint, str(tmp_path), "--out", str(out))
    with pytest.raises(RecipeError, match="is there already"):
        call(command, *arguments)
    assert endpoint.requests == []
    assert tree(out).keys() == {"test_parts.py", "other.py"}
    call(command, *arguments, "--overwrite")
    assert (out / "test_parts.py").read_text() == "test a kills 0 1 2 3 4 5"
    assert (out / "other.py").read_text() == "mine too"


def test_no_output_takes_the_place_of_the_code(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="would replace what PATH names"):
        call(command, "tests", str(tmp_path), "--out", str(tmp_path), "--model", "tiny:0")


def test_code_in_the_folder_of_tests_is_none(
    tmp_path: Path, fake_subjects: list[FakeSubject], fake_endpoint: Start
) -> None:
    fake_subjects[0].path = tmp_path / "out" / "parts.py"
    with pytest.raises(TaskError, match="no code beside"):
        call(command, "tests", str(tmp_path), "--out", str(tmp_path / "out"), "--model", "tiny:0")


@pytest.mark.parametrize(
    ("name", "words"),
    [("a.rs", r"whose names end with .*\.f90"), ("gone.f90", "does not exist"), (".", "has no files")],
)
def test_a_path_without_known_code_names_what_is_known(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "a.rs").write_text("fn main() {}")
    done = CliRunner().invoke(
        command, ["tests", str(tmp_path / name), "--model", "tiny:0", "--out", str(tmp_path / "o")]
    )
    told = done.exception.diagnostics() if isinstance(done.exception, TaskError | SourceError) else done.output
    assert re.search(words, told), told


def test_files_done_before_an_end_in_the_middle_are_written(
    tmp_path: Path, fake_endpoint: Start, fake_subjects: list[FakeSubject]
) -> None:
    class Interrupted(FakeSubject):
        def examine(self, tests: str):  # type: ignore[no-untyped-def]
            raise KeyboardInterrupt

    fake_subjects.append(Interrupted(path=Path("later.py"), test_name="test_later.py"))
    endpoint = fake_endpoint(lambda body: answer("test a kills 0 1 2 3 4 5"))
    done = CliRunner().invoke(command, asked(endpoint, str(tmp_path), "--out", str(tmp_path / "out")))
    assert done.exit_code == 1  # click's own end of an interrupt; the program's is 130
    assert tree(tmp_path / "out").keys() == {"test_parts.py", "report.json"}
    assert len(json.loads((tmp_path / "out" / "report.json").read_text())["files"]) == 1


@pytest.mark.slow
def test_ctrl_c_ends_the_program_with_130_and_keeps_what_is_done(tmp_path: Path, fake_endpoint: Start) -> None:
    compiler(FORTRAN)
    compiler(COBOL)
    write_shapes(tmp_path)
    write_tax(tmp_path)
    reached, ended = threading.Event(), threading.Event()

    def slow(body: dict[str, Any]) -> HttpReply:
        if "Fortran" in body["messages"][0]["content"]:
            reached.set()
            return HttpReply(held=ended)
        return HttpReply(body=chat_body(f"```cobol\n{TAX_TESTS}```"))

    endpoint = fake_endpoint(slow)
    out = tmp_path / "out"
    command_line = [sys.executable, "-m", "spiritsafe", "code", *asked(endpoint, str(tmp_path), "--out", str(out))]
    environment = {**os.environ, "PYTHONPATH": str(Path(spiritsafe.__file__).parents[1])}
    process = subprocess.Popen(
        [*command_line, "--budget", "1", "--mutants", "4"], env=environment, stderr=subprocess.PIPE, text=True
    )
    assert reached.wait(300)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    ended.set()
    assert process.returncode == 130, errors
    assert tree(out).keys() == {"test_tax.cob", "report.json"}  # nothing noticed a fault in rates.cbl


def test_the_sandbox_that_fails_is_nobodys_defect(
    tmp_path: Path, fake_endpoint: Start, fake_subjects: list[FakeSubject]
) -> None:
    class Lost(FakeSubject):
        def examine(self, tests: str):  # type: ignore[no-untyped-def]
            raise spiritsafe.tasks.SandboxFailure("it is gone")

    fake_subjects[:] = [Lost()]
    endpoint = fake_endpoint(lambda body: answer("test a"))
    with pytest.raises(TaskError, match="The sandbox failed: it is gone"):
        call(command, *asked(endpoint, str(tmp_path), "--out", str(tmp_path / "out")))


def test_names_of_files_are_each_given_once() -> None:
    paths = ["a/x.py", "b/x.py", "b/c/x.py", "c/x.py", "c/c/x.py", "y.py"]
    subjects: list[assist.Subject] = [FakeSubject(path=Path(one), test_name=f"test_{Path(one).name}") for one in paths]
    assert files_of_tests(subjects) == [
        "test_x_a.py", "test_x_b.py", "test_x_c.py", "test_x_c_2.py", "test_x_c_3.py", "test_y.py",
    ]  # fmt: skip


def test_the_command_is_listed_with_its_line() -> None:
    listed = CliRunner().invoke(cli.cli, ["--help"]).output
    assert re.search(r"code +Write tests and explanations of your code", listed)
