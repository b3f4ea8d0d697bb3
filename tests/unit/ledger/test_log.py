from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import random
import resource
import signal
from datetime import datetime, timedelta

import pytest

from spiritsafe.core.errors import IntegrityError, ProcedureError, SourceError, StorageError
from spiritsafe.core.files.lock import locked
from spiritsafe.ledger import (
    GENESIS,
    KeyPair,
    Ledger,
    leaf_hash,
    log,
    root_hash,
    utc_now,
    verify_consistency,
    verify_entry,
    verify_evidence,
    verify_head,
)
from spiritsafe.ledger.log import MOST_DEPTH
from spiritsafe.ledger.records import LedgerEntry, SignedHead


@pytest.fixture(scope="module")
def key():
    return KeyPair.generate("Eve")


@pytest.fixture
def ledger(tmp_path, key):
    ledger = Ledger(tmp_path / "ledger.jsonl")
    for number in range(5):
        ledger.append("note", {"number": number, "text": "grüße"}, key)
    return ledger


def test_entries_are_numbered_chained_signed_and_on_disk(ledger, key):
    entries = Ledger(ledger.path).entries()
    assert [entry.index for entry in entries] == [0, 1, 2, 3, 4]
    assert entries[0].previous == GENESIS
    assert all(b.previous == a.content_digest for a, b in itertools.pairwise(entries))
    assert all(verify_entry(entry) and entry.signature.key == key.public.signing for entry in entries)
    assert ledger.path.read_bytes() == b"".join(entry.canonical() + b"\n" for entry in entries)
    assert ledger.verify().ok
    assert ledger.verify().num_entries == 5


def test_find_by_kind_and_body(ledger, key):
    ledger.append("other", {"number": 3}, key)
    assert [entry.index for entry in ledger.find("note", number=3)] == [3]
    assert [entry.index for entry in ledger.find("other")] == [5]


def test_two_readers_of_one_file_see_each_others_entries(ledger, key):
    other = Ledger(ledger.path)
    other.append("note", {"number": 5}, key)
    ledger.append("note", {"number": 6}, key)
    assert [entry.body["number"] for entry in other.entries()] == list(range(7))


def test_a_missing_ledger_is_empty_but_does_not_verify(tmp_path, key):
    ledger = Ledger(tmp_path / "none.jsonl")
    assert ledger.entries() == ()
    with pytest.raises(SourceError):
        ledger.verify()
    with pytest.raises(IntegrityError):
        ledger.head(key)


def test_every_flipped_byte_is_found_and_named(ledger):
    data = ledger.path.read_bytes()
    starts = [0]
    for line in data.split(b"\n")[:-1]:
        starts.append(starts[-1] + len(line) + 1)
    rng = random.Random(0)
    positions = sorted({*rng.sample(range(len(data)), 250), len(data) - 1, *(start - 1 for start in starts[1:])})
    for position in positions:
        damaged = bytearray(data)
        damaged[position] ^= 1 << rng.randrange(8)
        ledger.path.write_bytes(bytes(damaged))
        check = ledger.verify()
        at = next(number for number, end in enumerate(starts[1:]) if position < end)
        assert not check.ok, position
        # A broken entry may keep its own signature's shape; then the chain breaks at the next one.
        assert check.first_bad in (at, at + 1), position
        assert check.problem
        assert f"line {check.first_bad + 1}" in check.problem


@pytest.mark.parametrize("damage", ["drop", "swap", "double", "truncate", "empty line"])
def test_dropped_swapped_doubled_lines(ledger, damage, key):
    head = ledger.head(key)
    lines = ledger.path.read_bytes().splitlines(keepends=True)
    changed = {
        "drop": [*lines[:2], *lines[3:]],
        "swap": [lines[0], lines[2], lines[1], *lines[3:]],
        "double": [*lines[:3], *lines[2:]],
        "truncate": lines[:3],
        "empty line": [*lines[:2], b"\n", *lines[2:]],
    }[damage]
    ledger.path.write_bytes(b"".join(changed))
    fresh = Ledger(ledger.path)
    if damage == "truncate":  # a shorter ledger is a good one; only a signed head tells
        assert fresh.verify().ok
        with pytest.raises(IntegrityError, match="cut short"):
            fresh.root(head.size)
    else:
        assert not fresh.verify().ok
        with pytest.raises(IntegrityError, match="bad"):
            fresh.append("note", {}, key)
    with pytest.raises(IntegrityError):
        ledger.append("note", {}, key) if damage == "truncate" else fresh.entries()


@pytest.mark.parametrize("cut", [1, 2, 50, 200])
def test_a_torn_last_line_never_counts_and_is_set_aside(ledger, key, cut):
    whole = ledger.path.read_bytes()
    last = whole.splitlines(keepends=True)[-1]
    ledger.path.write_bytes(whole[: -min(cut, len(last) - 1)])
    fresh = Ledger(ledger.path)
    assert [entry.index for entry in fresh.entries()] == [0, 1, 2, 3]
    check = fresh.verify()
    assert (check.first_bad, check.num_entries) == (4, 4)
    assert "unfinished" in check.problem
    fresh.append("note", {"number": "after"}, key)
    assert fresh.verify().ok
    assert [entry.body["number"] for entry in Ledger(ledger.path).entries()] == [0, 1, 2, 3, "after"]
    aside = list(ledger.path.parent.glob("ledger.jsonl.*.torn"))
    assert [(path.read_bytes(), path.stat().st_mode & 0o777) for path in aside] == [
        (whole.splitlines(keepends=True)[-1][: -min(cut, len(last) - 1)] + b"\n", 0o600)
    ]


def test_a_full_disk_leaves_the_ledger_as_it_was(ledger, key):
    before = ledger.path.read_bytes()
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, old[1]))
    try:
        with pytest.raises(StorageError):
            ledger.append("note", {"text": "x" * 500}, key)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert ledger.path.read_bytes() == before
    ledger.append("note", {"number": 5}, key)
    assert ledger.verify().num_entries == 6


def test_a_guard_keeps_an_entry_out(ledger, key):
    def full(entries):
        if len(entries) >= 5:
            raise ProcedureError("Enough.", hint="Stop.")

    with pytest.raises(ProcedureError, match="Enough"):
        ledger.append("note", {}, key, guard=full)
    assert len(Ledger(ledger.path).entries()) == 5


def _write_many(path, holder, count):
    key = KeyPair.generate(holder)
    ledger = Ledger(path)
    for number in range(count):
        ledger.append("note", {"holder": holder, "number": number}, key)


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork with numpy's idle threads is fine here
def test_concurrent_writers_lose_nothing(tmp_path):
    path = tmp_path / "ledger.jsonl"
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_write_many, args=(path, f"w{number}", 12)) for number in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    entries = Ledger(path).entries()
    assert Ledger(path).verify().ok
    assert sorted((e.body["holder"], e.body["number"]) for e in entries) == [
        (f"w{worker}", number) for worker in range(4) for number in range(12)
    ]


def test_heads_evidence_and_consistency(ledger, key):
    head = ledger.head(key)
    assert verify_head(head)
    assert head.root == root_hash([leaf_hash(entry.canonical()) for entry in ledger.entries()]).hex()
    evidence = [ledger.evidence(index, head) for index in range(5)]
    assert all(verify_evidence(item, head) for item in evidence)
    swapped = evidence[0].model_copy(update={"entry": evidence[1].entry})
    assert not verify_evidence(swapped, head)
    for number in range(5, 9):
        ledger.append("note", {"number": number}, key)
    later = ledger.head(key)
    assert ledger.evidence(2, head) == evidence[2]
    assert verify_consistency(
        head.size, later.size, bytes.fromhex(head.root), bytes.fromhex(later.root), ledger.consistency(head.size)
    )
    for field, value in (("size", 4), ("root", "00" * 32), ("time", "2020-01-01T00:00:00.000Z")):
        assert not verify_head(SignedHead.from_json({**head.to_json(), field: value}))
    with pytest.raises(IntegrityError, match="not of this ledger"):
        ledger.evidence(0, head.model_copy(update={"root": "00" * 32}))


def test_a_clock_that_steps_back_does_not_reorder(ledger, key, monkeypatch):
    last = ledger.entries()[-1]
    for back in (timedelta(seconds=1), timedelta(hours=23)):
        now = (datetime.fromisoformat(last.time) - back).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        monkeypatch.setattr("spiritsafe.ledger.log.utc_now", lambda now=now: now)
        assert ledger.append("note", {}, key).time == last.time
    assert Ledger(ledger.path).verify().ok


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_a_ledger_that_is_no_file_is_refused_and_not_waited_for(tmp_path, key, kind):
    path = tmp_path / "ledger.jsonl"
    {"pipe": os.mkfifo, "device": lambda p: p.symlink_to("/dev/zero"), "folder": os.mkdir}[kind](path)
    for use in (Ledger(path).entries, Ledger(path).verify, lambda: Ledger(path).append("note", {}, key)):
        with pytest.raises((SourceError, StorageError)) as caught:
            use()
        assert caught.value.hint


def test_a_link_is_followed_to_a_ledger_and_to_nothing_else(ledger, key, tmp_path, monkeypatch):
    link = tmp_path / "shared.jsonl"
    link.symlink_to(ledger.path)
    Ledger(link).append("note", {"number": 5}, key)
    assert ledger.verify().num_entries == 6
    with locked(ledger.path.with_name("ledger.jsonl.lock")):  # one lock, by whichever name
        monkeypatch.setattr("spiritsafe.ledger.log._LOCK_WAIT_S", 0.0)
        with pytest.raises(StorageError, match="still locked"):
            Ledger(link).append("note", {}, key)
    for name, content in (("empty", b""), ("own", b"my only copy, without a newline"), ("absent", None)):
        target, other = tmp_path / name, tmp_path / f"{name}.jsonl"
        if content is not None:
            target.write_bytes(content)
        other.symlink_to(target)
        with pytest.raises(StorageError, match="is a link"):
            Ledger(other).append("note", {}, key)
        assert (target.read_bytes() if target.exists() else None) == content


def test_a_re_signed_line_breaks_the_chain(ledger):
    lines = ledger.path.read_bytes().splitlines()
    value = json.loads(lines[1])
    mallory = KeyPair.generate("Mallory")
    forged = Ledger(ledger.path).entries()[1].model_copy(update={"body": {"number": 99}})
    value["body"] = {"number": 99}
    value["signature"] = mallory.sign("ledger-entry", forged.signed_bytes()).to_json()
    lines[1] = json.dumps(value, separators=(",", ":"), sort_keys=True).encode()
    ledger.path.write_bytes(b"\n".join(lines) + b"\n")
    assert ledger.verify().first_bad == 2


def test_a_deep_nest_is_a_finding_not_a_crash(tmp_path):
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(b"[" * 100_000 + b"\n")
    assert Ledger(path).verify().first_bad == 0


def nest(depth):
    body = {"a": 1}
    for _ in range(depth - 1):
        body = {"a": body}
    return body


def test_new_entries_are_not_nested_deep_and_old_ones_stay_readable(ledger, key, monkeypatch):
    ledger.append("note", nest(MOST_DEPTH), key)
    with pytest.raises(IntegrityError, match="may be nested 32 deep"):
        ledger.append("note", nest(MOST_DEPTH + 1), key)
    monkeypatch.setattr(log, "MOST_DEPTH", 1000)
    ledger.append("note", nest(254), key)
    with pytest.raises(IntegrityError, match="depth"):
        ledger.append("note", nest(300), key)
    monkeypatch.undo()
    assert len(Ledger(ledger.path).entries()) == 7


def test_an_error_says_in_few_words_where_in_a_strangers_entry_it_is(ledger, key):
    line = ledger.entries()[-1].to_json()
    for body in (nest(200), {"x" * 100_000: {"y" * 500: [1e999]}}, [[[[[[[[[[1]]]]]]]]]]):
        with pytest.raises(IntegrityError) as caught:
            LedgerEntry.from_json({**line, "index": "none", "body": body})
        assert len(caught.value.message) < 400
    with ledger.path.open("ab") as file:
        file.write(json.dumps({**line, "body": nest(300)}).encode() + b"\n")
    with pytest.raises(IntegrityError, match=r"^Entry 5 \(line 6\) of .*nested too deep"):
        Ledger(ledger.path).entries()


def test_a_pipe_is_no_ledger(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SourceError, match="is a pipe, not a file"):
        Ledger(tmp_path / "pipe").entries()


def test_utc_now_reads_as_a_timestamp():
    assert len(utc_now()) == 24
    assert utc_now().endswith("Z")


def test_what_would_not_read_back_is_not_written(ledger, key):
    before = ledger.path.read_bytes()
    for value in (2.0**53, 2**60, float("nan")):
        with pytest.raises(IntegrityError):
            ledger.append("note", {"number": value}, key)
    assert ledger.path.read_bytes() == before


def test_a_copy_of_the_bytes_never_looks_at_the_file(tmp_path):
    path = tmp_path / "l.jsonl"
    key = KeyPair.generate("Eve")
    ledger = Ledger(path)
    for number in range(3):
        ledger.append("note", {"number": number}, key)
    copy = Ledger(path, data=path.read_bytes())
    path.unlink()
    assert copy.verify().num_entries == 3
    assert copy.verify().ok
    assert [entry.body["number"] for entry in copy.entries()] == [0, 1, 2]
    assert copy.root(3) == ledger_root(copy)
    with pytest.raises(ProcedureError, match="copy"):
        copy.append("note", {}, key)
    assert not path.exists()


def ledger_root(ledger):
    return root_hash([leaf_hash(entry.canonical()) for entry in ledger.entries()]).hex()


@pytest.mark.parametrize("end", [-1, -40])
def test_a_copy_that_is_torn_or_bad_says_so_each_time(tmp_path, end):
    path = tmp_path / "l.jsonl"
    key = KeyPair.generate("Eve")
    for number in range(3):
        Ledger(path).append("note", {"number": number}, key)
    torn = Ledger(path, data=path.read_bytes()[:end])
    bad = Ledger(path, data=path.read_bytes().replace(b'"number":1', b'"number":7'))
    for _ in range(2):
        assert torn.verify().num_entries == 2
        assert "is unfinished" in torn.verify().problem
        assert bad.verify().first_bad == 1
        with pytest.raises(IntegrityError, match="Entry 1"):
            bad.entries()
