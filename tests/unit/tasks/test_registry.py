"""From a spec to a Task; the list of families; what is not imported."""

import subprocess
import sys

import pytest

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.registry import QUICKSTART_SPECS, list_families, load_task


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


def test_list_families() -> None:
    families = {family.spec: family for family in list_families()}
    assert families["arith:sums"].refused is None
    assert families["gym:coin_flip"].refused
    assert families["gym:chain_sum"].refused is None
    assert len(families) > 100


def test_importing_the_room_loads_nothing_heavy() -> None:
    code = (
        "import sys, spiritsafe.tasks as t; t.list_families(); t.load_task('arith:sums');"
        "heavy = {'torch', 'transformers', 'reasoning_gym', 'sympy', 'math_verify', 'datasets', 'scipy', 'pyarrow'};"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
