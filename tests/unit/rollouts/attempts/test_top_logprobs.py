import json
from pathlib import Path

import pytest

from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.core.records import Attempt, Sampling
from spiritsafe.rollouts import ReadTopLogprobs
from spiritsafe.rollouts.attempts.top_logprobs import TOP_LOGPROBS, TopLogprobs


def attempt(index: int, text: str) -> Attempt:
    return Attempt(
        problem_id="p", sample_index=index, text=text, finish_reason="stop", model="m", seed=3, sampling=Sampling()
    )


def test_likeliest_tokens_are_found_by_the_answer_that_they_are_of(tmp_path: Path) -> None:
    for text, number in (("five", 1), ("four", 2)):  # the second day's answer to the same question
        TopLogprobs(tmp_path).add(attempt(0, text), [{"n": number}])
        with (tmp_path / TOP_LOGPROBS).open("ab") as file:
            file.write(b'{"torn')
    TopLogprobs(tmp_path).add(attempt(1, "\u2028"), [{"n": 3}, {"n": 4}])
    found = ReadTopLogprobs(tmp_path)
    assert found.of(attempt(0, "five")) == [{"n": 1}]
    assert found.of(attempt(0, "four")) == [{"n": 2}]
    assert found.of(attempt(1, "\u2028")) == [{"n": 3}, {"n": 4}]
    assert found.of(attempt(1, "four")) is None


def test_no_or_a_damaged_file_of_likeliest_tokens(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no likeliest tokens") as caught:
        ReadTopLogprobs(tmp_path)
    assert "top_logprobs" in caught.value.hint
    for line in (b"nonsense", b"[]", b'{"problem_id": 1}', json.dumps({"tokens": 3}).encode()):
        (tmp_path / TOP_LOGPROBS).write_bytes(line + b"\n")
        with pytest.raises(IntegrityError, match="damaged"):
            ReadTopLogprobs(tmp_path)
