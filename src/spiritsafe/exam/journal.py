"""The journal of a sitting: what was asked and what came back, encrypted, on disk before anything follows from it.

In: asked tries, answers, probe rounds. Out: the same after a kill. Written ahead: a remote model's try is in the file
before its question leaves the host, so that no repeat asks it a second time; an answer is in the file when
:meth:`Journal.record` returns. A killed process loses nothing of either. The disk is told to keep it every
:data:`SYNC_EVERY_S`: a power cut can lose what was asked and answered since, together, as if it had not been asked.
Local weights draw a try again from the same seed, so for them nothing is written ahead.

Lines are JSON: ``[index, sample]`` for a try that is about to be asked, a string for what is sealed under a key that
derives from the paper's secret. Exercised by ``pytest tests/unit/exam/test_journal.py``.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Self, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from pydantic import ValidationError

from spiritsafe.core.canonical import canonical_json
from spiritsafe.core.errors import IntegrityError, ProcedureError
from spiritsafe.core.files import storage_errors
from spiritsafe.core.outcomes import JournalMark
from spiritsafe.core.promises import ProbeRound
from spiritsafe.core.records import Record
from spiritsafe.exam.answers import Answer, Try
from spiritsafe.exam.paper import keyed_salt
from spiritsafe.exam.recordfile import parse_record, read_file
from spiritsafe.ledger import KeyPair

__all__ = ["SYNC_EVERY_S", "Journal"]

SYNC_EVERY_S = 0.25
"""What was written waits at most so long for the disk, as long as more is written."""

_NONCE_BYTES = 12
_PREFIX_BYTES = 8
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


@final
class Journal:
    """The journal of one sitting; a context manager.

    Args:
        path: ``answers.jsonl``.
        key: The examiner's, for lines of the first version.
        secret: The paper's secret.
        registration: Digest of the registration; the lines of another one do not open here.

    Attributes:
        answers: By try.
        asked: Tries that were announced; those without an answer are lost.
        rounds: Probe rounds in order.

    Raises:
        IntegrityError: The file holds a line that this sitting did not write.
    """

    def __init__(self, path: Path, *, key: KeyPair, secret: str, registration: str) -> None:
        self._path = path
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

    @property
    def lost(self) -> set[Try]:
        """Tries that were asked and whose answer is not there."""
        return self.asked - self.answers.keys()

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
        *lines, _ = (read_file(self._path) if self._path.exists() else b"").split(b"\n")
        begins = b"".join(line + b"\n" for line in lines[: mark.lines])
        if len(lines) < mark.lines or hashlib.sha256(begins).hexdigest() != mark.digest:
            raise IntegrityError(
                f"{self._path} is not the journal of this sitting: by {what}, {mark.answers} answers were in it.",
                hint="Restore it from a good copy. Without it the sitting cannot go on, for its questions would be "
                "asked twice: withdraw the registration, or let it lapse, and register again.",
            )

    def announce(self, tries: Iterable[Try]) -> None:
        """Write down what is about to be asked; it is in the file when this returns.

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
            self._write(b"".join(b"[%d,%d]\n" % place for place in new))
            self.asked.update(new)

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

    def record_round(self, round_: ProbeRound) -> None:
        """Keep a round of probes.

        Raises:
            StorageError: It cannot be written.
        """
        with self._lock:
            self._put(_Entry(round=round_))
            self.rounds.append(round_)

    def close(self) -> None:
        """Sync and close; a second call does nothing."""
        with self._lock:
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

    def _write(self, data: bytes) -> None:
        with storage_errors(self._path):
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            done = 0
            try:
                while done < len(data):
                    done += os.write(self._descriptor, data[done:])
            except OSError:
                # the disk filled up: half a line must not stay
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

    def _load(self) -> None:
        data = read_file(self._path)
        *lines, torn = data.split(b"\n")
        if torn:  # a killed write: that line never counted
            with storage_errors(self._path), self._path.open("r+b") as file:
                file.truncate(len(data) - len(torn))
        self._count(data[: len(data) - len(torn)])
        for number, line in enumerate(lines, start=1):
            what = f"{self._path}, line {number},"
            try:
                value = json.loads(line)
                if isinstance(value, list):
                    index, sample = value
                    self.asked.add((int(index), int(sample)))
                    continue
                box = base64.b64decode(value, validate=True)
            except (ValueError, TypeError) as error:
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
