"""Python: tests under pytest.

In: a file, or the folder of a project. Out: its subjects.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import final

from spiritsafe.assist.code_report import FileTrouble
from spiritsafe.assist.opening import Opening, UnusableFile
from spiritsafe.assist.python.environment import PythonEnvironment
from spiritsafe.assist.python.faults import python_faults
from spiritsafe.assist.python.joining import joined_tests
from spiritsafe.assist.python.judging import TURN_CPU_S, kills_in_module
from spiritsafe.assist.python.project import PythonModule, project_files, python_module
from spiritsafe.assist.python.selection import only_tests
from spiritsafe.assist.python.turns import ModuleTests, ModuleTurn, run_module_turns, sandbox_with
from spiritsafe.assist.subject import Subject
from spiritsafe.core.canonical import digest, digest_bytes
from spiritsafe.core.errors import TaskError
from spiritsafe.tasks import Sandbox
from spiritsafe.tasks.code import Kills, Mutant

SUFFIXES = (".py",)
_MISSING = re.compile(r"ModuleNotFoundError: No module named '([\w.]+)'")
_LOOK = "Look at what it does when it is imported: there is no network, no input, and no file but the project's."
_ENVIRONMENTS = (".venv", "venv")
_NOTHING = "def test_nothing():\n    pass\n"


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
        self._trouble: list[FileTrouble | None] = []

    def rules(self) -> str:
        """How the module is imported, what makes a test, and what tests must not do."""
        name = self._module.name
        return f"""Write tests for pytest: one Python file. Import what you test from `{name}`, as in \
`from {name} import ...` or `import {name}`. A test is a function whose name begins with `test_`, or a method of a \
class whose name begins with `Test`; fixtures, `pytest.mark.parametrize`, `pytest.raises` and `unittest.TestCase` \
work. There is no conftest.py and no plugin, so no test is async. Tests run in any order and each must hold alone; \
nothing random, no clock, no sleeping, no threads and no other processes, no network, and no files but in `tmp_path`. \
They judge what the code does: one that looks at its source or its byte code is discarded."""

    def needs(self) -> str:
        """A digest of the rest of the project, and of the version of Python that imports it."""
        files = {name: digest_bytes(content) for name, content in self._module.files().items()}
        return digest({"files": files, "module": self._module.name, "python": self._module.environment.version[:2]})

    def trouble(self) -> FileTrouble | None:
        """Why it cannot be imported; tried once."""
        if not self._trouble:
            self._trouble.append(self._import_trouble())
        return self._trouble[0]

    def _import_trouble(self) -> FileTrouble | None:
        module = self._module
        tests = ModuleTests(module=module, text=_NOTHING, name=self.test_name)
        result = run_module_turns(self._sandbox(), tests, [module.source], [ModuleTurn(0)], cpu_s=TURN_CPU_S)
        turn = next(iter(result.turns), None)
        if turn is not None and turn.has_passed:
            return None
        why = f"it was ended: {result.stop or 'its process is gone'}"
        if turn is not None:
            why = turn.lost or "importing it takes too long, or ends the process"
        reason = f"{module.path} cannot be imported in the sandbox: {why}."
        missing = _MISSING.match(why)
        if missing is None:
            return FileTrouble(reason=reason, hint=_LOOK)
        return FileTrouble(reason=reason, hint=_hint_for(missing[1].partition(".")[0], module))

    def _sandbox(self) -> Sandbox:
        return sandbox_with(self._module.environment.readable_parts(self._module.tops))

    def examine(self, tests: str) -> Kills:
        """What tests are worth."""
        return self.judge(tests, [mutant.source for mutant in self.mutants])

    def judge(self, tests: str, programs: Sequence[str]) -> Kills:
        """As :meth:`examine`, for other versions of the file."""
        return kills_in_module(
            self._sandbox(), ModuleTests(module=self._module, text=tests, name=self.test_name), programs
        )

    def only(self, tests: str, names: Collection[str]) -> str:
        """The same tests without all others than those named."""
        return only_tests(tests, names)

    def joined(self, suites: Sequence[str]) -> str:
        """Several texts of tests as one."""
        return joined_tests(suites)


def _hint_for(missing: str, module: PythonModule) -> str:
    """What to do where a module is missing."""
    named = module.environment.named
    if named is not None:
        return f"Install what gives {missing} there: {named} -m pip install …"
    environments = [folder / name / "bin" / "python" for folder in _project_folders(module) for name in _ENVIRONMENTS]
    found = next((path for path in environments if path.exists()), None)
    if found is not None:
        return f"There is an environment beside it: add --python {found}"
    return f"Install what gives {missing} beside spiritsafe, or name the project's own Python with --python."


def _project_folders(module: PythonModule) -> tuple[Path, ...]:
    """Where a project's environment may stand: where it is imported from, and around a folder ``src``."""
    return (module.root, module.root.parent) if module.root.name == "src" else (module.root,)


def open_subjects(
    path: Path, *, most_mutants: int, seed: int, python: PythonEnvironment | None = None
) -> list[Subject | UnusableFile]:
    """The modules of a project that have anything to test, or the one file.

    Args:
        path: A file or a folder.
        most_mutants: Of each file.
        seed: What they are drawn with, where there are more.
        python: What runs them; spiritsafe's own when left out.

    Raises:
        TaskError: There is no such file, it is not Python, or there is nothing to test in it.
    """
    opening = Opening(path, "python")
    files = project_files(path) if path.is_dir() else [path]
    modules = opening.each(files, Path, lambda file: python_module(file, python))
    subjects: list[Subject | UnusableFile] = []
    for module in modules:
        mutants, num_same = python_faults(module.source, most=most_mutants, seed=seed)
        if mutants:
            subjects.append(_PythonSubject(module, mutants, num_same))
    subjects += opening.unusable
    if not subjects:
        raise TaskError(
            f"There is nothing to test in {path}: no fault can be put into it.",
            hint="Name a file with functions or methods that do something.",
        )
    return subjects
