from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from shop_project import shop_project

from spiritsafe.assist.python import project
from spiritsafe.assist.python.environment import own_environment
from spiritsafe.assist.python.project import project_files, python_module
from spiritsafe.core.errors import TaskError


def written(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def test_a_module_is_found_by_the_packages_around_it(tmp_path: Path) -> None:
    package = shop_project(tmp_path) / "src" / "shop"
    module = python_module(package / "prices.py")
    assert (module.name, module.place, module.is_package) == ("shop.prices", "shop/prices.py", False)
    assert module.root == tmp_path / "src"
    assert module.tops == ("shop",)
    inner = python_module(package / "inner" / "__init__.py")
    assert (inner.name, inner.place, inner.is_package) == ("shop.inner", "shop/inner/__init__.py", True)


def test_the_files_of_a_project_are_all_but_the_one_under_test(tmp_path: Path) -> None:
    package = shop_project(tmp_path) / "src" / "shop"
    (package / "data.bin").write_bytes(b"\0\xff")
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "prices.cpython-311.pyc").write_bytes(b"")
    files = python_module(package / "prices.py").files()
    assert files["shop/data.bin"] == b"\0\xff"
    assert {"shop/__init__.py", "shop/rates.py", "shop/inner/__init__.py"} <= files.keys()
    assert not {name for name in files if "prices" in name and "test" not in name}


def test_a_file_alone_is_imported_beside_its_neighbours(tmp_path: Path) -> None:
    written(tmp_path, one="def f(): return 1", two="def g(): return 2", test_one="", conftest="", setup="")
    (tmp_path / "notes").mkdir()
    module = python_module(tmp_path / "one.py")
    assert (module.name, module.tops) == ("one", ("one", "two"))
    assert module.files() == {"two.py": b"def g(): return 2"}


def test_installed_packages_are_their_own_projects(tmp_path: Path) -> None:
    written(tmp_path, one="", two="")
    (tmp_path / "three").mkdir()
    written(tmp_path / "three", __init__="")
    environment = replace(own_environment(), libraries=(tmp_path,))
    assert python_module(tmp_path / "one.py", environment).tops == ("one",)
    assert python_module(tmp_path / "three" / "__init__.py", environment).tops == ("three",)
    assert python_module(tmp_path / "one.py").tops == ("one", "three", "two")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("missing.py", None, "cannot be read: No such file"),
        ("a-b.py", b"", "'a-b' is no name"),
        ("class.py", b"", "'class' is no name"),
        ("latin.py", b"a = '\xe4'\n", "is not Python"),
        ("broken.py", b"x = 1\ndef (:\n", r"broken\.py is not Python: invalid syntax .*line 2"),
        ("deep.py", b"-" * 200_000 + b"1\n", r"deep\.py is not Python"),
        ("unknown.py", b"# -*- coding: klingon -*-\n", "is not Python"),
    ],
)
def test_what_cannot_be_imported_is_refused(tmp_path: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(TaskError, match=said) as caught:
        python_module(tmp_path / name)
    assert caught.value.hint


def test_files_say_how_they_are_encoded(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_bytes("# -*- coding: latin-1 -*-\na = 'ä'\r\n".encode("latin-1"))
    (tmp_path / "b.py").write_bytes("\ufeffb = 'ä'\n".encode())
    assert python_module(tmp_path / "a.py").source == "# -*- coding: latin-1 -*-\na = 'ä'\n"
    assert python_module(tmp_path / "b.py").source == "b = 'ä'\n"


def test_a_project_is_its_modules_without_tests_and_tools(tmp_path: Path) -> None:
    folder = shop_project(tmp_path)
    wanted = ["__init__.py", "inner/__init__.py", "prices.py", "rates.py"]
    for start in (folder, folder / "src" / "shop"):
        assert [path.relative_to(folder / "src/shop").as_posix() for path in project_files(start)] == wanted


def test_a_project_without_a_folder_for_its_source(tmp_path: Path) -> None:
    written(tmp_path, one="", setup="", noxfile="", test_one="", one_test="")
    for name in ("pack", "tests", "docs", "examples", "data"):
        (tmp_path / name).mkdir()
        written(tmp_path / name, mod="", **({} if name == "data" else {"__init__": ""}))
    found = [path.relative_to(tmp_path).as_posix() for path in project_files(tmp_path)]
    assert found == ["one.py", "pack/__init__.py", "pack/mod.py"]
    with pytest.raises(TaskError, match="no Python modules"):
        project_files(_empty(tmp_path))


def _empty(folder: Path) -> Path:
    (folder / "nothing").mkdir()
    return folder / "nothing"


def test_a_project_with_too_much_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = python_module(shop_project(tmp_path) / "src" / "shop" / "prices.py")
    size = sum(map(len, module.files().values()))
    monkeypatch.setattr(project, "_MOST_BYTES", size)
    assert module.files()
    monkeypatch.setattr(project, "_MOST_BYTES", size - 1)
    with pytest.raises(TaskError, match="MB of files"):
        module.files()
