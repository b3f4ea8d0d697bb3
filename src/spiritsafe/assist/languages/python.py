"""Python: tests under pytest.

In: a file, or the folder of a project. Out: its subjects.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import final

from spiritsafe.assist.python.faults import python_faults
from spiritsafe.assist.python.joining import joined_tests
from spiritsafe.assist.python.judging import kills_in_module
from spiritsafe.assist.python.project import PythonModule, project_files, python_module, readable_parts
from spiritsafe.assist.python.selection import only_tests
from spiritsafe.assist.python.turns import ModuleTests, sandbox_with
from spiritsafe.assist.subject import Subject
from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.code import Kills, Mutant

SUFFIXES = (".py",)


@final
class _PythonSubject:
    """One Python file; see :class:`~spiritsafe.assist.subject.Subject`."""

    language = "python"

    def __init__(self, module: PythonModule, mutants: Sequence[Mutant], num_same: int) -> None:
        self._module = module
        self.path, self.source = module.path, module.source
        self.mutants, self.num_same = mutants, num_same
        name = module.name.rpartition(".")[2].strip("_")
        self.test_name = f"test_{name or 'module'}.py"

    def rules(self) -> str:
        """How the module is imported, what makes a test, and what tests must not do."""
        name = self._module.name
        return f"""Write tests for pytest: one Python file. Import what you test from `{name}`, as in \
`from {name} import ...` or `import {name}`. A test is a function whose name begins with `test_`, or a method of a \
class whose name begins with `Test`; fixtures, `pytest.mark.parametrize`, `pytest.raises` and `unittest.TestCase` \
work. There is no conftest.py and no plugin, so no test is async. Tests run in any order and each must hold alone; \
nothing random, no clock, no sleeping, no threads and no other processes, no network, and no files but in `tmp_path`. \
They judge what the code does: one that looks at its source or its byte code is discarded."""

    def examine(self, tests: str) -> Kills:
        """What tests are worth."""
        return self.judge(tests, [mutant.source for mutant in self.mutants])

    def judge(self, tests: str, programs: Sequence[str]) -> Kills:
        """As :meth:`examine`, for other versions of the file."""
        sandbox = sandbox_with(readable_parts(self._module.tops))
        return kills_in_module(sandbox, ModuleTests(module=self._module, text=tests, name=self.test_name), programs)

    def only(self, tests: str, names: Collection[str]) -> str:
        """The same tests without all others than those named."""
        return only_tests(tests, names)

    def joined(self, suites: Sequence[str]) -> str:
        """Several texts of tests as one."""
        return joined_tests(suites)


def open_subjects(path: Path, *, most_mutants: int, seed: int) -> list[Subject]:
    """The modules of a project that have anything to test, or the one file.

    Args:
        path: A file or a folder.
        most_mutants: Of each file.
        seed: What they are drawn with, where there are more.

    Raises:
        TaskError: There is no such file, it is not Python, it cannot be imported, or there is nothing to test in it.
    """
    files = project_files(path) if path.is_dir() else [path]
    subjects: list[Subject] = []
    for file in files:
        module = python_module(file)
        mutants, num_same = python_faults(module.source, most=most_mutants, seed=seed)
        if mutants:
            subjects.append(_PythonSubject(module, mutants, num_same))
    if not subjects:
        raise TaskError(
            f"There is nothing to test in {path}: no fault can be put into it.",
            hint="Name a file with functions or methods that do something.",
        )
    return subjects
