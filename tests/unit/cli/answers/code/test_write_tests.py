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
from functools import partial
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
from spiritsafe import cli
from spiritsafe.assist.code_report import FileTrouble
from spiritsafe.assist.opening import UnusableFile
from spiritsafe.assist.writing.report import TestsReport
from spiritsafe.cli.answers.code import command
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
    monkeypatch.setattr("spiritsafe.assist.subjects_at", lambda path, **_: found)
    return found


def test_a_good_model_leaves_tests_that_were_run(tmp_path: Path, fake_endpoint: Start) -> None:
    compiler(FORTRAN)
    source = write_shapes(tmp_path)
    before = tree(tmp_path)
    endpoint = fake_endpoint(lambda body: fortran(SHAPES_TESTS))
    out = tmp_path / "out"
    text = call(command, *asked(endpoint, str(source), "--out", str(out), "--fail-under", "1"))
    assert re.search(r"15/15 +2 +1 +100% +1 ", text), text
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
    written = json.loads((tmp_path / "out" / "report.json").read_text())["files"]
    assert sorted(records, key=lambda one: str(one["path"])) == sorted(written, key=lambda one: str(one["path"]))


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
        if "Fortran" in body["messages"][0]["content"] and not ended.is_set():
            reached.set()
            return HttpReply(held=ended)
        return HttpReply(body=chat_body(f"```cobol\n{TAX_TESTS}```"))

    endpoint = fake_endpoint(slow)
    out = tmp_path / "out"
    command_line = [sys.executable, "-m", "spiritsafe", "code", *asked(endpoint, str(tmp_path), "--out", str(out))]
    environment = {**os.environ, "PYTHONPATH": str(Path(spiritsafe.__file__).parents[1])}
    heard = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # what is started in the background ignores it
    again = [*command_line, "--budget", "1", "--mutants", "4"]
    process = subprocess.Popen(again, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=heard)
    assert reached.wait(300)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=300)
    ended.set()
    assert process.returncode == 130, errors
    assert tree(out).keys() == {"test_tax.cob", "report.json"}  # nothing noticed a fault in rates.cbl
    before = len(endpoint.requests)
    done = subprocess.run(
        [*command_line, "--budget", "1", "--mutants", "4"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    later = [one.body["messages"][0]["content"] for one in endpoint.requests[before:]]
    assert [re.findall("the file (.*)[.]\n", text)[0] for text in later] == ["shapes.f90"]
    assert "as before, so that nothing was asked: " in done.stdout


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


def test_a_second_call_asks_nothing_where_nothing_changed(
    tmp_path: Path, fake_endpoint: Start, fake_subjects: list[FakeSubject]
) -> None:
    fake_subjects.append(FakeSubject(path=Path("b/parts.py")))
    endpoint = fake_endpoint(lambda body: answer("test a kills 0 1 2 3 4 5"))
    out = tmp_path / "out"
    arguments = asked(endpoint, str(tmp_path), "--out", str(out))
    first = records_of(command, *arguments)
    before = tree(out)
    assert len(endpoint.requests) == 2
    assert records_of(command, *arguments) == first
    text = call(command, *arguments)
    assert "as before, so that nothing was asked: parts.py, b/parts.py\n" in text
    assert text.count("6/6") == 2
    assert len(endpoint.requests) == 2
    assert tree(out) == before
    fake_subjects[1].beside = "what it uses has changed"
    text = call(command, *arguments)
    assert "nothing was asked: parts.py\n" in text
    assert len(endpoint.requests) == 3
    fake_subjects[1].source += "# and so has the file"
    call(command, *arguments)
    assert len(endpoint.requests) == 4


@pytest.mark.parametrize(
    "other",
    [
        *(["--budget", "7"], ["--mutants", "7"], ["--seed", "7"], ["--temperature", "0.1"], ["--max-tokens", "7"]),
        *(["--endpoint-model", "other"], ["--thinks"]),
    ],
)
def test_with_other_settings_files_are_done_anew_and_replaced(
    tmp_path: Path, fake_endpoint: Start, fake_subjects: list[FakeSubject], other: list[str]
) -> None:
    tests = [answer("test a kills 0 1 2 3 4 5"), f"</think>{answer('test b kills 0 1 2 3 4 5')}"]
    endpoint = fake_endpoint(lambda body: tests[len(endpoint.requests) > 1])
    out = tmp_path / "out"
    arguments = asked(endpoint, str(tmp_path), "--out", str(out))
    call(command, *arguments)
    call(command, *arguments, *other)
    assert len(endpoint.requests) == 2
    assert (out / "test_parts.py").read_text() == "test b kills 0 1 2 3 4 5"


def test_what_is_not_as_it_was_left_is_refused_before_anything_is_asked(
    tmp_path: Path, fake_endpoint: Start, fake_subjects: list[FakeSubject]
) -> None:
    endpoint = fake_endpoint(lambda body: answer("test a kills 0 1 2 3 4 5"))
    out = tmp_path / "out"
    arguments = asked(endpoint, str(tmp_path), "--out", str(out))
    call(command, *arguments)
    (out / "test_parts.py").write_text("test a kills 0 1 2 3 4 5  # as I like it")
    with pytest.raises(RecipeError, match=r"test_parts\.py is there already, and not as .* left it"):
        call(command, *arguments)
    call(command, *arguments, "--overwrite")
    assert (out / "test_parts.py").read_text() == "test a kills 0 1 2 3 4 5"
    assert len(endpoint.requests) == 2
    call(command, *arguments, "--overwrite")
    assert len(endpoint.requests) == 2
    (out / "report.json").write_text("{}")
    with pytest.raises(RecipeError, match=r"report\.json is not a report of `spiritsafe code tests`"):
        call(command, *arguments)
    assert len(endpoint.requests) == 2


def test_a_question_that_failed_is_asked_again(
    tmp_path: Path, fake_endpoint: Start, fake_subjects: list[FakeSubject]
) -> None:
    replies: list[Any] = [HttpReply(status=400, body=error_body("no")), HttpReply(status=400, body=error_body("no"))]
    endpoint = fake_endpoint(lambda body: replies.pop(0) if replies else answer("test a kills 0 1 2 3 4 5"))
    arguments = asked(endpoint, str(tmp_path), "--out", str(tmp_path / "out"))
    assert "no test is kept" in call(command, *arguments)
    assert "6/6" in call(command, *arguments)


def test_files_that_cannot_be_run_are_rows_and_the_others_go_on(
    tmp_path: Path, fake_endpoint: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble = FileTrouble(reason="It needs zeal.", hint="Install it.")
    found = [
        FakeSubject(path=Path("first.py"), test_name="test_first.py", why_not=trouble),
        UnusableFile(Path("second.f90"), "fortran", FileTrouble(reason="It is no Fortran.", hint="Mend it.")),
        FakeSubject(),
    ]
    monkeypatch.setattr("spiritsafe.assist.subjects_at", lambda path, **_: found)
    endpoint = fake_endpoint(lambda body: answer("test a kills 0 1 2 3 4 5"))
    arguments = asked(endpoint, str(tmp_path), "--out", str(tmp_path / "out"))
    done = CliRunner().invoke(command, arguments)
    assert isinstance(done.exception, SpiritsafeError)
    assert done.exception.exit_code == 1
    assert str(done.exception) == "2 of 3 files could not be tested."
    assert "not tested: It needs zeal. Install it.\n" in done.output
    assert "not tested: It is no Fortran. Mend it.\n" in done.output
    assert "6/6" in done.output
    assert len(endpoint.requests) == 1
    files = json.loads((tmp_path / "out" / "report.json").read_text())["files"]
    assert [one["trouble"] and one["trouble"]["reason"] for one in files] == [
        "It needs zeal.", None, "It is no Fortran.",
    ]  # fmt: skip
    trouble_before, found[0] = found[0], FakeSubject(path=Path("first.py"), test_name="test_first.py")
    assert trouble_before != found[0]
    done = CliRunner().invoke(command, arguments)
    assert str(done.exception) == "1 of 3 files could not be tested."
    assert len(endpoint.requests) == 2


def test_one_file_that_cannot_be_run_is_an_error_and_nothing_is_asked_or_written(
    tmp_path: Path, fake_endpoint: Start
) -> None:
    source = tmp_path / "prices.py"
    source.write_text(f"import no_such_module\n\n\n{PRICES}")
    endpoint = fake_endpoint(lambda body: "nothing")
    for name in ("tests", "explain"):
        (tmp_path / "own.py").write_text(PRICES_TESTS)
        more = ["--tests", str(tmp_path / "own.py")] if name == "explain" else []
        with pytest.raises(
            TaskError, match=r"prices\.py cannot be imported in the sandbox: .*'no_such_module'"
        ) as raised:
            call(command, name, *asked(endpoint, str(source), "--out", str(tmp_path / "out"))[1:], *more)
        assert "--python" in raised.value.hint
    assert endpoint.requests == []
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_files_of_a_project_of_which_one_lacks_a_module(tmp_path: Path, fake_endpoint: Start) -> None:
    (tmp_path / "prices.py").write_text(PRICES)
    (tmp_path / "web.py").write_text("import no_such_module\n\n\ndef get(): return no_such_module.get() + 1\n")
    (tmp_path / "old.py").write_text("print 'hello'\n")
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    endpoint = fake_endpoint(lambda body: f"```python\n{PRICES_TESTS}```")
    done = CliRunner().invoke(
        command, asked(endpoint, str(tmp_path), "--out", str(tmp_path / "out"), "--budget", "1", "--mutants", "5")
    )
    assert str(done.exception) == "2 of 3 files could not be tested."
    assert "No module named 'no_such_module'" in done.output
    assert f"--python {tmp_path / '.venv' / 'bin' / 'python'}" in done.output
    assert "old.py is not Python" in done.output
    assert len(endpoint.requests) == 1
    assert (tmp_path / "out" / "test_prices.py").exists()


@pytest.mark.slow
def test_a_fortran_and_a_cobol_file_that_do_not_compile_end_no_folder(tmp_path: Path, fake_endpoint: Start) -> None:
    compiler(FORTRAN)
    compiler(COBOL)
    write_shapes(tmp_path)
    write_tax(tmp_path)
    (tmp_path / "bad.f90").write_text("subroutine bad(n)\n  use nowhere\n  integer n\n  n = 1\nend subroutine\n")
    (tmp_path / "latin.f90").write_bytes(b"! \xe4\nsubroutine l()\nend subroutine\n")
    tax = (tmp_path / "tax.cob").read_text()
    (tmp_path / "bad.cob").write_text(tax.replace("PROCEDURE DIVISION USING", "PROCEDURE DIVISION USING NOWHERE"))
    endpoint = fake_endpoint(lambda body: "nothing")
    out = tmp_path / "out"
    done = CliRunner().invoke(
        command, asked(endpoint, str(tmp_path), "--out", str(out), "--budget", "1", "--mutants", "5")
    )
    assert isinstance(done.exception, SpiritsafeError), done.output
    assert re.fullmatch("3 of [56] files could not be tested.", str(done.exception)), done.output
    for name in ("bad.f90", "latin.f90", "bad.cob"):
        assert re.search(rf"^not tested: \S*{name} ", done.output, re.MULTILINE), done.output
    assert endpoint.requests
    assert not any(f"the file {name}." in one.body["messages"][0]["content"]
                   for one in endpoint.requests for name in ("bad.f90", "latin.f90", "bad.cob"))  # fmt: skip


def test_the_command_is_listed_with_its_line() -> None:
    listed = CliRunner().invoke(cli.cli, ["--help"]).output
    assert re.search(r"code +Write tests and explanations of your code", listed)
