"""Any attempt and verdict come back from disk exactly as they were."""

import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from spiritsafe.core.records import Attempt, Sampling, Verdict
from spiritsafe.rollouts.attempts.shards import Manifest, ShardEntry, read_shard, write_shard

texts = st.text(st.characters(codec="utf-8"), max_size=30)
samplings = st.builds(
    Sampling, temperature=st.floats(0, 10), max_tokens=st.integers(1, 9999), stop=st.lists(texts, max_size=2).map(tuple)
)
tokens = st.lists(st.tuples(st.integers(0, 2**31 - 1), st.floats(max_value=0.0, allow_infinity=False)), max_size=5)


@st.composite
def attempts(draw: st.DrawFn) -> Attempt:
    drawn = draw(tokens)
    finish = draw(st.sampled_from(["stop", "length", "refused", "error"]))
    return Attempt(
        problem_id=draw(texts),
        sample_index=draw(st.integers(0, 2**40)),
        model=draw(texts),
        sampling=draw(samplings),
        seed=draw(st.integers(0, 2**52 - 1)),
        text=draw(texts),
        finish_reason=finish,
        token_ids=tuple(token for token, _ in drawn),
        logprobs=tuple(value for _, value in drawn),
        num_prompt_tokens=draw(st.integers(0, 2**40)),
        num_tokens=draw(st.integers(0, 2**40)),
        seconds=draw(st.floats(0, 1e9)),
        error=draw(st.none() | texts),
    )


@st.composite
def verdicts(draw: st.DrawFn) -> Verdict:
    status = draw(st.sampled_from(["correct", "wrong", "unparsed", "unscored"]))
    score = 1.0 if status == "correct" else draw(st.floats(0, 0.999)) if status == "wrong" else 0.0
    return Verdict(
        status=status,
        score=score,
        answer=draw(st.none() | texts),
        reason=draw(texts),
        verifier=draw(texts),
        version=draw(texts),
    )


@settings(max_examples=40)
@given(st.lists(st.tuples(attempts(), verdicts()), min_size=1, max_size=4))
def test_round_trip(rows: list[tuple[Attempt, Verdict]]) -> None:
    entry = ShardEntry(file="shard-00000.parquet", num_problems=len(rows), problems="d")
    manifest = Manifest(
        task="t",
        verifier="v",
        version="1",
        model="m",
        sampling=Sampling(),
        num_samples=1,
        seed=0,
        shard_size=len(rows),
        shards=(entry,),
    )
    with tempfile.TemporaryDirectory() as directory:
        write_shard(Path(directory), manifest, 0, rows)
        assert list(read_shard(Path(directory), manifest, 0)) == rows
