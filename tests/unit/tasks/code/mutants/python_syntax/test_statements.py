from __future__ import annotations

import pytest
from mutation import changed_lines, in_function


@pytest.mark.parametrize(
    ("line", "operator", "expected"),
    [
        ("if a: b()", "condition", {"if True: b()", "if False: b()"}),
        ("if a: b()", "not", {"if not (a): b()"}),
        ("if a or b: c()", "not", {"if not (a or b): c()"}),
        ("if a < b: c()", "not", set()),  # the opposite comparison says the same
        ("if a < b < c: s()", "not", {"if not (a < b < c): s()"}),
        ("if not a: b()", "not", {"if a: b()"}),
        ("if True: b()", "condition", set()),
        ("while a: b()", "condition", {"while False: b()"}),
        ("c = a if b else s", "condition", {"c = a if True else s", "c = a if False else s"}),
        ("for x in xs: break", "loop", {"for x in xs: continue"}),
        ("for x in xs:\n        if x: continue\n        b()", "loop", {"if x: break"}),
        ("return", "return", set()),
        ("return a.b()", "return", {"return None"}),
        ("return a < b", "return", {"return None", "return True", "return False"}),
        ("return not a", "return", {"return None", "return True", "return False"}),
        ("return a - b", "return", {"return None", "return -(a - b)"}),
        ("return a + b", "return", {"return None"}),  # they may be strings
        ("return 3", "return", {"return None"}),
        ("return None", None, set()),
        ("yield a", "return", {"yield None"}),
        ("c = a", "delete", {"pass"}),
        ("c = f(a,\n       b)", "delete", {"pass"}),
        ("c += a", "delete", {"pass"}),
        ("c: int = a", "delete", {"pass"}),
        ("f(a)", "delete", {"pass"}),
        ("f(a); a = c", "delete", {"pass; a = c", "f(a); pass"}),
        ("del a", "delete", {"pass"}),
        ("raise ValueError(a)", "delete", {"pass"}),
        ("raise ValueError(a)", "error", {"raise TypeError(a)"}),
        ("raise KeyError", "error", {"raise IndexError"}),
        ("raise a", "error", set()),
        ("logger.info(a)", None, set()),
        ("assert a", "delete", set()),
    ],
)
def test_statements(line: str, operator: str | None, expected: set[str]) -> None:
    assert in_function(line, operator) == expected


def test_handlers() -> None:
    body = "try:\n        a()\n    except (KeyError, OSError) as e:\n        b(e)\n        c = 1"
    assert in_function(body, "handler") == {"pass"}
    assert in_function(body, "error") == {
        "except (IndexError, OSError) as e:",
        "except (KeyError, ValueError) as e:",
    }
    assert in_function("try:\n        a()\n    except KeyError:\n        pass", "handler") == set()


@pytest.mark.parametrize(
    ("kind", "value", "results"),
    [
        ("int", "a()", {"None", "-(a())", "0", "1"}),
        ("float", "a()", {"None", "-(a())", "0.0"}),
        ("str", "a()", {"None", '""'}),
        ("bool", "a()", {"None", "True", "False", "not (a())"}),
        ("bool", "a < b", {"None", "True", "False"}),
        ("list[int]", "a()", {"None", "[]"}),
        ("dict[str, int]", "a()", {"None", "{}"}),
        ("A", "a()", {"None"}),
    ],
)
def test_results_are_of_the_promised_type(kind: str, value: str, results: set[str]) -> None:
    source = f"def f(a, b) -> {kind}:\n    return {value}\n"
    assert changed_lines(source, "python", "return") == {f"return {result}" for result in results}


def test_each_function_s_results_are_its_own() -> None:
    source = "def f() -> int:\n    def g() -> str:\n        return a()\n    return g\n"
    assert changed_lines(source, "python", "return") == {
        "return None", 'return ""', "return -(g)", "return 0", "return 1"
    }  # fmt: skip
