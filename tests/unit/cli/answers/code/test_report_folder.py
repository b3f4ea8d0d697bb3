from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_subject import FakeSubject

from spiritsafe.assist.asker import AskingCost
from spiritsafe.assist.code_report import FileTrouble
from spiritsafe.assist.writing.report import TestsReport
from spiritsafe.cli.answers.code import report_folder
from spiritsafe.cli.answers.code.report_folder import ReportFolder, subject_inputs
from spiritsafe.core.errors import RecipeError

NAME = "test_parts.py"


def report(path: Path, **more: Any) -> TestsReport:
    return TestsReport(path=str(path), language="python", source_digest="s", model="m", model_digest="d", **more)


@pytest.fixture
def code(tmp_path: Path) -> Path:
    return tmp_path / "parts.py"


def opened(tmp_path: Path, *, overwrite: bool = False) -> ReportFolder[TestsReport]:
    return ReportFolder(tmp_path / "out", TestsReport, "code tests", overwrite=overwrite)


def contents(tmp_path: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in (tmp_path / "out").iterdir()}


def test_what_is_as_it_was_left_is_known_again(tmp_path: Path, code: Path) -> None:
    put = opened(tmp_path).put(code, NAME, {"a": 1}, report(code, mutants=3), "text")
    assert contents(tmp_path)[NAME] == "text"
    again = opened(tmp_path)
    again.refuse_to_replace({code: NAME})
    assert again.earlier(code, {"a": 1}) == put
    assert again.earlier(code, {"a": 2}) is None
    assert again.earlier(tmp_path / "b.py", {"a": 1}) is None
    assert again.name_of(code) == NAME
    assert again.name_of(tmp_path / "b.py") is None
    (tmp_path / "out" / NAME).unlink()
    again.refuse_to_replace({code: NAME})
    assert again.earlier(code, {"a": 1}) is None


def test_a_folder_that_was_moved_with_its_code_is_known_again(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    opened(tmp_path / "one").put(tmp_path / "one" / "parts.py", NAME, {}, report(tmp_path), "text")
    (tmp_path / "one").rename(tmp_path / "two")
    assert opened(tmp_path / "two").earlier(tmp_path / "two" / "parts.py", {}) is not None


def test_what_somebody_else_wrote_stays(tmp_path: Path, code: Path) -> None:
    opened(tmp_path).put(code, NAME, {}, report(code), "text")
    other = tmp_path / "out" / "test_other.py"
    other.write_text("mine")
    (tmp_path / "out" / NAME).write_text("text, edited")
    wanted = {code: NAME, tmp_path / "other.py": other.name}
    with pytest.raises(RecipeError, match=rf"{NAME} and 1 more is there already, and not as .*left it"):
        opened(tmp_path).refuse_to_replace(wanted)
    assert opened(tmp_path).earlier(code, {}) is None
    opened(tmp_path, overwrite=True).refuse_to_replace(wanted)
    other.unlink()
    other.mkdir()
    for overwrite in (False, True):
        with pytest.raises(RecipeError, match="is a folder"):
            opened(tmp_path, overwrite=overwrite).refuse_to_replace(wanted)


def test_one_codes_file_is_not_anothers(tmp_path: Path, code: Path) -> None:
    opened(tmp_path).put(code, NAME, {}, report(code), "text")
    with pytest.raises(RecipeError, match="is there already"):
        opened(tmp_path).refuse_to_replace({tmp_path / "b" / "parts.py": NAME})


@pytest.mark.parametrize("more", [{"cost": AskingCost(unanswered=1)}, {"trouble": FileTrouble(reason="r", hint="h")}])
def test_what_failed_is_done_again(tmp_path: Path, code: Path, more: dict[str, Any]) -> None:
    opened(tmp_path).put(code, NAME, {}, report(code, **more), "text")
    assert opened(tmp_path).earlier(code, {}) is None


def test_code_that_cannot_be_run_keeps_what_was_written_for_it(tmp_path: Path, code: Path) -> None:
    opened(tmp_path).put(code, NAME, {"a": 1}, report(code), "text")
    trouble = FileTrouble(reason="It is broken.", hint="Mend it.")
    opened(tmp_path).put_trouble(code, "", report(code, trouble=trouble))
    opened(tmp_path).put_trouble(tmp_path / "b.py", "", report(code, trouble=trouble))
    again = opened(tmp_path)
    assert again.names([(code, "other.py"), (tmp_path / "b.py", "test_b.py")]) == [NAME, "test_b.py"]
    again.refuse_to_replace({code: NAME})
    assert again.earlier(code, {"a": 1}) is None
    assert contents(tmp_path)[NAME] == "text"


def test_files_of_other_calls_stay_in_the_report(tmp_path: Path, code: Path) -> None:
    opened(tmp_path).put(code, NAME, {}, report(code), "text")
    other = tmp_path / "b.py"
    opened(tmp_path).put(other, "test_b.py", {}, report(other), "text b")
    for path in (code, other):
        assert opened(tmp_path).earlier(path, {}) is not None
    assert len(json.loads(contents(tmp_path)["report.json"])["files"]) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda text: "",
        lambda text: "{",
        lambda text: "[]",
        lambda text: "null",
        lambda text: "{}",
        lambda text: text.replace("code tests", "code explain"),
        lambda text: text.replace('"files"', '"flies"'),
        lambda text: re.sub(r'"files": \[.*\]', '"files": 3', text, flags=re.DOTALL),
        lambda text: text.replace('"mutants": 0', '"mutants": "many"'),
        lambda text: text.replace('"mutants"', '"beings"'),
        lambda text: re.sub(r'"origin": {[^{]*{}[^}]*}', '"origin": null', text),
        lambda text: text.replace(f'"file": "{NAME}"', '"file": "../parts.py"'),
        lambda text: text.replace(f'"file": "{NAME}"', '"file": ".."'),
        lambda text: text.replace(f'"file": "{NAME}"', '"file": "report.json"'),
        lambda text: "[" * 100_000,
    ],
)  # fmt: skip
def test_a_report_of_another_kind_is_somebody_elses(tmp_path: Path, code: Path, change: Callable[[str], str]) -> None:
    opened(tmp_path).put(code, NAME, {}, report(code), "text")
    path = tmp_path / "out" / "report.json"
    before = path.read_text()
    path.write_text(change(before))
    assert path.read_text() != before
    with pytest.raises(RecipeError, match=r"report\.json is not a report of `spiritsafe code tests`"):
        opened(tmp_path)
    folder = opened(tmp_path, overwrite=True)
    assert folder.earlier(code, {}) is None
    folder.put(code, NAME, {}, report(code), "text")
    assert path.read_text() == before


def test_a_pipe_in_the_place_of_the_report_holds_nobody_up(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    os.mkfifo(tmp_path / "out" / "report.json")
    with pytest.raises(RecipeError, match="not a report"):
        opened(tmp_path)


class Killed(BaseException):
    """Here the process ends."""


def killed_at(patch: pytest.MonkeyPatch, moment: int) -> None:
    """End the process before or after one of the changes of the disk, counted from 0."""
    num_changes = [0]

    def dying(change: Callable[..., Any]) -> Callable[..., Any]:
        def made(*arguments: Any) -> None:
            for part in (lambda: None, lambda: change(*arguments)):
                if num_changes[0] == moment:
                    raise Killed
                num_changes[0] += 1
                part()

        return made

    for name in ("write_json", "write_text"):
        patch.setattr(report_folder, name, dying(getattr(report_folder, name)))
    patch.setattr(Path, "unlink", dying(Path.unlink))


@pytest.mark.parametrize("earlier", ["", "old"])
@pytest.mark.parametrize("text", ["new", ""])
def test_wherever_a_process_is_killed_the_next_one_goes_on(tmp_path: Path, earlier: str, text: str) -> None:
    """Against what there is where none was killed."""

    def work(folder: Path) -> dict[str, str]:
        path = folder / "parts.py"
        here = opened(folder)
        here.refuse_to_replace({path: NAME})
        known = here.earlier(path, {"a": 2})
        if known is None:
            here.put(path, NAME, {"a": 2}, report(Path("p")), text)
        return contents(folder)

    def begun(name: str) -> Path:
        folder = tmp_path / name
        opened(folder).put(folder / "parts.py", NAME, {"a": 1}, report(Path("p")), earlier)
        return folder

    whole = work(begun("whole"))
    moment, num_kills = 0, 0
    while moment == num_kills:
        folder = begun(f"killed-{moment}")
        with pytest.MonkeyPatch.context() as patch:
            killed_at(patch, moment)
            try:
                work(folder)
            except Killed:
                num_kills += 1
        known = opened(folder).earlier(folder / "parts.py", {"a": 2})
        assert known is None or contents(folder).get(NAME, "") == text
        assert work(folder) == whole
        moment += 1
    assert num_kills >= (6 if earlier or text else 4)  # before and after each change; some consist of several


def test_a_file_that_is_replaced_against_its_owners_will_is_not_called_ones_own(tmp_path: Path, code: Path) -> None:
    """Killed while it replaces a stranger's file, a call that may do so leaves it to be refused by one that may not."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / NAME).write_text("mine")
    with pytest.MonkeyPatch.context() as patch:
        killed_at(patch, 2)
        with pytest.raises(Killed):
            opened(tmp_path, overwrite=True).put(code, NAME, {}, report(code), "text")
    assert contents(tmp_path)[NAME] == "mine"
    with pytest.raises(RecipeError, match="is there already"):
        opened(tmp_path).refuse_to_replace({code: NAME})


def test_names_are_each_given_once_and_stay(tmp_path: Path) -> None:
    paths = [tmp_path / one for one in ("a/x.py", "b/x.py", "b/c/x.py", "c/x.py", "c/c/x.py", "y.py")]
    wanted = [(path, f"test_{path.name}") for path in paths]
    names = ["test_x_a.py", "test_x_b.py", "test_x_c.py", "test_x_c_2.py", "test_x_c_3.py", "test_y.py"]
    assert opened(tmp_path).names(wanted) == names
    opened(tmp_path).put(paths[0], "test_x.py", {}, report(paths[0]), "text")
    assert opened(tmp_path).names(wanted) == ["test_x.py", *names[1:]]
    assert opened(tmp_path).names(wanted[1:2]) == ["test_x_b.py"]


def test_inputs_change_with_all_that_goes_in() -> None:
    subject = FakeSubject()
    first = subject_inputs(subject, seed=1)
    assert subject_inputs(FakeSubject(), seed=1) == first
    assert json.loads(json.dumps(first)) == first
    for other, seed in ((FakeSubject(source="x"), 1), (FakeSubject(beside="x"), 1), (subject, 2)):
        assert subject_inputs(other, seed=seed) != first
