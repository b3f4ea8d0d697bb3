from __future__ import annotations

from pathlib import Path

from spiritsafe.assist.python.project import python_module
from spiritsafe.assist.python.turns import ModuleTests, ModuleTurn, run_module_turns, sandbox_with


def test_tests_find_python_as_it_is_and_the_project_first(tmp_path: Path) -> None:
    """Also where the project has the name of this one, of whose modules nothing may be left."""
    package = tmp_path / "spiritsafe"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "own.py").write_text("def f(a):\n    return a + 1\n")
    module = python_module(package / "own.py")
    text = """import os, sys, types, pytest, spiritsafe
from spiritsafe.own import f

def test_names():
    assert f(1) == 2
    assert [name for name in sys.modules if name.startswith("spiritsafe")] == ["spiritsafe", "spiritsafe.own"]
    assert exit.name == "exit" and help

def test_places():
    assert sys.path[1] == os.getcwd() + "/project"
    assert os.getcwd() not in sys.path
    assert sys.stdin.read() == ""
    assert sorted(os.environ) == [
        "HOME", "LANG", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "PATH", "PYTEST_CURRENT_TEST",
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD", "PYTEST_VERSION", "TMPDIR",
    ]

def test_libraries():
    import packaging.version, click
    assert pytest.__file__.startswith(os.path.dirname(os.path.dirname(click.__file__)))
    with pytest.raises(ImportError):
        import spiritsafe.core
"""
    tests = ModuleTests(module=module, text=text, name="test_own.py")
    sandbox = sandbox_with(module.environment.readable_parts(module.tops))
    (turn,) = run_module_turns(sandbox, tests, [module.source], [ModuleTurn(0)], cpu_s=5.0).turns
    assert turn.has_passed, turn.why_not
