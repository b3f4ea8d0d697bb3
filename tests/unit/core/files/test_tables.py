"""Files of rows: every layout gives the same rows, and nothing that a file holds or claims costs more than an error."""

from __future__ import annotations

import contextlib
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from table_parts import packed_rows, write_rows

from spiritsafe.core.canonical import digest_bytes
from spiritsafe.core.errors import SourceError
from spiritsafe.core.files import tables
from spiritsafe.core.files.tables import RowFile

ROWS: list[dict[str, Any]] = [
    {"question": f'Wie viele "Äpfel", {n}?\nSo viele.', "answer": f"00{n}"} for n in range(200)
]
NESTED: list[dict[str, Any]] = [
    {"messages": [{"role": "user", "content": "😀"}], "n": 3, "x": 0.5, "none": None, "is": True, "empty": []}
]
LAYOUTS = {".jsonl": "json lines", ".ndjson": "json lines", ".json": "json array", ".csv": "csv", ".tsv": "csv",
           ".parquet": "parquet"}  # fmt: skip
NAMES = [name + packing for name in LAYOUTS if name != ".parquet" for packing in ("", ".gz", ".zst")] + [".parquet"]


def read(path: Path, data: bytes) -> list[Any]:
    path.write_bytes(data)
    return list(RowFile(path).rows())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("chunk", [7, 1 << 20])
def test_every_layout_gives_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, chunk: int
) -> None:
    path = tmp_path / f"data{name}"
    write_rows(path, ROWS)
    monkeypatch.setattr(tables, "_CHUNK_BYTES", chunk)
    file = RowFile(path)
    with pytest.raises(SourceError, match="not read to its end"):
        _ = file.digest
    assert list(file.rows()) == ROWS
    assert file.layout == LAYOUTS["." + name.split(".")[1]]
    assert (file.digest, file.num_bytes) == (digest_bytes(path.read_bytes()), path.stat().st_size)
    assert list(file.rows()) == ROWS  # as often as one likes


@pytest.mark.parametrize("name", [".jsonl", ".json", ".parquet", ".json.gz"])
def test_values_are_those_of_json(tmp_path: Path, name: str) -> None:
    assert read(tmp_path / f"a{name}", packed_rows(name, NESTED)) == NESTED


def test_values_that_json_has_not_become_texts(tmp_path: Path) -> None:
    import datetime
    import decimal

    row = {"day": datetime.date(2026, 1, 2), "price": decimal.Decimal("1.50"), "raw": b"abc", "map": {"a": [b"x"]}}
    assert read(tmp_path / "a.parquet", packed_rows(".parquet", [row])) == [
        {"day": "2026-01-02", "price": "1.50", "raw": "abc", "map": {"a": ["x"]}}
    ]


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:
    for name, data in ((".jsonl", b'{"a": 1}\n'), (".json", b' [{"a": 1}]'), (".csv", b"a\n1\n")):
        assert read(tmp_path / f"a{name}", b"\xef\xbb\xbf" + data)[0]["a"] in (1, "1")
        assert read(tmp_path / f"a{name}.gz", gzip.compress(b"\xef\xbb\xbf" + data))[0]["a"] in (1, "1")


def test_csv_is_text_as_it_stands(tmp_path: Path) -> None:
    data = b'id,answer,note\r\n007,1.50,"a ""b"",\r\nc"\r\nNULL,NaN,\r\n\r\n'
    assert read(tmp_path / "a.csv", data) == [
        {"id": "007", "answer": "1.50", "note": 'a "b",\r\nc'},
        {"id": "NULL", "answer": "NaN", "note": ""},
    ]
    assert read(tmp_path / "a.csv", b"a,b\n") == []


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.txt", "a.parquet", "a.jsonl.gz", "a"])
def test_json_lines_may_have_any_name(tmp_path: Path, name: str) -> None:
    assert read(tmp_path / name, b'\n{ "a": "1, 2" }\n{"a": "x\\ty"}\n') == [{"a": "1, 2"}, {"a": "x\ty"}]
    assert read(tmp_path / "b.csv", b"{a},b\n1,2\n") == [{"{a}": "1", "b": "2"}]


def test_what_is_not_there_is_no_damaged_file(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file") as caught:
        RowFile(tmp_path / "none.jsonl")
    assert caught.value.hint == "Check that it exists and is yours to read."


def test_a_torn_last_line_is_left_out_and_another_is_an_error(tmp_path: Path) -> None:
    assert read(tmp_path / "a.jsonl", b'{"a": 1}\n\n{"a": 2}\n{"a": ') == [{"a": 1}, {"a": 2}]
    with pytest.raises(SourceError, match="line 2 is not valid JSON"):
        read(tmp_path / "a.jsonl", b'{"a": 1}\n{"a": \n{"a": 2}')
    with pytest.raises(SourceError, match="line 1 is not valid JSON"):
        read(tmp_path / "a.jsonl", b"question,answer\n")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'[{"a": 1}', "row 1: not valid JSON: it ends too early"),
        (b'[{"a": 1},', "row 2: not valid JSON: Expecting value"),
        (b"[12", "row 1: not valid JSON: it ends too early"),
        (b'[{"a": 1} {"a": 2}]', "row 1: not valid JSON: no comma"),
        (b'[{"a": 1},]', "row 2: not valid JSON: Expecting value"),
        (b'[{"a": 1}] []', "there is more behind the end"),
        (b'[{"a": "\xff"}]', "utf-8"),
        (b'[{"a": NaN}]', "NaN is no number"),
        (b"[" * 100_000, "row 1: not valid JSON: maximum recursion"),
        (b'[{"a" 1}' + b" " * 100, "row 1: not valid JSON: Expecting ':'"),
        (b'["' + b"x" * 100, "row 1: not valid JSON: Unterminated string"),
    ],
)
@pytest.mark.parametrize("chunk", [1, 1 << 20])
def test_a_damaged_array_is_one_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, message: str, chunk: int
) -> None:
    monkeypatch.setattr(tables, "_CHUNK_BYTES", chunk)
    with pytest.raises(SourceError, match=message):
        read(tmp_path / "a.json", data)


def test_arrays_as_others_write_them(tmp_path: Path) -> None:
    for data, rows in ((b" [ ]\n", []), (b"[1,-2.5e3 ,true\n,null]", [1, -2500.0, True, None])):
        assert read(tmp_path / "a.json", data) == rows
    assert read(tmp_path / "b.json", b'{"a": 1}\n') == [{"a": 1}]  # lines, whatever they are called


@pytest.mark.parametrize("name", NAMES)
def test_what_is_cut_off_or_changed_gives_rows_or_an_error(tmp_path: Path, name: str) -> None:
    whole = packed_rows(name, ROWS)
    for place in range(0, len(whole), max(1, len(whole) // 40)):
        flipped = bytes([*whole[:place], whole[place] ^ 0x55, *whole[place + 1 :]])
        for data in (whole[:place], flipped):
            with contextlib.suppress(SourceError):  # nothing else
                assert len(read(tmp_path / f"a{name}", data)) <= len(ROWS) + 1
    if name.endswith((".gz", ".zst", ".parquet")):
        with pytest.raises(SourceError, match="cannot be read"):
            read(tmp_path / f"a{name}", whole[: len(whole) // 2])


def test_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="two columns are called 'a'"):
        read(tmp_path / "a.csv", b"a,b,a\n1,2,3\n")
    with pytest.raises(SourceError, match="Expected 2 columns, got 1"):
        read(tmp_path / "a.csv", b"a,b\n1\n")


@pytest.mark.parametrize("data", [b"PK\x03\x04", b"BZh91AY", b"\xfd7zXZ\0", b"a\0b", gzip.compress(b"a\0b", mtime=0)])
def test_what_holds_no_rows_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    with pytest.raises(SourceError, match="neither JSON lines nor text"):
        RowFile(tmp_path / "file")
    with pytest.raises(SourceError, match="cannot be read: No such file"):
        RowFile(tmp_path / "missing")


def test_a_row_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MOST_ROW_BYTES", 1 << 20)
    row = {"a": "x" * (2 << 20)}
    for name in (".jsonl", ".json", ".parquet", ".jsonl.gz"):
        with pytest.raises(SourceError, match="1: longer than"):
            read(tmp_path / f"a{name}", packed_rows(name, [row]))
    with pytest.raises(SourceError, match="cannot be read"):
        read(tmp_path / "a.csv", packed_rows(".csv", [row]))


def test_a_packed_file_has_a_bound(tmp_path: Path) -> None:
    for packing in ("gzip", "zstd"):
        data = gzip.compress(b'{"a": 1}\n' * 10_000) if packing == "gzip" else pa.compress(
            b'{"a": 1}\n' * 10_000, "zstd", asbytes=True
        )  # fmt: skip
        (tmp_path / "a").write_bytes(data)
        assert len(list(RowFile(tmp_path / "a", most_bytes=90_000).rows())) == 10_000
        with pytest.raises(SourceError, match="unpacks to more than 89,999 bytes"):
            list(RowFile(tmp_path / "a", most_bytes=89_999).rows())


BOUNDED = """
import resource, sys
from pathlib import Path
from spiritsafe.core.errors import SourceError
from spiritsafe.core.files.tables import RowFile
import spiritsafe.core.files.arrow_tables
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    count = sum(1 for _ in RowFile(Path(sys.argv[1])).rows())
except SourceError as error:
    count = error.message
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10, count)
"""


@pytest.mark.parametrize("bomb", ["zeros", "rows", "parquet", "shared"])
def test_bombs_cost_no_memory(tmp_path: Path, bomb: str) -> None:
    path = tmp_path / ("a.parquet" if bomb in ("parquet", "shared") else "a.jsonl.gz")
    if bomb == "zeros":  # one line of 1 GiB
        with gzip.open(path, "wb", compresslevel=1) as file:
            for _ in range(1024):
                file.write(b" " * (1 << 20))
    elif bomb == "rows":
        with gzip.open(path, "wb", compresslevel=1) as file:
            for _ in range(10):
                file.write(b'{"a": 1}\n' * 20_000)
    elif bomb == "parquet":  # very many rows in some KB
        pa.parquet.write_table(pa.table({"a": ["x"] * 300_000}), path)
    else:  # 400 rows share a text of 4 MB: 1.6 GB
        text = pa.DictionaryArray.from_arrays(pa.array([0] * 400, pa.int32()), pa.array(["x" * (4 << 20)]))
        pa.parquet.write_table(pa.table({"a": text}), path)
    done = subprocess.run(
        [sys.executable, "-c", BOUNDED, str(path)], capture_output=True, text=True, check=True, timeout=300
    )
    grown, found = done.stdout.split(" ", 1)
    assert int(grown) < 300, done.stdout
    expected = {"zeros": "longer than", "rows": "200000", "parquet": "300000", "shared": "400"}[bomb]
    assert expected in found


def test_json_lines_load_no_pyarrow(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", NESTED)
    code = (
        "import json, sys; from pathlib import Path; from spiritsafe.core.files.tables import RowFile\n"
        "print(json.dumps([list(RowFile(Path(sys.argv[1])).rows()), 'pyarrow' in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.jsonl")], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout) == [NESTED, False]
