"""Rows of Parquet and CSV, and streams that are packed, as pyarrow reads them.

In: open files. Out: rows, bytes. For :mod:`spiritsafe.core.files.tables`, which bounds them and says what is wrong.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Callable, Iterator
from typing import IO, Any, ParamSpec

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

_ROWS = 64  # decoded at a time; long texts count once, however many rows share them
_HEADER_BYTES = 1 << 20


_P = ParamSpec("_P")


def _as_value_errors(read: Callable[_P, Iterator[Any]]) -> Callable[_P, Iterator[Any]]:
    """Whatever pyarrow raises, of many kinds, as one kind."""

    @functools.wraps(read)
    def reading(*args: _P.args, **kwargs: _P.kwargs) -> Iterator[Any]:
        try:
            yield from read(*args, **kwargs)
        except pa.ArrowException as error:
            raise ValueError(str(error)) from error

    return reading


def unpacked(file: IO[bytes], packing: str) -> Callable[[int], bytes]:
    """What reads on in what a file unpacks to."""
    read: Callable[[int], bytes] = pa.CompressedInputStream(pa.PythonFile(file, "r"), packing).read
    return read


@_as_value_errors
def parquet_rows(file: IO[bytes], sized: Callable[[Any, int], Any]) -> Iterator[Any]:
    """Rows as dictionaries of JSON values; other values as texts.

    Args:
        file: Which can be read from any place.
        sized: Gives back a row, with its number, if it is not too large.
    """
    schema = pa.parquet.read_schema(file)
    _only_once(schema.names)
    file.seek(0)
    columns = pa.parquet.read_metadata(file).schema
    texts = [columns.column(i).path for i in range(len(columns)) if columns.column(i).physical_type == "BYTE_ARRAY"]
    file.seek(0)
    number = 0
    # as dictionaries: a text that a thousand rows share is unpacked once
    table = pa.parquet.ParquetFile(file, read_dictionary=texts)
    for batch in table.iter_batches(batch_size=_ROWS, use_threads=False):
        for index in range(batch.num_rows):
            number += 1
            row = {name: column[index].as_py() for name, column in zip(batch.schema.names, batch.columns, strict=True)}
            yield _plain(sized(row, number))


@_as_value_errors
def csv_rows(file: io.BufferedReader, delimiter: str, most_row_bytes: int) -> Iterator[Any]:
    """Rows as dictionaries of texts, as they stand.

    Args:
        file: To be read.
        delimiter: Between two values.
    """
    parsing = pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)

    first_line = file.readline(_HEADER_BYTES)
    names = pa.csv.open_csv(pa.BufferReader(first_line), parse_options=parsing).schema.names
    _only_once(names)
    if not file.peek(1):
        return
    reading = pa.csv.ReadOptions(use_threads=False, block_size=most_row_bytes, column_names=names)
    types = pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False)
    for batch in pa.csv.open_csv(pa.PythonFile(file, "r"), reading, parsing, types):
        for offset in range(0, batch.num_rows, _ROWS):
            yield from batch.slice(offset, _ROWS).to_pylist()


def _only_once(names: list[str]) -> None:
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f"two columns are called {min(twice)!r}")


def _plain(value: Any) -> Any:
    """A value as JSON has it; what it has not becomes a text."""
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
