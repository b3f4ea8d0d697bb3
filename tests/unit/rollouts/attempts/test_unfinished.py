from pathlib import Path
from typing import Any

import pytest

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.records import Attempt, Sampling, Verdict
from spiritsafe.rollouts.attempts.shards import Manifest, ShardEntry
from spiritsafe.rollouts.attempts.unfinished import UnfinishedShard

MANIFEST = Manifest(
    task="t",
    verifier="v/1",
    version="1",
    model="sha256:m",
    sampling=Sampling(),
    num_samples=2,
    seed=3,
    shard_size=4,
    shards=(ShardEntry(file="shard-00000.parquet", num_problems=1, problems="p"),),
)
VERDICT = Verdict(status="correct", score=1.0, verifier="v", version="1")


def attempt(index: int, text: str = "four", **changes: Any) -> Attempt:
    given: dict[str, Any] = {"model": "sha256:m", "seed": 3, "sampling": Sampling(), **changes}
    return Attempt(problem_id="p", sample_index=index, text=text, finish_reason="stop", logprobs=(-0.5,), **given)


def test_what_is_added_is_read_and_gone_when_it_is_removed(tmp_path: Path) -> None:
    shard = UnfinishedShard(tmp_path, MANIFEST, 0)
    assert list(shard.read()) == []
    rows = [(attempt(1), VERDICT), (attempt(0, "4\u2028\ud55c"), VERDICT)]
    for row in rows:
        shard.add(*row)
    assert list(UnfinishedShard(tmp_path, MANIFEST, 0).read()) == rows
    assert list(UnfinishedShard(tmp_path, MANIFEST, 1).read()) == []
    shard.remove()
    shard.remove()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("torn", [b'{"attempt": {"pro', b"{", b"\xff" * 200_000])
def test_a_torn_line_is_cut_off_and_the_next_stands_on_its_own(tmp_path: Path, torn: bytes) -> None:
    shard = UnfinishedShard(tmp_path, MANIFEST, 0)
    shard.add(attempt(0), VERDICT)
    (path,) = tmp_path.iterdir()
    with path.open("ab") as file:
        file.write(torn)
    assert list(shard.read()) == [(attempt(0), VERDICT)]
    shard.add(attempt(1), VERDICT)
    assert [row.sample_index for row, _ in shard.read()] == [0, 1]
    path.write_bytes(torn)  # nothing but a torn line
    assert list(shard.read()) == []


@pytest.mark.parametrize(
    "line", ["{}", "[]", "3", "nonsense", '{"attempt": {}, "verdict": {}}', '{"attempt": null, "verdict": null}']
)
def test_a_damaged_line_says_which_file_to_delete(tmp_path: Path, line: str) -> None:
    (tmp_path / "answered-00000.jsonl").write_text(line + "\n{}\n")
    with pytest.raises(IntegrityError, match="is damaged") as caught:
        list(UnfinishedShard(tmp_path, MANIFEST, 0).read())
    assert "answered-00000.jsonl" in caught.value.hint


def test_answers_of_another_collection_are_refused(tmp_path: Path) -> None:
    other = MANIFEST.model_copy(update={"seed": 4})
    UnfinishedShard(tmp_path, other, 0).add(attempt(0), VERDICT)
    with pytest.raises(IntegrityError, match="another collection"):
        list(UnfinishedShard(tmp_path, MANIFEST, 0).read())
