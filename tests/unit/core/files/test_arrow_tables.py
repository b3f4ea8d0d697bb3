"""What pyarrow raises, of many kinds, comes as one kind."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from spiritsafe.core.files.arrow_tables import _as_value_errors, csv_rows, parquet_rows, unpacked


@pytest.mark.parametrize(
    "kind", [pa.ArrowInvalid, pa.ArrowNotImplementedError, pa.ArrowKeyError, pa.ArrowTypeError, pa.ArrowMemoryError]
)
def test_every_kind_of_error(kind: type[Exception]) -> None:
    @_as_value_errors
    def read() -> Iterator[Any]:
        yield 1
        raise kind("why")

    rows = read()
    assert next(rows) == 1
    with pytest.raises(ValueError, match="why"):
        next(rows)


def test_rows_and_bytes() -> None:
    sink = io.BytesIO()
    pa.parquet.write_table(pa.table({"a": [1, 2]}), sink)
    assert list(parquet_rows(io.BytesIO(sink.getvalue()), lambda row, number: {**row, "number": number})) == [
        {"a": 1, "number": 1},
        {"a": 2, "number": 2},
    ]
    assert list(csv_rows(io.BufferedReader(io.BytesIO(b"a;b\n1;2\n")), ";", 1 << 20)) == [{"a": "1", "b": "2"}]
    assert unpacked(io.BytesIO(pa.compress(b"abc", "zstd", asbytes=True)), "zstd")(2) == b"ab"
