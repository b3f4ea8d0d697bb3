import threading
from pathlib import Path

import pytest
from full_disk import limited

from spiritsafe.core.errors import SourceError
from spiritsafe.core.files.json_lines import append_line, cut_torn_line, read_json_lines, set_aside


def test_a_full_disk_leaves_no_half_line(tmp_path: Path) -> None:
    done = limited(
        tmp_path,
        """
        try:
            for number in range(1000):
                append_line(path, {"number": number, "filler": "x" * 100})
        except StorageError as error:
            print(error.diagnostics())
        """,
    )
    assert "cannot be written" in done.stdout, done.stderr
    assert (tmp_path / "file").read_bytes().endswith(b"}\n")
    lines = read_json_lines(tmp_path / "file")
    assert [line["number"] for line in lines] == list(range(len(lines)))
    append_line(tmp_path / "file", "goes on")
    assert read_json_lines(tmp_path / "file")[-1] == "goes on"


def test_lines_are_appended_and_a_torn_last_one_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for value in ({"b": 1, "a": "é\n"}, [2], None):
        append_line(path, value, sync=True)
    assert path.read_bytes() == '{"a": "é\\n", "b": 1}\n[2]\nnull\n'.encode()
    assert read_json_lines(path) == [{"b": 1, "a": "é\n"}, [2], None]
    with path.open("ab") as file:
        file.write(b'{"torn": ')
    assert read_json_lines(path) == [{"b": 1, "a": "é\n"}, [2], None]
    with path.open("ab") as file:
        file.write(b"\n[3]\n")
    with pytest.raises(SourceError, match="line 4"):
        read_json_lines(path)


def test_appends_of_many_threads_stay_whole(tmp_path: Path) -> None:
    path = tmp_path / "log"

    def write(name: int) -> None:
        for number in range(100):
            append_line(path, {"name": name, "number": number, "filler": "x" * 500})

    threads = [threading.Thread(target=write, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    lines = read_json_lines(path)
    assert sorted((line["name"], line["number"]) for line in lines) == [(n, i) for n in range(4) for i in range(100)]


def test_what_is_set_aside_gets_a_new_file_each_time(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / "log.torn").symlink_to(victim)
    for data in (b"one", b"two"):
        set_aside(tmp_path / "log", data)
    found = list(tmp_path.glob("log.*.torn"))
    assert sorted(path.read_bytes() for path in found) == [b"one\n", b"two\n"]
    assert {path.stat().st_mode & 0o777 for path in found} == {0o600}
    assert victim.read_text() == "mine"


@pytest.mark.parametrize("kept", [b"", b'{"a":1}\n', b"1\n" * 100_000])
@pytest.mark.parametrize("torn", [b"", b"{", b"x" * 200_000])
def test_what_a_killed_writer_left_of_a_line_is_cut_off(tmp_path: Path, kept: bytes, torn: bytes) -> None:
    path = tmp_path / "file"
    cut_torn_line(path)
    assert not path.exists()
    path.write_bytes(kept + torn)
    cut_torn_line(path)
    assert path.read_bytes() == kept
