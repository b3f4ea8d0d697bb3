"""Usage ledger: what each request cost, in a SQLite file; never a word of what was asked or answered.

In: a :class:`UsageRow` a request. Out: rows, written by one thread in batches, so that answering never waits for a
disk; whatever kills the process, at most the last second is lost. A disk that is full or a file that is locked is told
in log and metrics, and answering goes on: rows wait for better times, up to a bound. ``spiritsafe serve usage FILE``
reads it.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal, final

from pydantic import Field

from spiritsafe.core.errors import SourceError, SpiritsafeError, StorageError
from spiritsafe.core.files.atomic import ensure_directory
from spiritsafe.core.files.reading import open_to_read
from spiritsafe.core.records import Record, Timestamp

_LOG = logging.getLogger(__name__)

_APPLICATION_ID = 0x73706972  # "spir": other programs' databases are refused
_VERSION = 1
_MAGIC = b"SQLite format 3\0"
_WRITE_EVERY_S = 0.5
_MOST_WAITING = 100_000
_BATCH = 2_000
_BUSY_S = 2.0
_SCHEMA = """
CREATE TABLE requests (
    id INTEGER PRIMARY KEY,
    time TEXT NOT NULL,            -- UTC, when it came
    request TEXT NOT NULL,         -- its id, as the answer's head has it
    key TEXT NOT NULL,             -- name of the key
    endpoint TEXT NOT NULL,
    asked TEXT NOT NULL,           -- the model that was asked for
    model TEXT NOT NULL,           -- the model that answered
    digest TEXT NOT NULL,          -- of the bytes that answered
    prompt_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    thought_tokens INTEGER NOT NULL, -- of these
    dropped_tokens INTEGER NOT NULL, -- drawn beside these, for answers that a cascade did not keep
    status INTEGER NOT NULL,       -- of HTTP; 499: the client hung up
    first_token_ms REAL,           -- NULL: there was none
    total_ms REAL NOT NULL
) STRICT;
CREATE INDEX requests_by_time ON requests (time);
"""


class UsageRow(Record):
    """One request.

    Attributes:
        time: When it came.
        request: Its id, as the answer's head has it.
        key: Name of the key.
        asked: The model that was asked for.
        model: The model that answered, or would have.
        digest: Of that model's bytes.
        dropped_tokens: Drawn by models whose answers a cascade did not keep.
        status: Of HTTP; 499: the client hung up.
    """

    time: Timestamp
    request: str
    key: str
    endpoint: str
    asked: str
    model: str
    digest: str
    prompt_tokens: int = Field(default=0, ge=0)
    cached_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)
    thought_tokens: int = Field(default=0, ge=0)
    dropped_tokens: int = Field(default=0, ge=0)
    status: int
    first_token_ms: float | None = None
    total_ms: float = Field(ge=0)


_COLUMNS = tuple(UsageRow.model_fields)
_INSERT = f"INSERT INTO requests ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"


class UsageTotal(Record):
    """What one key, model or day used.

    Attributes:
        name: Of the key or model, or the day (UTC).
        num_failed: Of the requests: those with a status from 400 on.
        first_token_ms: Mean until the first token; None where there was none.
    """

    name: str
    num_requests: int
    num_failed: int
    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int
    dropped_tokens: int
    first_token_ms: float | None


UsageGroup = Literal["key", "model", "day"]
_GROUPS: dict[UsageGroup, str] = {"key": "key", "model": "model", "day": "substr(time, 1, 10)"}


def time_before(seconds: float) -> str:
    """The instant so long ago, as rows have it."""
    then = datetime.now(UTC) - timedelta(seconds=seconds)
    return then.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@contextmanager
def _sqlite_errors(path: Path, kind: type[SpiritsafeError], hint: str) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise kind(f"The usage ledger {path} cannot be used: {error}.", hint=hint) from error


def _refuse_foreign(path: Path) -> None:
    """Refuse what is no SQLite file, before SQLite waits for a pipe or reads a device."""
    hint = "Give the path of a usage ledger; one is made where there is no file yet."
    try:
        with open_to_read(path) as file:
            head = file.read(len(_MAGIC))
    except SourceError:
        raise
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise SourceError(f"{path} cannot be read: {reason}.", hint=hint) from error
    if head not in (b"", _MAGIC):
        raise SourceError(f"{path} is no usage ledger: it is no SQLite file.", hint=hint)


def _require_ours(connection: sqlite3.Connection, path: Path) -> None:
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if (application, version) != (_APPLICATION_ID, _VERSION):
        raise SourceError(
            f"{path} is another program's database, or another version's.",
            hint="Give the path of a usage ledger; one is made where there is no file yet.",
        )


@final
class UsageLedger:
    """A usage ledger that is written.

    Args:
        path: The file; made if missing.

    Raises:
        SpiritsafeError: It is no usage ledger, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: deque[UsageRow] = deque()
        self._changed = threading.Condition()
        self._is_closed = False
        self._fault = ""
        self.num_lost = 0
        ensure_directory(path.parent)
        if path.exists():
            _refuse_foreign(path)
        hint = "Check the path and the disk, or start without --usage."
        with _sqlite_errors(path, StorageError, hint):
            self._connection = sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            self._prepare()
        self._thread = threading.Thread(target=self._write_on, name="usage-ledger", daemon=True)
        self._thread.start()

    def _prepare(self) -> None:
        one = self._connection
        (num_tables,) = one.execute("SELECT count(*) FROM sqlite_schema").fetchone()
        if num_tables == 0:
            one.execute("PRAGMA journal_mode = WAL")
            one.executescript(
                f"BEGIN IMMEDIATE; {_SCHEMA} PRAGMA application_id = {_APPLICATION_ID}; "
                f"PRAGMA user_version = {_VERSION}; COMMIT;"
            )
        _require_ours(one, self._path)
        one.execute("PRAGMA synchronous = NORMAL")  # a killed process loses nothing of it, a power cut the last batch

    @property
    def is_written(self) -> bool:
        """Whether the last batch came through."""
        return not self._fault

    def add(self, row: UsageRow) -> None:
        """Keep a row; it is written within a second. Never waits, never fails."""
        with self._changed:
            self._waiting.append(row)
            self._drop_oldest()

    def close(self) -> None:
        """Write what waits, and end; a second time changes nothing."""
        with self._changed:
            if self._is_closed:
                return
            self._is_closed = True
            self._changed.notify_all()
        self._thread.join()
        if self._waiting:
            self.num_lost += len(self._waiting)
            _LOG.error("%d rows of the usage ledger %s are lost: %s", len(self._waiting), self._path, self._fault)
        self._connection.close()

    def _drop_oldest(self) -> None:
        while len(self._waiting) > _MOST_WAITING:
            self._waiting.popleft()
            self.num_lost += 1

    def _write_on(self) -> None:
        """The writer's thread: batch after batch, until it is closed and nothing waits or nothing can be written."""
        is_last = False
        while not is_last:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed, _WRITE_EVERY_S)
                is_last = self._is_closed
            while self._write_batch():
                pass

    def _write_batch(self) -> bool:
        """Write the oldest rows; False: there are none, or they could not be written and wait again."""
        with self._changed:
            batch = [self._waiting.popleft() for _ in range(min(_BATCH, len(self._waiting)))]
        if not batch:
            return False
        if self._write(batch):
            return True
        with self._changed:
            self._waiting.extendleft(reversed(batch))
            self._drop_oldest()
        return False

    def _write(self, rows: list[UsageRow]) -> bool:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(_INSERT, [tuple(getattr(row, name) for name in _COLUMNS) for row in rows])
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._say_fault(str(error), len(rows))
            if self._connection.in_transaction:
                self._roll_back()
            return False
        if self._fault:
            _LOG.warning("the usage ledger %s is written again; %d rows were lost", self._path, self.num_lost)
            self._fault = ""
        return True

    def _roll_back(self) -> None:
        try:
            self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            self._say_fault(str(error), 0)

    def _say_fault(self, fault: str, num_rows: int) -> None:
        if fault != self._fault:  # once, not twice a second
            _LOG.error(
                "the usage ledger %s cannot be written (%s); answering goes on, %d rows wait, beyond %d the oldest go",
                *(self._path, fault, num_rows, _MOST_WAITING),
            )
        self._fault = fault


def usage_totals(path: Path, group: UsageGroup) -> list[UsageTotal]:
    """What was used, by key, model or day, in the order of the names.

    Raises:
        SourceError: It is no usage ledger.
    """
    _refuse_foreign(path)
    query = f"""
        SELECT {_GROUPS[group]} AS name, count(*), sum(status >= 400), sum(prompt_tokens), sum(cached_tokens),
               sum(completion_tokens), sum(dropped_tokens), avg(first_token_ms)
        FROM requests GROUP BY name ORDER BY name
    """
    hint = "Check that it is a usage ledger, whole, in a folder that is yours to write (SQLite keeps files beside it)."
    with _sqlite_errors(path, SourceError, hint):
        address = f"{path.absolute().as_uri()}?mode=ro"
        with closing(sqlite3.connect(address, uri=True, timeout=_BUSY_S)) as connection:
            _require_ours(connection, path)
            rows = connection.execute(query).fetchall()
    return [UsageTotal(**dict(zip(UsageTotal.model_fields, row, strict=True))) for row in rows]
