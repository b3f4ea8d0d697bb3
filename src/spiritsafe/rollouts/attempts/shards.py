"""Graded attempts on disk: Parquet shards of a fixed schema, and the manifest that says what they are.

::

    <directory>/
      manifest.json          the inputs; their digest stands in every shard
      shard-00000.parquet    problems 0 … shard_size - 1, rows in order of problem, then sample

In: records. Out: files that are whole or absent, and the records back, exactly. Two collections of the same inputs
differ in nothing but the column ``seconds``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import Field

from spiritsafe.core.canonical import canonical_json
from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.core.files.atomic import atomic_path, read_json, write_json
from spiritsafe.core.records import Attempt, Record, Sampling, Verdict

_SANDBOX = "verdict_sandbox"
"""The column that shards of earlier versions lack."""
_FIELDS: list[Any] = [
    pa.field("problem_id", pa.string(), nullable=False),
    pa.field("sample_index", pa.int64(), nullable=False),
    pa.field("model", pa.string(), nullable=False),
    pa.field("sampling", pa.string(), nullable=False),  # canonical JSON
    pa.field("seed", pa.int64(), nullable=False),
    pa.field("text", pa.string(), nullable=False),
    pa.field("finish_reason", pa.string(), nullable=False),
    pa.field("token_ids", pa.list_(pa.field("element", pa.int32(), nullable=False)), nullable=False),
    pa.field("logprobs", pa.list_(pa.field("element", pa.float64(), nullable=False)), nullable=False),
    pa.field("num_prompt_tokens", pa.int64(), nullable=False),
    pa.field("num_tokens", pa.int64(), nullable=False),
    pa.field("seconds", pa.float64(), nullable=False),
    pa.field("error", pa.string()),
    pa.field("verdict_status", pa.string(), nullable=False),
    pa.field("verdict_score", pa.float64(), nullable=False),
    pa.field("verdict_answer", pa.string()),
    pa.field("verdict_reason", pa.string(), nullable=False),
    pa.field("verdict_verifier", pa.string(), nullable=False),
    pa.field("verdict_version", pa.string(), nullable=False),
    pa.field(_SANDBOX, pa.string()),
]
SCHEMA: pa.Schema = pa.schema(_FIELDS)
"""One row: an Attempt's fields, then the Verdict's with ``verdict_`` before them."""

_MARK = b"spiritsafe"
_MANIFEST = "manifest.json"
_ROWS_A_BATCH = 1024


@final
class ShardEntry(Record):
    """One shard: its file, how many problems it holds and the digest of them."""

    file: str
    num_problems: int = Field(ge=1)
    problems: str


@final
class Manifest(Record):
    """Everything a collection depends on.

    Attributes:
        task: Canonical name of the task, with ``version`` of its problems.
        verifier: Name and version of its verifier.
        model: Digest of the Generator.
    """

    format: Literal[1] = 1
    task: str
    verifier: str
    version: str
    model: str
    sampling: Sampling
    num_samples: int = Field(ge=1)
    seed: int = Field(ge=0)
    shard_size: int = Field(ge=1)
    shards: tuple[ShardEntry, ...]


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Write ``manifest.json``."""
    write_json(directory / _MANIFEST, manifest.to_json())


def read_manifest(directory: Path) -> Manifest | None:
    """The directory's manifest; None when there is none.

    Raises:
        SourceError: It cannot be read.
        IntegrityError: It is not a manifest.
    """
    path = directory / _MANIFEST
    return Manifest.from_json(read_json(path)) if path.exists() else None


def _mark(manifest: Manifest, index: int) -> bytes:
    return canonical_json({"inputs": manifest.content_digest, "shard": index})


def write_shard(directory: Path, manifest: Manifest, index: int, rows: Sequence[tuple[Attempt, Verdict]]) -> None:
    """Write one shard, whole or not at all.

    Raises:
        StorageError: The disk is full, or the directory cannot be written.
    """
    columns: dict[str, list[Any]] = {name: [] for name in SCHEMA.names}
    sampling_json: dict[int, str] = {}  # by identity: attempts of one call share one Sampling
    for attempt, verdict in rows:
        for name in Attempt.model_fields:
            value = getattr(attempt, name)
            if name == "sampling":
                value = sampling_json.setdefault(id(value), value.canonical().decode("utf-8"))
            columns[name].append(value)
        for name in Verdict.model_fields:
            columns[f"verdict_{name}"].append(getattr(verdict, name))
    schema = SCHEMA.with_metadata({_MARK: _mark(manifest, index)})
    table = pa.Table.from_pydict(columns, schema=schema)
    with atomic_path(directory / manifest.shards[index].file) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def is_finished(directory: Path, manifest: Manifest, index: int) -> bool:
    """Whether a shard is there, readable, of these inputs, and has all its rows."""
    path = directory / manifest.shards[index].file
    if not path.exists():
        return False
    try:
        with pq.ParquetFile(path) as file:
            return bool(
                (file.schema_arrow.metadata or {}).get(_MARK) == _mark(manifest, index)
                and file.metadata.num_rows == manifest.shards[index].num_problems * manifest.num_samples
            )
    except (pa.ArrowException, OSError):
        return False


def _open(directory: Path, manifest: Manifest, index: int) -> Any:
    path = directory / manifest.shards[index].file
    if not path.exists():
        raise SourceError(f"{path} is missing: the collection is unfinished.", hint="Run the same command again.")
    if not is_finished(directory, manifest, index):
        raise IntegrityError(
            f"{path} is damaged, or belongs to another collection.", hint="Run the same command again to redo it."
        )
    return pq.ParquetFile(path)


def read_shard(directory: Path, manifest: Manifest, index: int) -> Iterator[tuple[Attempt, Verdict]]:
    """The rows of one shard, as they were written.

    Raises:
        SourceError: It is missing.
        IntegrityError: It is damaged.
    """
    samplings: dict[str, Sampling] = {}
    with _open(directory, manifest, index) as file:
        try:
            for batch in file.iter_batches(batch_size=_ROWS_A_BATCH):
                for row in batch.to_pylist():
                    row.setdefault(_SANDBOX, None)
                    verdict = {name: row.pop(f"verdict_{name}") for name in Verdict.model_fields}
                    text = row["sampling"]
                    if text not in samplings:
                        samplings[text] = Sampling.from_json(json.loads(text))
                    yield Attempt.from_json({**row, "sampling": samplings[text]}), Verdict.from_json(verdict)
        except (pa.ArrowException, OSError, KeyError, ValueError) as error:
            raise IntegrityError(
                f"{directory / manifest.shards[index].file} is damaged: {error}.",
                hint="Remove the file and run the same command again.",
            ) from error


def read_columns(
    directory: Path, manifest: Manifest, names: Sequence[str], *, shards: Sequence[int] | None = None
) -> dict[str, list[Any]]:
    """Some columns of some shards, in order; None: of all.

    Raises:
        SourceError: A shard is missing.
        IntegrityError: A shard is damaged.
    """
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for index in range(len(manifest.shards)) if shards is None else shards:
        with _open(directory, manifest, index) as file:
            table = file.read(columns=list(names))
        for name in names:
            columns[name].extend(table.column(name).to_pylist())
    return columns


def rows_digest(directory: Path, manifest: Manifest) -> str:
    """``sha256:<hex>`` over the rows of all shards without ``seconds``: equal for collections of the same content.

    Raises:
        SourceError: A shard is missing.
        IntegrityError: A shard is damaged.
    """
    hasher = hashlib.sha256(manifest.canonical())
    names = [name for name in SCHEMA.names if name != "seconds"]
    for index in range(len(manifest.shards)):
        with _open(directory, manifest, index) as file:
            table = file.read(columns=names)
        for name in names:
            if name == _SANDBOX and (name not in table.column_names or table.column(name).null_count == len(table)):
                continue  # where no foreign code ran, the digest is what it was before there was this column
            for data in _column_bytes(table.column(name)):
                hasher.update(len(data).to_bytes(8, "big"))
                hasher.update(data)
    return f"sha256:{hasher.hexdigest()}"


def _column_bytes(column: Any) -> Iterator[bytes]:
    """A column's content as bytes, whatever chunks and encoding the file used."""
    if pa.types.is_list(column.type):
        yield from _column_bytes(pc.list_value_length(column))
        yield from _column_bytes(pc.list_flatten(column))
    elif pa.types.is_string(column.type):
        yield json.dumps(column.to_pylist()).encode("ascii")
    else:
        numbers = column.to_numpy()
        yield numbers.astype(numbers.dtype.newbyteorder("<")).tobytes()
