"""From a spec to a Task; the list of families; what is not imported."""

import subprocess
import sys

import hostile_task
import pytest

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.registry import QUICKSTART_SPECS, build_task, list_families, load_task


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


def test_a_task_of_ones_own_is_named_by_module_and_attribute() -> None:
    assert build_task("hostile_task:A_TASK") is hostile_task.A_TASK
    assert isinstance(build_task(" hostile_task:HostileTask "), hostile_task.HostileTask)
    assert build_task("arith:sums").name == load_task("arith:sums").name
    assert build_task("mix:arith:sums|arith:words").name == load_task("mix:arith:words|arith:sums").name


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("arith:sum", 'no kind "sum"'),
        ("arit:sums", "neither the spec of a known family nor something to import: No module named 'arit'"),
        ("hostile_task:nothing", "neither the spec of a known family nor something to import"),
        ("hostile_task:NO_TASK", "made a dict, not a Task"),
        ("__main__:task", "its module is the program itself"),
        ("nothing", "is not a task spec"),
        ("a-b:c", 'no task family "a-b"'),
    ],
)
def test_what_is_no_task(source: str, message: str) -> None:
    with pytest.raises(TaskError, match=message) as caught:
        build_task(source)
    assert caught.value.hint


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
