"""The ledger: an append-only file in which every line is signed and names the line before.

In: a kind, a body, a key. Out: a :class:`~spiritsafe.ledger.records.LedgerEntry` that is on disk before ``append``
returns. Each line is the entry's canonical JSON and a newline; a line without its newline is an append that was
killed and never counts. Writers take turns under a file lock; readers need none. The Merkle root over the lines is
what a :class:`~spiritsafe.ledger.records.SignedHead` vouches for. Times are the signers' own clocks
(:mod:`spiritsafe.ledger.clocks`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import final

from spiritsafe.core.canonical import JSON, nesting
from spiritsafe.core.errors import IntegrityError, ProcedureError, SourceError, SpiritsafeError
from spiritsafe.core.files.atomic import ensure_directory, storage_errors, sync_directory
from spiritsafe.core.files.json_lines import set_aside
from spiritsafe.core.files.lock import locked
from spiritsafe.core.files.reading import MOST_BYTES, open_regular, open_to_read
from spiritsafe.core.records import instant
from spiritsafe.ledger.clocks import next_time, runs_back
from spiritsafe.ledger.keys import KeyPair, verify_signature
from spiritsafe.ledger.merkle import consistency_proof, inclusion_path, leaf_hash, root_hash, verify_inclusion
from spiritsafe.ledger.records import Evidence, LedgerEntry, Signature, SignedHead

GENESIS = "sha256:" + "0" * 64
"""``previous`` of the first entry."""

MOST_DEPTH = 32
"""How deep lists and objects may lie in each other in the body of a new entry."""

_MOST_DEPTH_READ = 257  # of a whole entry; what was appended before there was a limit stays readable

_LOCK_WAIT_S = 60.0  # an append takes milliseconds

_UNSIGNED = Signature(key="0" * 64, value="0" * 128)


@final
@dataclass(frozen=True, slots=True)
class LedgerCheck:
    """What reading a ledger from the start found.

    Attributes:
        num_entries: Good entries before the first bad one.
        first_bad: Index of the first bad entry, None if all are good.
        problem: What is wrong with it; empty if nothing is.
    """

    num_entries: int
    first_bad: int | None = None
    problem: str = ""

    @property
    def ok(self) -> bool:
        """True when every byte of the file belongs to a good entry."""
        return self.first_bad is None


def utc_now() -> str:
    """The time as records write it: UTC with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def verify_entry(entry: LedgerEntry) -> bool:
    """Whether an entry's signature is good."""
    return verify_signature(entry.signature, "ledger-entry", entry.signed_bytes())


def verify_head(head: SignedHead) -> bool:
    """Whether a head's signature is good."""
    return verify_signature(head.signature, "ledger-head", head.signed_bytes())


def verify_evidence(evidence: Evidence, head: SignedHead) -> bool:
    """Whether the entry is signed and its path leads to the head's root."""
    path = [bytes.fromhex(step) for step in evidence.path]
    leaf = leaf_hash(evidence.entry.canonical())
    return verify_entry(evidence.entry) and verify_inclusion(
        leaf, evidence.entry.index, head.size, path, bytes.fromhex(head.root)
    )


def _parse_line(line: bytes, after: LedgerEntry | None, times: Mapping[str, str]) -> LedgerEntry:
    """One line as an entry that follows ``after``; ``times`` are the keys' last ones.

    Raises:
        IntegrityError: It does not.
    """
    hint = "The ledger was altered or damaged: restore it from a good copy, and keep this one as evidence."
    try:
        value = json.loads(line)
        if nesting(value) > _MOST_DEPTH_READ:
            raise ValueError("nested too deep")
        entry = LedgerEntry.from_json(value)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"not a ledger entry ({error})", hint=hint) from error
    if entry.canonical() != line:
        raise IntegrityError("not in canonical form", hint=hint)
    if entry.index != (after.index + 1 if after else 0):
        raise IntegrityError(f"it calls itself entry {entry.index}", hint=hint)
    if entry.previous != (after.content_digest if after else GENESIS):
        raise IntegrityError("it does not follow the entry before it", hint=hint)
    if runs_back(times.get(entry.signature.key), entry.time):
        raise IntegrityError("its time is before that of the entry before it that its key signed", hint=hint)
    if not verify_entry(entry):
        raise IntegrityError("its signature is not its key's", hint=hint)
    return entry


@final
class Ledger:
    """A ledger file. Reading it checks it; a bad entry is an error wherever it is met.

    Args:
        path: The JSON-lines file; a missing one is an empty ledger.
        data: The file's bytes where somebody read them already: the file is not looked at again, and nothing can be
            appended.
    """

    def __init__(self, path: Path, *, data: bytes | None = None) -> None:
        self.path = path
        self._data = data
        self._entries: list[LedgerEntry] = []
        self._leaves: list[bytes] = []
        self._times: dict[str, str] = {}  # of each key, the last that is an instant
        self._end = 0  # bytes of the file that are read and good

    def entries(self) -> Sequence[LedgerEntry]:
        """All finished entries, those appended by others since the last call included.

        Raises:
            IntegrityError: An entry is bad, or the file became shorter; the message names the entry.
            SourceError: The file cannot be read.
        """
        self._refresh()
        return tuple(self._entries)

    def find(self, kind: str, **body: JSON) -> list[LedgerEntry]:
        """Entries of a kind whose body holds these values, in order."""
        return [e for e in self.entries() if e.kind == kind and all(e.body.get(k) == v for k, v in body.items())]

    def append(
        self,
        kind: str,
        body: Mapping[str, JSON],
        key: KeyPair,
        *,
        guard: Callable[[Sequence[LedgerEntry]], None] | None = None,
    ) -> LedgerEntry:
        """Append a signed entry; it is on disk when this returns.

        Args:
            kind: What the body is.
            body: Any JSON object.
            guard: Called with all entries while the ledger is locked; what it raises keeps the entry out.

        Raises:
            IntegrityError: The ledger is damaged, or the body has no canonical form.
            StorageError: It cannot be written; it is as it was.
            ProcedureError: This is a copy of its bytes.
        """
        if self._data is not None:
            raise ProcedureError(f"This is a copy of {self.path}.", hint="Append to the file itself.")
        if nesting(body) > MOST_DEPTH:
            raise IntegrityError(
                f"The body of a ledger entry may be nested {MOST_DEPTH} deep, no more.", hint="Write it flatter."
            )
        ensure_directory(self.path.parent)
        self._refresh()  # what is no ledger gets no lock beside it
        real = self.path.resolve()  # one lock for all who come by a link
        with locked(real.with_name(real.name + ".lock"), wait_s=_LOCK_WAIT_S):
            self._refresh()
            if guard is not None:
                guard(tuple(self._entries))
            last = self._entries[-1] if self._entries else None
            unsigned: dict[str, JSON] = {
                "index": last.index + 1 if last else 0,
                "previous": last.content_digest if last else GENESIS,
                "time": next_time(self._times.get(key.public.signing), utc_now()),
                "kind": kind,
                "body": body,
                "signature": _UNSIGNED.to_json(),
            }
            draft = LedgerEntry.from_json(unsigned)
            signature = key.sign("ledger-entry", draft.signed_bytes())
            entry = draft.model_copy(update={"signature": signature})
            line = entry.canonical()
            # what could not be read back (a float beyond 2**53) must not be written
            _parse_line(line, last, self._times)
            self._write(line + b"\n")
            self._keep(entry)
            return entry

    def head(self, key: KeyPair) -> SignedHead:
        """Vouch for the ledger as it is now.

        Raises:
            IntegrityError: The ledger is empty or damaged.
        """
        self._refresh()
        if not self._leaves:
            raise IntegrityError(f"{self.path} is empty.", hint="Append something before signing its head.")
        draft = SignedHead(
            size=len(self._leaves), root=root_hash(self._leaves).hex(), time=utc_now(), signature=_UNSIGNED
        )
        signature = key.sign("ledger-head", draft.signed_bytes())
        return SignedHead(size=draft.size, root=draft.root, time=draft.time, signature=signature)

    def evidence(self, index: int, head: SignedHead) -> Evidence:
        """An entry with its inclusion path under ``head``.

        Raises:
            IntegrityError: The head is not of this ledger, or has no such entry.
        """
        if self.root(head.size) != head.root:
            raise IntegrityError("This head is not of this ledger.", hint="Use a head signed over the same file.")
        path = inclusion_path(index, self._leaves[: head.size])
        return Evidence(entry=self._entries[index], path=tuple(step.hex() for step in path))

    def consistency(self, size: int) -> list[bytes]:
        """Proof that the first ``size`` entries are the beginning of the ledger as it is now."""
        self._refresh()
        return consistency_proof(size, self._leaves)

    def root(self, size: int) -> str:
        """Root over the first ``size`` entries.

        Raises:
            IntegrityError: There are fewer.
        """
        self._refresh()
        if size > len(self._leaves):
            raise IntegrityError(
                f"{self.path} has {len(self._leaves)} entries, not {size}: it was cut short.",
                hint="Restore it from a good copy.",
            )
        return root_hash(self._leaves[:size]).hex()

    def verify(self) -> LedgerCheck:
        """Read the whole file afresh (but for a copy) and name the first bad entry; an unfinished last line is bad too.

        Raises:
            SourceError: The file is missing or cannot be read.
        """
        fresh = Ledger(self.path) if self._data is None else self
        if self._data is None and not self.path.exists():
            raise SourceError(f"There is no ledger at {self.path}.", hint="Check the path.")
        try:
            torn = fresh._refresh()
        except IntegrityError as error:
            return LedgerCheck(len(fresh._entries), first_bad=len(fresh._entries), problem=error.message)
        if torn:
            at = len(fresh._entries)
            return LedgerCheck(at, first_bad=at, problem=f"entry {at} (line {at + 1}) of {self.path} is unfinished")
        return LedgerCheck(len(fresh._entries))

    def _keep(self, entry: LedgerEntry) -> None:
        line = entry.canonical()
        self._entries.append(entry)
        self._leaves.append(leaf_hash(line))
        if instant(entry.time) is not None:
            self._times[entry.signature.key] = entry.time
        self._end += len(line) + 1

    def _refresh(self) -> bytes:
        """Read what was appended since; return the bytes behind the last newline (an unfinished append)."""
        *lines, torn = (self._unread() if self._data is None else self._data[self._end :]).split(b"\n")
        for line in lines:
            number = len(self._entries)
            try:
                entry = _parse_line(line, self._entries[-1] if self._entries else None, self._times)
            except IntegrityError as error:
                raise IntegrityError(
                    f"Entry {number} (line {number + 1}) of {self.path} is bad: {error.message}.", hint=error.hint
                ) from error
            self._keep(entry)
        return torn

    def _unread(self) -> bytes:
        """The file's bytes behind those that are known to be good."""
        try:
            with open_to_read(self.path) as file:
                size = os.fstat(file.fileno()).st_size
                if size < self._end:
                    raise IntegrityError(f"{self.path} became shorter.", hint="Restore it from a good copy.")
                if size > MOST_BYTES:
                    raise SourceError(
                        f"{self.path} has more than {MOST_BYTES:,} bytes.", hint="That is no ledger: check the path."
                    )
                file.seek(self._end)
                return file.read()
        except FileNotFoundError:
            if self._end:
                raise IntegrityError(f"{self.path} vanished.", hint="Restore it from a good copy.") from None
            return b""
        except SpiritsafeError:  # some of these are OSErrors too, and already say what to do
            raise
        except OSError as error:
            raise SourceError(
                f"{self.path} cannot be read: {error.strerror}.", hint="Check that it is yours to read."
            ) from error

    def _write(self, line: bytes) -> None:
        """Append whole or not at all: first set an unfinished line aside, after a failed write cut back."""
        new = not self.path.exists()
        with storage_errors(self.path):
            # a link is followed to a ledger that has entries, not to what somebody would like to be written over
            descriptor = open_regular(self.path, os.O_RDWR | os.O_CREAT, 0o644, follow=self._end > 0)
            try:
                torn = os.pread(descriptor, os.fstat(descriptor).st_size - self._end, self._end)
                if torn:
                    set_aside(self.path, torn)
                    os.ftruncate(descriptor, self._end)
                try:
                    done = 0
                    while done < len(line):
                        done += os.pwrite(descriptor, line[done:], self._end + done)
                    os.fsync(descriptor)
                except OSError:
                    os.ftruncate(descriptor, self._end)
                    raise
            finally:
                os.close(descriptor)
            if new:
                sync_directory(self.path.parent)
