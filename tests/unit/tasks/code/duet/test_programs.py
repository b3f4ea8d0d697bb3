from __future__ import annotations

import ast
import sys

import pytest

from spiritsafe.tasks.code.duet import inside
from spiritsafe.tasks.code.duet.programs import program_files

SETS = (
    ("tests_host", "some_pytest", "channel", "fenced", "values"),
    ("code_host", "channel", "fenced", "values"),
    ("replay", "code_host", "channel", "fenced", "values"),
)
"""As they are handed in."""


@pytest.mark.parametrize("names", SETS, ids=lambda names: names[0])
def test_what_is_handed_in_is_whole_and_stands_on_pythons_own_library(names: tuple[str, ...]) -> None:
    files = program_files(*names)
    package = inside.__name__.replace(".", "/")
    assert files.keys() == {"main.py", *(f"{package}/{name}.py" for name in names)}
    wanted = {f"{inside.__name__}.{name}" for name in names} | {inside.__name__}
    for text in files.values():
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.ImportFrom):
                module = str(node.module)
                assert module in wanted or module.split(".")[0] in sys.stdlib_module_names, module
                if module == inside.__name__:
                    assert {f"{module}.{alias.name}" for alias in node.names} <= wanted
            elif isinstance(node, ast.Import):
                assert all(alias.name.split(".")[0] in sys.stdlib_module_names for alias in node.names)
    assert f"from {inside.__name__}.{names[0]} import main" in files["main.py"]
