from __future__ import annotations

from pathlib import Path

import pytest
from reinforce_parts import answer, groups, round_of

from spiritsafe.core.canonical import canonical_json, digest_bytes
from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.files.checked_lines import write_sealed_lines
from spiritsafe.reinforce.pool import PromptOutcome
from spiritsafe.reinforce.rounds.store import ROUNDS, PolicyRound, outcomes_of
from spiritsafe.training.data.rounds import round_path

ANSWERS = (
    answer("p0", 0, 1.0, logprob=-0.1 - 1e-17),
    answer("p0", 1, -0.3, finish="length", tokens=7, logprob=-1.2345678901234567),
    answer("p1", 0, None, tokens=0, finish="error"),
    answer("p1", 1, 0.7, logprob=None),
)


def written(directory: Path, index: int = 2) -> PolicyRound:
    round_ = round_of(ANSWERS, index, before="sha256:before", draws=(1, 1))
    ROUNDS.write(directory, round_)
    return round_


def test_what_is_read_is_what_was_written_to_the_last_digit(tmp_path: Path) -> None:
    round_ = written(tmp_path)
    found = ROUNDS.read(tmp_path, 2, feed="sha256:feed")
    assert found == round_
    assert found.answers[1].logprobs == (-1.2345678901234567,) * 7
    assert [[a.sample_index for a in group] for group in found.groups] == [[0, 1], [0, 1]]
    header = ROUNDS.read_header(tmp_path, 2, feed="sha256:feed")
    assert header == round_.header
    assert header.content_digest == round_.header.content_digest


def test_a_header_is_had_without_the_answers_and_damaged_answers_are_found_with_them(tmp_path: Path) -> None:
    round_ = written(tmp_path)
    path = round_path(tmp_path, 2)
    path.write_bytes(path.read_bytes().replace(b"p1/1", b"p1/2"))
    assert ROUNDS.read_header(tmp_path, 2, feed="sha256:feed") == round_.header
    with pytest.raises(IntegrityError, match=r"round-00002.jsonl is damaged"):
        ROUNDS.read(tmp_path, 2, feed="sha256:feed")


def test_rounds_of_before_headers_had_a_digest_of_their_own_can_be_read(tmp_path: Path) -> None:
    round_ = written(tmp_path)
    path = round_path(tmp_path, 2)
    body = path.read_bytes().partition(b"\n")[2]
    path.write_bytes(canonical_json({"digest": digest_bytes(body)}) + b"\n" + body)
    assert ROUNDS.read(tmp_path, 2, feed="sha256:feed") == round_
    assert ROUNDS.read_header(tmp_path, 2, feed="sha256:feed") == round_.header


def test_what_a_problem_came_to_is_between_none_and_all() -> None:
    assert outcomes_of(ANSWERS) == (
        PromptOutcome(problem_id="p0", num_scored=2, total=1.0),
        PromptOutcome(problem_id="p1", num_scored=1, total=0.7),
    )
    assert outcomes_of(groups([1.4, -2.0, None])) == (PromptOutcome(problem_id="p0", num_scored=2, total=1.0),)


@pytest.mark.parametrize("read", [ROUNDS.read, ROUNDS.read_header])
def test_a_damaged_foreign_or_missing_file_is_refused_by_name(tmp_path: Path, read: object) -> None:
    assert callable(read)
    written(tmp_path)
    path = round_path(tmp_path, 2)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b'"draws":[1,1]', b'"draws":[1,2]'))
    with pytest.raises(IntegrityError, match=r"round-00002.jsonl is damaged"):
        read(tmp_path, 2, feed="sha256:feed")
    path.write_bytes(whole)
    with pytest.raises(IntegrityError, match=r"round-00002.jsonl belongs to another run"):
        read(tmp_path, 2, feed="sha256:other")
    path.rename(round_path(tmp_path, 3))
    with pytest.raises(IntegrityError, match=r"round-00003.jsonl belongs to another run"):
        read(tmp_path, 3, feed="sha256:feed")
    with pytest.raises(IntegrityError, match=r"round-00002.jsonl is missing"):
        read(tmp_path, 2, feed="sha256:feed")
    for lines in ([], [b'{"format":2}']):
        write_sealed_lines(path, lines)
        with pytest.raises(IntegrityError, match="another version"):
            read(tmp_path, 2, feed="sha256:feed")
