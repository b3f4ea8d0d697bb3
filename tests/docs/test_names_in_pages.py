"""Every module, public name and file that a page names exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from places import ROOT

import spiritsafe

SOURCE = Path(spiritsafe.__file__).parent
ROOMS = {path.parent.name for path in SOURCE.glob("*/__init__.py")}
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for pattern in ("*.md", "docs/**/*.md", "bench/*.md", "experiments/**/*.md")
    for path in sorted(ROOT.glob(pattern))
}
PAGES = {page: re.sub(r"```toml\n.*?```", "", text, flags=re.S) for page, text in PAGES.items()}  # tables, not rooms
PAGES = {page: re.sub(r"--set \S+?=", "", text) for page, text in PAGES.items()}  # keys of recipes, not rooms
PAGES["CHANGELOG.md"] = PAGES["CHANGELOG.md"].split("\n## ")[1]  # what is released is history
DOTTED = re.compile(rf"(?<![\w./-])(?:spiritsafe\.)?(?:{'|'.join(sorted(ROOMS))})(?:\.\w+)+(?![\w/-])")
FILES = re.compile(
    rf"(?<![\w./-])(?:(?:{'|'.join(sorted(ROOMS))}|src|tests|bench|docs)/)[\w/-]+\.(?:py|md|json|svg|png)\b"
)
IMPORTS = re.compile(r"^from spiritsafe\.(\S+) import (.+)$", flags=re.M)  # in a page's Python
SUFFIXES = {"html", "json", "jsonl", "md", "py", "toml"}
SECTIONS = {"exam.problems"}  # keys of recipes, where a section has a room's name


def exists(name: str) -> bool:
    """Whether a dotted name leads to a module, a public name on a face, or a definition and its attributes."""
    place = SOURCE
    parts = name.removeprefix("spiritsafe.").split(".")
    for number, part in enumerate(parts):
        if (place / part).is_dir():
            place = place / part
        elif (place / f"{part}.py").is_file():
            place = place / f"{part}.py"
        else:
            file = place if place.suffix else place / "__init__.py"
            return number > 0 and defines(ast.parse(file.read_text("utf-8")), parts[number:])
    return True


def defines(tree: ast.Module | ast.ClassDef, names: list[str]) -> bool:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == names[0]:
            return len(names) == 1 or (isinstance(node, ast.ClassDef) and defines(node, names[1:]))
        if isinstance(node, ast.Name) and node.id == names[0] and len(names) == 1:
            return True
        if isinstance(node, ast.ImportFrom) and names[0] in {alias.asname or alias.name for alias in node.names}:
            return len(names) == 1 or exists(".".join([node.module or "", *names]))
    return False


@pytest.mark.parametrize("page", PAGES)
def test_each_dotted_name_exists(page: str) -> None:
    names = {name for name in DOTTED.findall(PAGES[page]) if name.rpartition(".")[2] not in SUFFIXES} - SECTIONS
    names |= {f"{room}.{name}" for room, shown in IMPORTS.findall(PAGES[page]) for name in shown.split(", ")}
    assert sorted(name for name in names if not exists(name)) == []


@pytest.mark.parametrize("page", PAGES)
def test_each_file_exists(page: str) -> None:
    names = set(FILES.findall(PAGES[page]))
    assert sorted(name for name in names if not ((ROOT / name).exists() or (SOURCE / name).exists())) == []


def test_each_name_in_the_sources_exists() -> None:
    texts = {path.relative_to(SOURCE).as_posix(): path.read_text("utf-8") for path in sorted(SOURCE.rglob("*.py"))}
    stale = [
        (path, name)
        for path, text in texts.items()
        for name in {*DOTTED.findall(text), *FILES.findall(text)}
        if ("/" in name and not (ROOT / name).exists() and not (SOURCE / name).exists())
        or (name.startswith("spiritsafe.") and not exists(name))
    ]
    assert stale == []


def test_a_stale_name_is_found() -> None:
    assert exists("spiritsafe.exam.verify")
    assert exists("tasks.registry.build_task")
    assert exists("exam.records")
    assert exists("spiritsafe.tasks.Task.grade")
    assert not exists("spiritsafe.tasks.Task.no_such_method")
    assert not exists("exam.places")
    assert not exists("spiritsafe.core.files.atomic.no_such_function")
    assert DOTTED.findall("`exam.places`, see spiritsafe.core.stats.") == ["exam.places", "spiritsafe.core.stats"]
    assert FILES.findall("in `core/sealed.py` and stages/02-seal/paper.json") == ["core/sealed.py"]


def test_the_pages_name_modules() -> None:
    assert len(DOTTED.findall(PAGES["docs/papers.md"])) >= 30


def test_each_paper_that_the_sources_cite_stands_on_its_page() -> None:
    cited = re.compile(r"\b\d{4}\.\d{5}\b")
    found = {name for path in SOURCE.rglob("*.py") for name in cited.findall(path.read_text("utf-8"))}
    assert len(found) >= 30
    assert found - set(cited.findall(PAGES["docs/papers.md"])) == set()
