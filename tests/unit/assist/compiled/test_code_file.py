from __future__ import annotations

import re
from pathlib import Path

import pytest

from spiritsafe.assist.compiled.code_file import code_files, code_text, included, is_test_file
from spiritsafe.core.errors import SourceError, TaskError

COPY = re.compile(r"copy (\S+)")


def test_text_is_utf8_with_or_without_its_mark(tmp_path: Path) -> None:
    path = tmp_path / "a.f90"
    path.write_bytes(b"\xef\xbb\xbf! caf\xc3\xa9\r\n")
    assert code_text(path) == "! café\r\n"
    path.write_bytes(b"! caf\xe9")
    with pytest.raises(TaskError, match="byte 5 is 0xe9") as raised:
        code_text(path)
    assert "iconv -f latin1 -t utf-8 a.f90" in raised.value.hint
    path.write_bytes(b"x" * ((4 << 20) + 1))
    with pytest.raises(SourceError, match="more than"):
        code_text(path)
    with pytest.raises(SourceError):
        code_text(tmp_path / "none")


def test_a_folder_has_its_code_and_no_tests_and_nothing_hidden(tmp_path: Path) -> None:
    for name in ("b.f", "a.f90", "sub/c.f90", ".git/d.f90", "test_a.f90", "a_test.f90", "x.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.f").mkdir()
    found = code_files(tmp_path, (".f90", ".f"))
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a.f90", "b.f", "sub/c.f90"]
    assert code_files(tmp_path / "test_a.f90", (".f90",)) == [tmp_path / "test_a.f90"]
    assert not is_test_file(Path("latest.f90"))


def test_what_is_included_comes_with_what_it_includes_itself(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "one.cpy").write_text("copy two copy ../out copy /etc/passwd copy sub/three")
    (tmp_path / "TWO").write_text("copy one copy none")
    (tmp_path / "sub" / "three").write_text("")
    (tmp_path.parent / "out").write_text("secret")
    found = included(tmp_path / "a.cob", "copy ONE", COPY, ("", ".cpy"))
    assert found == {
        "ONE.cpy": (tmp_path / "one.cpy").read_bytes(),
        "one.cpy": (tmp_path / "one.cpy").read_bytes(),
        "two": b"copy one copy none",
        "sub/three": b"",
    }
