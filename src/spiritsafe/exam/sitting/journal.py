"""The journal of a sitting: what was asked and what came back, encrypted, on disk before anything follows from it.

In: asked tries, answers, probe rounds. Out: the same after a kill. Written ahead: a remote model's try is in the file
before its question leaves the host, so that no repeat asks it a second time, and is taken back where no byte of an
answer came; an answer is in the file when :meth:`Journal.record` returns. A killed process loses nothing of either. A
file beside the journal keeps room on the disk for the answers to what was asked. The disk is told to keep what was
written every :data:`SYNC_EVERY_S`: a power cut can lose what was asked and answered since, together, as if it had not
been asked. Local weights draw a try again from the same seed, so for them nothing is written ahead.

Lines are JSON: ``[index, sample]`` for a try that is about to be asked, ``["not asked", index, sample]`` for one that
was not asked after all, a string for what is sealed under a key that derives from the paper's secret.
"""

from __future__ import annotations

import base64
import errno
import hashlib
import hmac
import json
import os
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Self, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from pydantic import ValidationError

from spiritsafe.core.canonical import canonical_json
from spiritsafe.core.errors import IntegrityError, ProcedureError
from spiritsafe.core.files.atomic import storage_errors
from spiritsafe.core.files.json_lines import MOST_LINES_BYTES
from spiritsafe.core.files.reading import open_regular, read_bytes
from spiritsafe.core.files.record_files import parse_record
from spiritsafe.core.records import Record
from spiritsafe.exam.paper.files import keyed_salt
from spiritsafe.exam.records.result import JournalMark, ProbeRound
from spiritsafe.exam.sitting.answers import Answer, Try
from spiritsafe.ledger import KeyPair

SYNC_EVERY_S = 0.25
"""What was written waits at most so long for the disk, as long as more is written."""

_NONCE_BYTES = 12
_PREFIX_BYTES = 8
_NOT_ASKED = "not asked"
_RESERVE_SUFFIX = ".reserve"
_RESERVE_STEP = 16  # tries that room is taken for at once
_LINE_BYTES = 2048  # an answer's line, but for the answer
_TOKEN_BYTES = 8  # of a token's text in it
_FULL = (errno.ENOSPC, errno.EDQUOT)
_AGE = b"age-encryption.org/"
_HINT = "Restore the journal from a good copy; it is written by one sitting only and never edited."


class _Entry(Record):
    """What a sealed line holds: one of the two."""

    answer: Answer | None = None
    round: ProbeRound | None = None

    def __repr__(self) -> str:
        return "_Entry()"

    __str__ = __repr__


class _FirstVersion(Record):
    """What a line of the first version decrypted to, each to the examiner's key."""

    answer: Answer
    mark: str


def _allocate(descriptor: int, offset: int, num_bytes: int) -> None:
    """Take room on the disk; where the system or the file system has no call for that, by writing."""
    allocate: Callable[[int, int, int], None] | None = getattr(os, "posix_fallocate", None)
    if allocate is not None:
        try:
            return allocate(descriptor, offset, num_bytes)
        except OSError as error:
            if error.errno in _FULL:
                raise
    while num_bytes > 0:
        done = os.pwrite(descriptor, bytes(min(num_bytes, 1 << 16)), offset)
        offset, num_bytes = offset + done, num_bytes - done
    return None


@final
class _Reserve:
    """A file of nothing that takes room on the disk until the journal needs it."""

    def __init__(self, path: Path, try_bytes: int) -> None:
        self._path = path
        self._try_bytes = try_bytes
        self._num_tries = 0
        self._descriptor: int | None = None

    def grow(self, num_tries: int) -> None:
        """Take room for so many tries, and some more.

        Raises:
            StorageError: There is none.
        """
        if num_tries <= self._num_tries:
            return
        wanted = -(-num_tries // _RESERVE_STEP) * _RESERVE_STEP
        with storage_errors(self._path):
            if self._descriptor is None:
                self._path.unlink(missing_ok=True)  # of a killed process, or a second name of somebody's file
                self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
            size = os.fstat(self._descriptor).st_size
            try:
                _allocate(self._descriptor, size, wanted * self._try_bytes - size)
            except OSError:
                os.ftruncate(self._descriptor, size)
                raise
        self._num_tries = wanted

    def shrink(self, num_bytes: int) -> bool:
        """Give some of it back to the disk; False: there was nothing left."""
        if self._descriptor is None:
            return False
        size = os.fstat(self._descriptor).st_size
        os.ftruncate(self._descriptor, max(0, size - max(num_bytes, self._try_bytes)))
        self._num_tries = 0  # it must grow again before anything else is asked
        return size > 0

    def close(self) -> None:
        """Give all of it back."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor, self._num_tries = None, 0
            with suppress(OSError):
                self._path.unlink()


@final
class Journal:
    """The journal of one sitting; a context manager.

    Args:
        key: The examiner's, for lines of the first version.
        registration: Digest of the registration; the lines of another one do not open here.
        max_tokens: Of an answer, as registered: so much room is kept for each try that is under way.

    Attributes:
        answers: By try.
        asked: Tries that were announced and not taken back; those without an answer are lost.
        rounds: Probe rounds in order.

    Raises:
        IntegrityError: The file holds a line that this sitting did not write.
    """

    def __init__(self, path: Path, *, key: KeyPair, secret: str, registration: str, max_tokens: int = 256) -> None:
        self._path = path
        self._reserve = _Reserve(path.with_suffix(_RESERVE_SUFFIX), _LINE_BYTES + _TOKEN_BYTES * max_tokens)
        self._key = key
        self._old_mark = keyed_salt(secret, "journal", registration)
        sealing = hmac.digest(bytes.fromhex(secret), f"journal key/{registration}".encode(), "sha256")
        self._cipher = ChaCha20Poly1305(sealing)
        self._prefix, self._num_sealed = os.urandom(_PREFIX_BYTES), 0
        self._lock = threading.Lock()  # announcements come from the network's thread
        self._descriptor: int | None = None
        self._synced = time.monotonic()
        self._lines, self._running = 0, hashlib.sha256()
        self.answers: dict[Try, Answer] = {}
        self.asked: set[Try] = set()
        self.rounds: list[ProbeRound] = []
        if path.exists():
            self._load()
        self._num_under_way = len(self.lost)

    @property
    def lost(self) -> set[Try]:
        """Tries that were asked and whose answer is not there."""
        return self.asked - self.answers.keys()

    def make_room(self) -> None:
        """Take room on the disk for answers, before anything is asked.

        Raises:
            StorageError: There is none.
        """
        with self._lock:
            self._reserve.grow(1)

    def mark(self) -> JournalMark:
        """What the file holds; the disk has it when this returns.

        Raises:
            StorageError: It cannot be written.
        """
        with self._lock:
            if self._lines:
                self._write(b"")  # also what a process before this one wrote must be on the disk
            self._sync()
            return JournalMark(lines=self._lines, answers=len(self.answers), digest=self._running.hexdigest())

    def check_holds(self, mark: JournalMark, what: str) -> None:
        """Check that the file begins with what a mark of it says; ``what`` is where the mark stands.

        Raises:
            IntegrityError: It does not: it was cut, thrown away, or is another one.
        """
        *lines, _ = (self._read() if self._path.exists() else b"").split(b"\n")
        begins = b"".join(line + b"\n" for line in lines[: mark.lines])
        if len(lines) < mark.lines or hashlib.sha256(begins).hexdigest() != mark.digest:
            raise IntegrityError(
                f"{self._path} is not the journal of this sitting: by {what}, {mark.answers} answers were in it.",
                hint="Restore it from a good copy. Without it the sitting cannot go on, for its questions would be "
                "asked twice: withdraw the registration, or let it lapse, and register again.",
            )

    def announce(self, tries: Iterable[Try]) -> None:
        """Write down what is about to be asked; it is in the file when this returns, and room for the answers is taken.

        Raises:
            ProcedureError: One of them was asked already.
            StorageError: It cannot be written.
        """
        with self._lock:
            new = list(tries)
            for place in new:
                if place in self.asked or place in self.answers:
                    raise ProcedureError(
                        f"Try {place} was about to be asked twice.", hint="Report this: a sitting asks each try once."
                    )
            self._reserve.grow(self._num_under_way + len(new))
            self._write(b"".join(b"[%d,%d]\n" % place for place in new), keep_reserve=True)
            self.asked.update(new)
            self._num_under_way += len(new)

    def take_back(self, place: Try) -> None:
        """An announced try was not asked: it is open again.

        Raises:
            ProcedureError: It was not announced, or has an answer.
            StorageError: It cannot be written.
        """
        with self._lock:
            if place not in self.asked or place in self.answers:
                raise ProcedureError(f"Try {place} is not under way.", hint="Report this: it cannot be taken back.")
            self._write(b'["%s",%d,%d]\n' % (_NOT_ASKED.encode(), *place))
            self.asked.remove(place)
            self._num_under_way -= 1

    def record(self, answer: Answer) -> None:
        """Keep an answer; it is in the file when this returns.

        Raises:
            ProcedureError: This try has an answer already.
            StorageError: It cannot be written.
        """
        place = (answer.index, answer.sample_index)
        with self._lock:
            if place in self.answers:
                raise ProcedureError(
                    f"Try {place} was answered twice.", hint="Report this: a sitting asks each try once."
                )
            self._put(_Entry(answer=answer))
            self.answers[place] = answer
            self._num_under_way -= place in self.asked

    def record_round(self, round_: ProbeRound) -> None:
        """Keep a round of probes.

        Raises:
            StorageError: It cannot be written.
        """
        with self._lock:
            self._put(_Entry(round=round_))
            self.rounds.append(round_)

    def close(self) -> None:
        """Sync and close, and give the room back; a second call does nothing."""
        with self._lock:
            self._reserve.close()
            if self._descriptor is not None:
                self._sync()
                os.close(self._descriptor)
                self._descriptor = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, entry: _Entry) -> None:
        # A key serves one sitting; a prefix one process of it: no nonce comes twice.
        self._num_sealed += 1
        nonce = self._prefix + self._num_sealed.to_bytes(_NONCE_BYTES - _PREFIX_BYTES, "big")
        box = nonce + self._cipher.encrypt(nonce, entry.model_dump_json().encode("utf-8"), None)
        self._write(b'"%s"\n' % base64.b64encode(box))

    def _write(self, data: bytes, *, keep_reserve: bool = False) -> None:
        with storage_errors(self._path):
            if self._descriptor is None:
                self._descriptor = open_regular(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            done = 0
            while done < len(data):
                try:
                    done += os.write(self._descriptor, data[done:])
                except OSError as error:
                    if error.errno in _FULL and not keep_reserve and self._reserve.shrink(len(data) - done):
                        continue
                    # half a line must not stay
                    os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - done)
                    raise
        self._count(data)
        if time.monotonic() - self._synced > SYNC_EVERY_S:
            self._sync()

    def _count(self, lines: bytes) -> None:
        self._lines += lines.count(b"\n")
        self._running.update(lines)

    def _sync(self) -> None:
        with storage_errors(self._path):
            if self._descriptor is not None:
                os.fsync(self._descriptor)
        self._synced = time.monotonic()

    def _read(self) -> bytes:
        return read_bytes(self._path, most_bytes=MOST_LINES_BYTES)

    def _load(self) -> None:
        data = self._read()
        *lines, torn = data.split(b"\n")
        if torn:  # a killed write: that line never counted
            with storage_errors(self._path), open(open_regular(self._path, os.O_RDWR), "r+b") as file:
                file.truncate(len(data) - len(torn))
        self._count(data[: len(data) - len(torn)])
        for number, line in enumerate(lines, start=1):
            what = f"{self._path}, line {number},"
            try:
                value = json.loads(line)
                if isinstance(value, list):
                    *taken_back, index, sample = value
                    place = int(index), int(sample)
                    if taken_back == [_NOT_ASKED]:
                        self.asked.remove(place)
                    elif taken_back:
                        raise ValueError
                    else:
                        self.asked.add(place)
                    continue
                box = base64.b64decode(value, validate=True)
            except (ArithmeticError, KeyError, RecursionError, TypeError, ValueError) as error:
                raise IntegrityError(f"{what} is damaged.", hint=_HINT) from error
            self._keep(self._open(box, what), what)

    def _open(self, box: bytes, what: str) -> _Entry:
        refusal = IntegrityError(f"{what} was not written by this sitting.", hint=_HINT)
        if box.startswith(_AGE):
            entry = parse_record(self._key.decrypt(box), _FirstVersion, what)
            mark = hmac.digest(self._old_mark.encode(), canonical_json(entry.answer.to_json()), "sha256").hex()
            if not hmac.compare_digest(entry.mark, mark):
                raise refusal
            return _Entry(answer=entry.answer)
        try:
            return _Entry.model_validate_json(self._cipher.decrypt(box[:_NONCE_BYTES], box[_NONCE_BYTES:], None))
        except (InvalidTag, ValidationError, ValueError):
            raise refusal from None  # the cause could show what stands there

    def _keep(self, entry: _Entry, what: str) -> None:
        if entry.round is not None:
            self.rounds.append(entry.round)
        if entry.answer is not None:
            place = (entry.answer.index, entry.answer.sample_index)
            if place in self.answers:
                raise IntegrityError(f"{what} was not written by this sitting.", hint=_HINT)
            self.answers[place] = entry.answer
