"""The usage ledger: nothing that was added is lost without a word, and no disk can stop the answers."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from spiritsafe.core.errors import SourceError, StorageError
from spiritsafe.serve.operation import usage
from spiritsafe.serve.operation.usage import UsageLedger, UsageRow, time_before, usage_totals


def row(number: int, **changes: object) -> UsageRow:
    fields = {
        "time": f"2026-11-{28 + number % 2}T23:59:59.{number % 1000:03d}Z",
        "request": f"req_{number}",
        "key": "ada" if number % 3 else "ben",
        "endpoint": "/v1/chat/completions",
        "asked": "auto",
        "model": "large" if number % 4 else "small",
        "digest": "sha256:" + "0" * 64,
        "prompt_tokens": number,
        "cached_tokens": number // 2,
        "completion_tokens": 7,
        "status": 200 if number % 5 else 429,
        "first_token_ms": float(number) if number % 5 else None,
        "total_ms": 2.5 * number,
    }
    return UsageRow.from_json({**fields, **changes})


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def num_rows(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM requests").fetchone()
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return int(count)


def test_sums_are_those_of_the_rows_by_key_model_and_day(tmp_path: Path) -> None:
    path, rows = tmp_path / "usage.sqlite", [row(number) for number in range(1, 5001)]
    for part in (rows[:2000], rows[2000:]):  # an existing ledger goes on
        ledger = UsageLedger(path)
        for one in part:
            ledger.add(one)
        ledger.close()
        assert ledger.num_lost == 0
    for group, name_of in (("key", "key"), ("model", "model"), ("day", "time")):
        totals = usage_totals(path, group)  # type: ignore[arg-type]
        assert [total.name for total in totals] == sorted({getattr(one, name_of)[:10] for one in rows})
        for total in totals:
            own = [one for one in rows if getattr(one, name_of)[:10] == total.name]
            firsts = [one.first_token_ms for one in own if one.first_token_ms is not None]
            assert total.num_requests == len(own)
            assert total.num_failed == sum(one.status >= 400 for one in own)
            assert total.prompt_tokens == sum(one.prompt_tokens for one in own)
            assert total.cached_tokens == sum(one.cached_tokens for one in own)
            assert total.completion_tokens == 7 * len(own)
            assert total.first_token_ms == pytest.approx(sum(firsts) / len(firsts))


def test_a_killed_process_leaves_a_whole_file_with_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "usage.sqlite"
    program = f"""
import sys, time
from pathlib import Path
sys.path[:0] = [{str(Path(__file__).parent)!r}]
from test_usage import UsageLedger, row
ledger = UsageLedger(Path({str(path)!r}))
for number in range(10**9):
    ledger.add(row(number))
    time.sleep(0 if number % 100 else 0.01)
"""
    child = subprocess.Popen([sys.executable, "-c", program])
    try:
        until(lambda: path.exists() and path.stat().st_size > 0 and _has_rows(path, 500))
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    count = num_rows(path)
    assert count >= 500
    with closing(sqlite3.connect(path)) as connection:  # the first ones, in order, without a gap
        numbers = [int(name.removeprefix("req_")) for (name,) in connection.execute("SELECT request FROM requests")]
    assert numbers == list(range(count))
    UsageLedger(path).close()


def _has_rows(path: Path, count: int) -> bool:
    try:
        return num_rows(path) >= count
    except sqlite3.OperationalError:  # the table is not there yet
        return False


def test_a_full_disk_is_told_once_and_what_waited_is_written_later(tmp_path: Path) -> None:
    program = f"""
import logging, resource, sys, time
from pathlib import Path
sys.path[:0] = [{str(Path(__file__).parent)!r}]
from test_usage import UsageLedger, num_rows, row, until
logging.basicConfig(stream=sys.stderr)
path = Path("usage.sqlite")
ledger = UsageLedger(path)
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))
started = time.monotonic()
for number in range(3000):
    ledger.add(row(number))
until(lambda: not ledger.is_written)
print("told", flush=True)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
until(lambda: ledger.is_written)
ledger.close()
assert (num_rows(path), ledger.num_lost) == (3000, 0)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "told\n"
    assert done.stderr.count("cannot be written") == 1
    assert "answering goes on" in done.stderr
    assert "is written again" in done.stderr


def test_a_locked_file_holds_up_nobody_and_beyond_the_bound_the_oldest_rows_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(usage, "_BUSY_S", 0.01)
    monkeypatch.setattr(usage, "_MOST_WAITING", 10)
    path = tmp_path / "usage.sqlite"
    ledger = UsageLedger(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as other, caplog.at_level(logging.WARNING):
        other.execute("BEGIN EXCLUSIVE")
        for number in range(10):
            ledger.add(row(number))
        until(lambda: not ledger.is_written)
        for number in range(10, 15):
            ledger.add(row(number))
        until(lambda: ledger.num_lost == 5)
        other.execute("ROLLBACK")
        until(lambda: ledger.is_written)
    ledger.close()
    assert num_rows(path) == 10
    assert ["database is locked" in record.getMessage() for record in caplog.records] == [True, False]


def test_what_cannot_be_written_at_the_end_is_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "_BUSY_S", 0.01)
    ledger = UsageLedger(tmp_path / "usage.sqlite")
    with closing(sqlite3.connect(tmp_path / "usage.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        ledger.add(row(1))
        ledger.close()
    assert ledger.num_lost == 1


def test_files_of_others_are_refused_and_stay_as_they_are(tmp_path: Path) -> None:
    text, database, pipe = tmp_path / "text", tmp_path / "other.sqlite", tmp_path / "pipe"
    text.write_text("SQLite it is not")
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE requests (id)")
        connection.commit()
    os.mkfifo(pipe)
    for path in (text, database, pipe, tmp_path):
        before = path.read_bytes() if path.is_file() else b""
        for use in (lambda path=path: UsageLedger(path), lambda path=path: usage_totals(path, "key")):
            with pytest.raises((SourceError, StorageError)):
                use()
        assert (path.read_bytes() if path.is_file() else b"") == before
    half = tmp_path / "half.sqlite"
    UsageLedger(half).close()
    half.write_bytes(half.read_bytes()[:5000])
    with pytest.raises(SourceError):
        usage_totals(half, "key")
    with pytest.raises(SourceError):
        usage_totals(tmp_path / "none", "key")
    assert not (tmp_path / "none").exists()


def test_times_are_instants_of_the_ledger() -> None:
    assert row(1, time=time_before(3600.0)).time.endswith("Z")
