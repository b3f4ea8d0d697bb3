"""What the child makes of reasoning-gym: items by seed, steps, and guarded evaluation."""

import importlib.util

import pytest

if importlib.util.find_spec("reasoning_gym") is None:
    pytest.skip("the extra gym is not installed", allow_module_level=True)

from spiritsafe.core.process.children.pool import Handler, shared_pool
from spiritsafe.tasks.families.gym.catalogue import EVALUATING


def call(name: str, payload: dict[str, object], **parameters: object) -> object:
    return shared_pool().call(
        Handler("spiritsafe.tasks.families.gym.child", "GymHandler", {"name": name, "parameters": parameters}), payload
    )


def test_an_item_is_a_function_of_its_seed_whatever_came_before() -> None:
    first = [call("gcd", {"op": "item", "seed": seed}) for seed in (5, 6, 7)]
    assert [call("gcd", {"op": "item", "seed": seed}, max_numbers=2) for seed in (7, 6, 5)] == first[::-1]


def test_gsm_symbolic_draws_its_template_from_the_seed() -> None:
    questions = {str(call("gsm_symbolic", {"op": "item", "seed": seed}))[:60] for seed in range(12)}
    assert len(questions) > 8


def test_items_come_with_worked_solutions() -> None:
    item = call("chain_sum", {"op": "item", "seed": 1}, min_terms=3, max_terms=3, min_digits=1, max_digits=1)
    assert isinstance(item, dict)
    first, second, last = item["solution"].splitlines()
    assert second.startswith(first.partition(" = ")[2])
    assert second.endswith(f"= {item['answer']}")
    assert last == f"#### {item['answer']}"
    item = call("gcd", {"op": "item", "seed": 1})
    assert isinstance(item, dict)
    assert item["solution"].splitlines()[-2].endswith(" + 0")
    assert call("knights_knaves", {"op": "item", "seed": 1})["solution"] is None  # type: ignore[index]  # an item


@pytest.mark.parametrize(
    "text", ["x.__class__", "__import__('os')", "open(x)", "exec(1)", "lambda", "x[0](1)", "exp.x", "f'{x}'"]
)
@pytest.mark.parametrize("name", ["countdown", "simple_integration"])
def test_guards_refuse_code(name: str, text: str) -> None:
    assert not EVALUATING[name].fullmatch(text)


@pytest.mark.parametrize("text", ["9**9**9", "2 ** 3", "2* *3", "2^3", "x", "e", "sqrt(4)", "2e5", "1.5.5"])
def test_countdown_takes_no_powers_and_no_names(text: str) -> None:
    assert not EVALUATING["countdown"].fullmatch(text)


@pytest.mark.parametrize("text", ["open(x)", "a.b", "(1)", "f'{x}'", "a=1", "a;b", "{1}", "`a`", "a\\x28b"])
def test_guards_refuse_calls_and_attributes(text: str) -> None:
    assert not EVALUATING["n_queens"].fullmatch(text)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("countdown", "(25 - 5) * 2"),
        ("countdown", "-3*20/4 + (75 - 1)"),
        ("simple_integration", "2*x**3/3 + exp(x) + C"),
        ("intermediate_integration", "-asin(x/2) + sqrt(4 - x**2)"),
        ("n_queens", "[['_', 'Q'], ['Q', '_']]"),
        ("spiral_matrix", "[1, -2, 3]"),
        ("polynomial_multiplication", "x**2 - 3*x*y"),
    ],
)
def test_guards_let_answers_pass(name: str, text: str) -> None:
    assert EVALUATING[name].fullmatch(text)
