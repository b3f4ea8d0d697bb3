from __future__ import annotations

from pathlib import Path

from spiritsafe.assist.compiled.needed import CodeFile, needed_files


def file(name: str, takes: str) -> CodeFile:
    return CodeFile(path=Path(name), text="", gives=frozenset({name}), takes=frozenset(takes))


def test_what_is_needed_stands_in_front_of_what_needs_it() -> None:
    files = {name: file(name, takes) for name, takes in {"a": "bc", "b": "d", "c": "d", "d": "", "e": "a"}.items()}
    assert [one.path.name for one in needed_files(files["a"], files.values())] == ["d", "b", "c"]
    assert [one.path.name for one in needed_files(files["e"], files.values())] == ["d", "b", "c", "a"]
    assert needed_files(files["d"], files.values()) == []


def test_a_circle_has_an_end() -> None:
    files = [file("a", "b"), file("b", "a")]
    assert needed_files(files[0], files) == [files[1]]
