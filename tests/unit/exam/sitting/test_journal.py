from __future__ import annotations

import base64
import errno
import hmac
import json
import os

import pytest
import rfc8785
from exam_parts import ToyModel

from spiritsafe.core.errors import IntegrityError, ProcedureError, StorageError
from spiritsafe.exam.paper.files import keyed_salt
from spiritsafe.exam.records.paper import PaperProblem
from spiritsafe.exam.records.result import ProbeRound
from spiritsafe.exam.sitting.answers import Answer, ask
from spiritsafe.exam.sitting.journal import Journal
from spiritsafe.ledger import encrypt

REGISTERED = "sha256:" + "a" * 64
SECRET_HEX = "11" * 32


@pytest.fixture
def answers(stage) -> list[Answer]:
    problems: dict[int, PaperProblem] = {problem.index: problem for problem in stage.paper.problems}
    registration = stage.register(ToyModel(), num_tries=3)
    wanted = [(index, sample) for index in sorted(problems) for sample in range(3)]
    return list(ask(problems, registration, wanted, ToyModel(), stage.task))


def journal(stage, tmp_path, **changes) -> Journal:
    options = {"key": stage.examiner, "secret": SECRET_HEX, "registration": REGISTERED, **changes}
    return Journal(tmp_path / "answers.jsonl", **options)


def places(answers):
    return [(answer.index, answer.sample_index) for answer in answers]


def test_it_survives_and_shows_nothing(stage, answers, tmp_path):
    with journal(stage, tmp_path) as book:
        for answer in answers:
            book.record(answer)
        book.record_round(ProbeRound(num_answers=3, replies=("grey", None), logprobs=(-0.25, None)))
    again = journal(stage, tmp_path)
    assert list(again.answers.values()) == answers
    assert again.rounds == book.rounds
    data = (tmp_path / "answers.jsonl").read_bytes()
    assert b"answer is" not in data
    assert b"grey" not in data
    assert not any(b"answer is" in base64.b64decode(json.loads(line)) for line in data.splitlines())
    assert data.count(b"\n") == len(answers) + 1
    with pytest.raises(ProcedureError, match="twice"):
        again.record(answers[0])
    assert "answer is" not in repr(answers[0])


def test_an_answer_is_in_the_file_when_record_returns(stage, answers, tmp_path):
    book = journal(stage, tmp_path)
    for number, answer in enumerate(answers, start=1):
        book.record(answer)
        assert (tmp_path / "answers.jsonl").read_bytes().count(b"\n") == number  # a killed process loses nothing


def test_what_is_about_to_be_asked_is_in_the_file_first(stage, answers, tmp_path):
    book = journal(stage, tmp_path)
    book.announce([(3, 0), (3, 1)])
    assert (tmp_path / "answers.jsonl").read_bytes() == b"[3,0]\n[3,1]\n"
    assert book.lost == {(3, 0), (3, 1)}


def test_a_try_is_never_announced_twice(stage, answers, tmp_path):
    book = journal(stage, tmp_path)
    book.announce([(3, 0)])
    book.record(answers[0])
    for asked in ((3, 0), places(answers)[0]):
        with pytest.raises(ProcedureError, match="asked twice"):
            book.announce([asked])
    book.close()
    again = journal(stage, tmp_path)
    assert again.lost == {(3, 0)}
    with pytest.raises(ProcedureError, match="asked twice"):
        again.announce([(3, 0)])


def test_lines_wait_for_the_disk_only_for_a_moment(stage, answers, tmp_path, monkeypatch):
    book = journal(stage, tmp_path)
    clock, synced = [0.0], []
    monkeypatch.setattr("spiritsafe.exam.sitting.journal.time.monotonic", lambda: clock[0])
    book._synced = 0.0
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(clock[0]))
    for answer in answers[:6]:
        clock[0] += 0.1
        book.record(answer)
    book.close()
    assert synced == [pytest.approx(0.3), pytest.approx(0.6), pytest.approx(0.6)]  # twice in time, once at the end


@pytest.mark.parametrize("cut", [1, 40])
def test_a_torn_line_never_counted(stage, answers, tmp_path, cut):
    with journal(stage, tmp_path) as book:
        for answer in answers[:3]:
            book.record(answer)
    path = tmp_path / "answers.jsonl"
    path.write_bytes(path.read_bytes()[:-cut])
    with journal(stage, tmp_path) as again:
        assert list(again.answers.values()) == answers[:2]
        again.record(answers[2])
    assert list(journal(stage, tmp_path).answers.values()) == answers[:3]


def test_a_full_disk_leaves_no_half_line(stage, answers, tmp_path, monkeypatch):
    book = journal(stage, tmp_path)
    book.record(answers[0])
    before = (tmp_path / "answers.jsonl").read_bytes()
    write = os.write
    chunks = iter([5, None])

    def full(descriptor, data):
        size = next(chunks)
        if size is None:
            raise OSError(28, "No space left on device")
        return write(descriptor, data[:size])

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(StorageError):
        book.record(answers[1])
    monkeypatch.undo()
    assert (tmp_path / "answers.jsonl").read_bytes() == before
    book.record(answers[1])  # and it goes on when there is room
    assert list(journal(stage, tmp_path).answers.values()) == answers[:2]


def test_forged_doubled_and_foreign_lines_are_refused(stage, answers, tmp_path):
    path = tmp_path / "answers.jsonl"
    with journal(stage, tmp_path) as book:
        book.record(answers[0])
    good = path.read_bytes()
    for other in ({"registration": "sha256:" + "b" * 64}, {"secret": "33" * 32}):
        with pytest.raises(IntegrityError, match="not written by this sitting"):
            journal(stage, tmp_path, **other)
    path.write_bytes(good + good)
    with pytest.raises(IntegrityError, match="not written by this sitting"):
        journal(stage, tmp_path)
    flipped = bytearray(base64.b64decode(json.loads(good)))
    flipped[-1] ^= 1
    bad = [b"{}\n", b"not json\n", json.dumps("AAAA").encode() + b"\n", b"[1]\n", b'[1,"x"]\n']
    for line in [*bad, json.dumps(base64.b64encode(flipped).decode()).encode() + b"\n"]:
        path.write_bytes(good + line)
        with pytest.raises(IntegrityError):
            journal(stage, tmp_path)


def test_journals_of_the_first_version_still_open(stage, answers, tmp_path):
    """Their lines were encrypted to the examiner and marked with the paper's secret."""
    lines = []
    for answer in answers[:2]:
        data = rfc8785.dumps(answer.to_json()).decode()
        mark_key = keyed_salt(SECRET_HEX, "journal", REGISTERED)
        mark = hmac.digest(mark_key.encode(), data.encode(), "sha256").hex()
        box = encrypt(f'{{"answer":{data},"mark":"{mark}"}}'.encode(), [stage.examiner.public])
        lines.append(json.dumps(base64.b64encode(box).decode()) + "\n")
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(lines))
    assert list(journal(stage, tmp_path).answers.values()) == answers[:2]
    with pytest.raises(IntegrityError, match="not written by this sitting"):
        journal(stage, tmp_path, secret="33" * 32)


def test_the_file_is_private(stage, answers, tmp_path):
    with journal(stage, tmp_path) as book:
        book.record(answers[0])
    assert (tmp_path / "answers.jsonl").stat().st_mode & 0o077 == 0


def test_what_was_not_asked_after_all_is_open_again(stage, answers, tmp_path):
    book = journal(stage, tmp_path)
    book.announce([(3, 0), (3, 1)])
    book.take_back((3, 0))
    assert book.lost == {(3, 1)}
    assert (tmp_path / "answers.jsonl").read_bytes() == b'[3,0]\n[3,1]\n["not asked",3,0]\n'
    for place in ((3, 0), (9, 9)):
        with pytest.raises(ProcedureError, match="not under way"):
            book.take_back(place)
    book.close()
    again = journal(stage, tmp_path)
    assert again.lost == {(3, 1)}
    again.announce([(3, 0)])
    again.record(answers[0])
    answered = places(answers)[0]
    again.announce(places(answers)[1:3])
    again.record(answers[1])
    with pytest.raises(ProcedureError, match="not under way"):
        again.take_back(places(answers)[1])
    again.close()
    third = journal(stage, tmp_path)
    assert third.asked == {(3, 0), (3, 1), *places(answers)[1:3]}
    assert answered in third.answers


@pytest.mark.parametrize(
    "line", ['["not asked",3,0]', '["asked",3,1]', '["not asked",3]', "[1,2,3]", '["not asked",3,1,2]']
)
def test_what_was_never_announced_cannot_be_taken_back(stage, tmp_path, line):
    (tmp_path / "answers.jsonl").write_text(f"[3,1]\n{line}\n")
    with pytest.raises(IntegrityError, match="line 2, is damaged"):
        journal(stage, tmp_path)


class Disk:
    """So many bytes are left for what is written with ``os.write``; a reserve that is cut gives its bytes back."""

    def __init__(self, monkeypatch, left):
        self.left = left
        truncate, write = os.ftruncate, os.write

        def allocate(descriptor, offset, size):
            self._take(size)
            truncate(descriptor, offset + size)

        def shrink(descriptor, size):
            self.left += os.fstat(descriptor).st_size - size
            truncate(descriptor, size)

        def put(descriptor, data):
            self._take(len(data))
            return write(descriptor, data)

        monkeypatch.setattr(os, "posix_fallocate", allocate, raising=False)
        monkeypatch.setattr(os, "ftruncate", shrink)
        monkeypatch.setattr(os, "write", put)

    def _take(self, size):
        if size > self.left:
            raise OSError(errno.ENOSPC, "No space left on device")
        self.left -= size


def test_on_a_full_disk_every_answer_that_is_under_way_finds_room(stage, answers, tmp_path, monkeypatch):
    disk = Disk(monkeypatch, left=200_000)
    book = journal(stage, tmp_path)
    book.make_room()
    asked = places(answers)
    book.announce(asked[:10])
    disk.left = 0  # somebody else took the rest
    for answer in answers[:4]:
        book.record(answer)
    with pytest.raises(StorageError) as caught:  # but nothing new is asked
        book.announce(asked[10:11])
    assert "lost" not in caught.value.diagnostics()
    for answer in answers[4:9]:
        book.record(answer)
    book.take_back(asked[9])
    book.record_round(ProbeRound(num_answers=9, replies=("grey",)))
    assert book.lost == set()
    book.close()
    monkeypatch.undo()
    assert list(journal(stage, tmp_path).answers.values()) == answers[:9]
    assert not (tmp_path / "answers.reserve").exists()


def test_where_the_file_system_cannot_reserve_it_is_written(stage, answers, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", refuse, raising=False)
    book = journal(stage, tmp_path, max_tokens=16)
    book.make_room()
    assert (tmp_path / "answers.reserve").stat().st_size == 16 * (2048 + 8 * 16)
    book.announce(places(answers)[:20])
    assert (tmp_path / "answers.reserve").stat().st_size == 32 * (2048 + 8 * 16)
    book.close()
    assert not (tmp_path / "answers.reserve").exists()


def test_a_reserve_that_a_kill_left_behind_is_used_again_and_follows_no_link(stage, answers, tmp_path):
    left = tmp_path / "answers.reserve"
    left.write_bytes(b"\0" * 5)
    book = journal(stage, tmp_path)
    book.make_room()
    assert left.stat().st_size > 5
    book.close()
    (tmp_path / "precious").write_text("mine")
    for link in (left.symlink_to, left.hardlink_to):
        link(tmp_path / "precious")
        book = journal(stage, tmp_path)
        book.make_room()
        book.close()
        assert (tmp_path / "precious").read_text() == "mine"
        assert not left.exists()
