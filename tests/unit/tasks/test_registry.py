"""From a spec to a Task; the list of families; what is not imported."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from own_task import write_own_task

from spiritsafe.cli.tasks import command
from spiritsafe.core.errors import TaskError
from spiritsafe.tasks import registry
from spiritsafe.tasks.grading.pool import GraderPool
from spiritsafe.tasks.registry import QUICKSTART_SPECS, build_task, list_families, load_named, load_task


def test_a_name_is_a_spec() -> None:
    for spec in QUICKSTART_SPECS:
        task = load_task(spec)
        assert load_task(task.name).name == task.name
    assert load_task("arith:sums?terms=2-3&digits=1-2").name == load_task("arith:sums?digits=1-2&terms=2-3").name


def test_unknown_family_names_the_nearest() -> None:
    with pytest.raises(TaskError, match='no task family "arit"') as caught:
        load_task("arit:sums")
    assert 'Did you mean "arith"?' in caught.value.hint


def test_refused_family_gives_the_reason_without_reasoning_gym() -> None:
    with pytest.raises(TaskError, match="game_of_life_halting is refused: ") as caught:
        load_task("gym:game_of_life_halting")
    assert caught.value.hint


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working folder with a module of the user's; nothing of it stays behind in this process."""
    write_own_task(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(sys.modules[name].__file__):
            del sys.modules[name]
    registry._own_module.cache_clear()
    registry._built.clear()


def digest_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:32]


@pytest.mark.parametrize("attribute", ["make", "TASK", "Successors"])
def test_a_task_of_ones_own_is_named_by_module_attribute_and_source(folder: Path, attribute: str) -> None:
    task = build_task(f" successors_task:{attribute} ")
    assert task.name == f"successors_task:{attribute}?sha256={digest_of(folder / 'successors_task.py')}"
    assert build_task(task.name).name == task.name
    (problem,) = task.problems("train", seed=5, count=1)
    assert problem.task == task.name
    assert task.grade(problem, task.gold(problem)).status == "correct"
    assert build_task(f"mix:arith:sums|successors_task:{attribute}*2").name.endswith(f"|{task.name}*2")


def test_a_changed_verifier_is_another_task(folder: Path) -> None:
    name = build_task("successors_task:make").name
    registry._own_module.cache_clear()
    del sys.modules["successors_task"]
    write_own_task(folder, more="\n# a day later\n")
    assert build_task("successors_task:make").name != name
    with pytest.raises(TaskError, match=r"is not what .* was made of") as caught:
        build_task(name)
    assert "sha256" in caught.value.hint


def test_the_same_problems_fall_into_the_same_buckets_whatever_the_verifier(folder: Path) -> None:
    before = {p.canonical_text for p in build_task("successors_task:make").problems("train", seed=0, count=50)}
    registry._own_module.cache_clear()
    del sys.modules["successors_task"]
    write_own_task(folder, more="\n# a day later\n")
    assert {p.canonical_text for p in build_task("successors_task:make").problems("train", seed=0, count=50)} == before


def test_problems_of_another_name_are_refused(folder: Path) -> None:
    path = write_own_task(folder, "misnamed")
    path.write_text(path.read_text().replace("task=self.name", 'task="successors"'))
    with pytest.raises(TaskError, match='made a problem of "successors"') as caught:
        list(build_task("misnamed:make").problems("train", seed=0, count=1))
    assert "self.name" in caught.value.hint


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("arith:sum", 'no kind "sum"'),
        ("arit:sums", 'neither a task family nor a module "arit"'),
        ("successors_task:mke", "successors_task.py has no mke"),
        ("successors_task:NUMBER", "made a int, not a Task"),
        ("successors_task:needs", "module successors_task: TypeError: needs.. missing 1 required"),
        ("successors_task:fails", r"successors_task\.py, line \d+: KeyError: 'the key'"),
        ("successors_task.part:make", 'nor a module "successors_task.part"'),
        ("broken:make", r"broken\.py, line 2: ZeroDivisionError: division by zero"),
        ("cut_off:make", r"cut_off\.py, line 2: SyntaxError: '\(' was never closed"),
        ("lacking:make", r"lacking\.py, line 1: ModuleNotFoundError: No module named 'lacking_itself'"),
        ("leaving:make", r"leaving\.py, line 2: SystemExit: 3"),
        ("__main__:task", "its module is the program itself"),
        ("nothing", "is not a task spec"),
        ("a-b:c", 'no task family "a-b"'),
    ],
)
def test_what_is_no_task(folder: Path, source: str, message: str) -> None:
    (folder / "broken.py").write_text("import math\nx = 1 / 0\n")
    (folder / "cut_off.py").write_text("import math\nx = (1\n")
    (folder / "lacking.py").write_text("import lacking_itself\n")
    (folder / "leaving.py").write_text("import sys\nsys.exit(3)\n")
    with pytest.raises(TaskError, match=message) as caught:
        build_task(source)
    assert caught.value.hint
    if source.endswith("mke"):
        assert 'Did you mean "make"?' in caught.value.hint


def test_the_working_folder_takes_nobodys_place(folder: Path) -> None:
    (folder / "json.py").write_text("raise SystemExit('not this one')\n")
    with pytest.raises(TaskError, match=r"json/__init__\.py has no make"):
        build_task("json:make")


def test_code_that_a_paper_names_is_not_run(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name in somebody else's file, and a module beside it: only who vouches for it gets it imported."""
    write_own_task(folder, "evil_task", "\nimport pathlib\npathlib.Path('ran').touch()\n")
    name = f"evil_task:make?sha256={digest_of(folder / 'evil_task.py')}"
    for named in (name, f"mix:arith:sums|{name}*2", "evil_task:make"):
        with pytest.raises(TaskError, match="somebody's own task, which is code") as caught:
            load_named(named)
        assert "SPIRITSAFE_OWN_TASKS=evil_task:make" in caught.value.hint
    assert not (folder / "ran").exists()
    monkeypatch.setenv("SPIRITSAFE_OWN_TASKS", "other:make, evil_task:make")
    assert load_named(name).name == name
    monkeypatch.delenv("SPIRITSAFE_OWN_TASKS")
    registry._built.clear()
    build_task("evil_task:make")  # the user's own word, in this process
    assert load_named(name).name == name


def test_workers_and_commands_find_it_in_the_working_folder(folder: Path) -> None:
    with GraderPool("successors_task:make", num_workers=1) as pool:
        task = build_task("successors_task:make")
        assert pool.name == task.name
        (problem,) = task.problems("train", seed=0, count=1)
        assert pool.grade(problem, task.gold(problem)).status == "correct"
    shown = CliRunner().invoke(command, ["show", "successors_task:make", "--count", "1"])
    assert shown.exit_code == 0, shown.output
    assert re.search(r"user: What comes after \d+\?\ngold: \d+\n", shown.output)


def test_list_families() -> None:
    families = {family.spec: family for family in list_families()}
    assert families["arith:sums"].refused is None
    assert families["gym:coin_flip"].refused
    assert families["gym:chain_sum"].refused is None
    assert "given shares" in families["mix:<spec>|<spec>*<share>"].description
    assert len(families) > 100


def test_importing_the_room_loads_nothing_heavy() -> None:
    code = (
        "import sys, spiritsafe.tasks as t; t.list_families(); t.load_task('arith:sums');"
        "heavy = {'torch', 'transformers', 'reasoning_gym', 'sympy', 'math_verify', 'datasets', 'scipy', 'pyarrow'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
