from pathlib import Path

import pyarrow.parquet as pq
import pytest

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.core.records import Attempt, Sampling, Verdict
from spiritsafe.rollouts.attempts.shards import (
    SCHEMA,
    Manifest,
    ShardEntry,
    is_finished,
    read_columns,
    read_manifest,
    read_shard,
    rows_digest,
    write_manifest,
    write_shard,
)

Row = tuple[Attempt, Verdict]


def manifest(*sizes: int, num_samples: int = 1, seed: int = 0) -> Manifest:
    return Manifest(
        task="t",
        verifier="v",
        version="1",
        model=digest("m"),
        sampling=Sampling(),
        num_samples=num_samples,
        seed=seed,
        shard_size=max(sizes),
        shards=tuple(
            ShardEntry(file=f"shard-{i:05d}.parquet", num_problems=n, problems=digest([i])) for i, n in enumerate(sizes)
        ),
    )


def row(index: int, *, seconds: float = 0.0, text: str = "four") -> Row:
    attempt = Attempt(
        problem_id="p",
        sample_index=index,
        model="m",
        sampling=Sampling(temperature=0.3, stop=("é",)),
        seed=2**52 - 1,
        text=text,
        finish_reason="length",
        token_ids=(1, 2**31 - 1),
        logprobs=(-0.1, -1e-300),
        num_prompt_tokens=3,
        num_tokens=2,
        seconds=seconds,
    )
    return attempt, Verdict(status="correct", score=1.0, answer="4", reason="equal", verifier="v", version="1")


ODD = (
    Attempt(
        problem_id="q",
        sample_index=0,
        model="m",
        sampling=Sampling(),
        seed=0,
        text="\x00 \u2028 😀",
        finish_reason="error",
        error="broke",
    ),
    Verdict(status="unscored", score=0.0, verifier="v", version="1"),
)


def test_the_schema_holds_every_field() -> None:
    assert SCHEMA.names == [*Attempt.model_fields, *(f"verdict_{name}" for name in Verdict.model_fields)]


def test_rows_come_back_exactly(tmp_path: Path) -> None:
    inputs = manifest(3)
    rows = [row(0, seconds=0.25), row(1), ODD]
    write_shard(tmp_path, inputs, 0, rows)
    assert list(read_shard(tmp_path, inputs, 0)) == rows
    assert read_columns(tmp_path, inputs, ["text", "error"]) == {
        "text": ["four", "four", "\x00 \u2028 😀"],
        "error": [None, None, "broke"],
    }
    assert pq.read_schema(tmp_path / "shard-00000.parquet").equals(SCHEMA, check_metadata=False)


def test_what_held_foreign_code_comes_back(tmp_path: Path) -> None:
    inputs = manifest(2)
    held = (row(0)[0], row(0)[1].model_copy(update={"sandbox": "walls"}))
    write_shard(tmp_path, inputs, 0, [held, ODD])
    assert list(read_shard(tmp_path, inputs, 0)) == [held, ODD]
    first = rows_digest(tmp_path, inputs)
    write_shard(tmp_path, inputs, 0, [row(0), ODD])
    assert rows_digest(tmp_path, inputs) != first


def test_a_shard_from_before_there_were_sandboxes_is_read_and_has_the_digest_that_it_had(tmp_path: Path) -> None:
    inputs, rows = manifest(2), [row(0), ODD]
    write_shard(tmp_path, inputs, 0, rows)
    path = tmp_path / "shard-00000.parquet"
    now = rows_digest(tmp_path, inputs)
    pq.write_table(pq.read_table(path).drop_columns(["verdict_sandbox"]), path)
    assert is_finished(tmp_path, inputs, 0)
    assert list(read_shard(tmp_path, inputs, 0)) == rows
    assert rows_digest(tmp_path, inputs) == now
    assert now == "sha256:7cb3ae7ef01438cb75cc00e6cd936e2c6dd53798999f5665679df2579f6e62ac"  # as it was then


def test_the_same_rows_give_the_same_bytes(tmp_path: Path) -> None:
    inputs = manifest(2)
    for name in ("a", "b"):
        write_shard(tmp_path / name, inputs, 0, [row(0), ODD])
    assert (tmp_path / "a/shard-00000.parquet").read_bytes() == (tmp_path / "b/shard-00000.parquet").read_bytes()


def test_rows_digest_sees_everything_but_seconds(tmp_path: Path) -> None:
    def of(name: str, rows: list[Row], inputs: Manifest) -> str:
        write_shard(tmp_path / name, inputs, 0, rows)
        return rows_digest(tmp_path / name, inputs)

    first = of("a", [row(0), ODD], manifest(2))
    assert of("b", [row(0, seconds=9.0), ODD], manifest(2)) == first
    changes = {
        "text": "five",
        "token_ids": (2, 1),
        "logprobs": (-0.1, -0.2),
        "num_tokens": 3,
        "error": "x",
        "problem_id": "r",
        "sampling": Sampling(),
    }
    for field, value in changes.items():
        changed = (row(0)[0].model_copy(update={field: value}), row(0)[1])
        assert of(field, [changed, ODD], manifest(2)) != first
    assert of("verdict", [(row(0)[0], ODD[1]), ODD], manifest(2)) != first
    assert of("order", [ODD, row(0)], manifest(2)) != first
    assert of("manifest", [row(0), ODD], manifest(2, seed=1)) != first


def test_finished_means_whole_and_of_these_inputs(tmp_path: Path) -> None:
    inputs = manifest(2, 1)
    path = tmp_path / "shard-00000.parquet"
    assert not is_finished(tmp_path, inputs, 0)
    write_shard(tmp_path, inputs, 0, [row(0), row(1)])
    assert is_finished(tmp_path, inputs, 0)
    assert not is_finished(tmp_path, manifest(2, 1, seed=1), 0)
    whole = path.read_bytes()
    (tmp_path / "shard-00001.parquet").write_bytes(whole)  # a shard in another's place
    assert not is_finished(tmp_path, inputs, 1)
    for damaged in (whole[:-10], b"", b"PAR1" * 100):
        path.write_bytes(damaged)
        assert not is_finished(tmp_path, inputs, 0)
    write_shard(tmp_path, inputs, 0, [row(0)])
    assert not is_finished(tmp_path, inputs, 0)


def test_missing_and_damaged_shards_are_told_apart(tmp_path: Path) -> None:
    inputs = manifest(2)
    with pytest.raises(SourceError, match="unfinished"):
        list(read_shard(tmp_path, inputs, 0))
    write_shard(tmp_path, inputs, 0, [row(0), row(1, text="z" * 5000)])
    path = tmp_path / "shard-00000.parquet"
    whole = bytearray(path.read_bytes())
    path.write_bytes(whole[:100])
    with pytest.raises(IntegrityError, match="damaged"):
        list(read_shard(tmp_path, inputs, 0))
    for at in range(10, 120):  # inside the data pages, where the footer cannot notice
        whole[at] ^= 0xFF
    path.write_bytes(whole)
    with pytest.raises(IntegrityError, match="damaged"):
        list(read_shard(tmp_path, inputs, 0))


def test_the_manifest_comes_back(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    write_manifest(tmp_path, manifest(2, 1))
    assert read_manifest(tmp_path) == manifest(2, 1)
    (tmp_path / "manifest.json").write_text('{"format": 2}')
    with pytest.raises(IntegrityError):
        read_manifest(tmp_path)
