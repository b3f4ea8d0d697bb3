"""Files of rows in every layout."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet


def packed_rows(name: str, rows: Sequence[Mapping[str, Any]]) -> bytes:
    """What a file of that name holds."""
    if name.endswith(".gz"):
        return gzip.compress(packed_rows(name.removesuffix(".gz"), rows), mtime=0)
    if name.endswith(".zst"):
        packed: bytes = pa.compress(packed_rows(name.removesuffix(".zst"), rows), "zstd", asbytes=True)
        return packed
    if name.endswith(".parquet"):
        sink = io.BytesIO()
        pa.parquet.write_table(pa.Table.from_pylist(list(rows)), sink)
        return sink.getvalue()
    if name.endswith((".csv", ".tsv")):
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if name.endswith(".tsv") else ",")
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()
    if name.endswith(".json"):
        return json.dumps(list(rows), indent=1).encode()
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """A file in the layout that its name says."""
    path.write_bytes(packed_rows(path.name, rows))
