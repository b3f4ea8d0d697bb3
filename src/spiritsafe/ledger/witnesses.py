"""Witnessing: keepers of other ledgers remember the heads they saw, so that a rewritten history does not pass.

In: somebody else's ledger, one's own, a key. Out: a cosigned checkpoint, and an entry of kind "witness" in one's own
ledger. A witness that saw a head once refuses every later state that does not extend it: a line edited, dropped,
reordered or cut off, or another ledger in its place. Two keepers who witness each other can rewrite neither alone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import IntegrityError
from spiritsafe.ledger.checkpoints import LogHead, Note, cosign_head
from spiritsafe.ledger.keys import KeyPair
from spiritsafe.ledger.log import Ledger
from spiritsafe.ledger.records import LedgerEntry


def origin_of(ledger: Ledger) -> str:
    """The name of a ledger: of its first entry, which nothing can change.

    Raises:
        IntegrityError: It is empty or damaged.
    """
    entries = ledger.entries()
    if not entries:
        raise IntegrityError(f"{ledger.path} is empty.", hint="A ledger has a name once it has an entry.")
    return f"spiritsafe/ledger/{entries[0].content_digest.removeprefix('sha256:')[:16]}"


def head_of(ledger: Ledger) -> LogHead:
    """The ledger's head as it is now, unsigned.

    Raises:
        IntegrityError: It is empty or damaged.
    """
    origin = origin_of(ledger)
    size = len(ledger.entries())
    return LogHead(origin, size, ledger.root(size))


def seen_heads(
    entries: Sequence[LedgerEntry], *, origin: str | None = None, name: str | None = None, key: str | None = None
) -> list[LogHead]:
    """Heads of other ledgers that the entries of a witness's ledger remember, in order.

    Args:
        entries: The witness's ledger.
        origin: Only of the ledger of this name of its own.
        name: Only what the witness calls so.
        key: Only what this key signed (hex).

    Raises:
        IntegrityError: An entry that this key signed remembers no head; others that do not are left out.
    """
    heads = []
    for entry in entries:
        body = entry.body
        if entry.kind != WITNESS or (key is not None and entry.signature.key != key):
            continue
        found, size, root = body.get("origin"), body.get("size"), body.get("root")
        if not isinstance(found, str) or not isinstance(root, str) or type(size) is not int or size < 1:
            if key is None:  # anybody may append to a witness's ledger too
                continue
            raise IntegrityError(f"Entry {entry.index} remembers no head.", hint="Ask the witness about it.")
        if origin in (None, found) and name in (None, body.get("name")):
            heads.append(LogHead(found, size, root))
    return heads


def check_extends(ledger: Ledger, head: LogHead, *, who: str) -> None:
    """Check that a ledger still begins as it did when ``who`` saw this head.

    Raises:
        IntegrityError: It was cut short, rewritten or forked, or it is another ledger; the message says which.
    """
    hint = "Keep both copies as evidence, and do not rely on this ledger."
    entries = ledger.entries()
    if head.size > len(entries):
        raise IntegrityError(
            f"{ledger.path} was cut short: it has {len(entries)} entries, and {who} saw {head.size}.", hint=hint
        )
    if origin_of(ledger) != head.origin:
        raise IntegrityError(f"{ledger.path} is another ledger than the one {who} saw.", hint=hint)
    if ledger.root(head.size) != head.root:
        raise IntegrityError(
            f"{ledger.path} was rewritten or forked: its first {head.size} entries are not those that {who} saw.",
            hint=hint,
        )


def witness(other: Ledger, *, own: Ledger, key: KeyPair, name: str) -> Note:
    """Check another ledger against the heads that one saw before, cosign its head, and remember it.

    Args:
        other: The ledger that is witnessed; every entry is read and checked.
        own: Where the head is remembered.
        name: What the witness calls the other ledger. Under one name only one ledger is ever cosigned, so that it
            cannot be replaced as a whole either.

    Raises:
        IntegrityError: A ledger is damaged, or the other one does not extend what was seen.
        StorageError: One's own cannot be written.
    """
    head = head_of(other)

    def extends_what_was_seen(entries: Sequence[LedgerEntry]) -> None:
        for seen in seen_heads(entries, name=name, key=key.public.signing):
            check_extends(other, seen, who=key.public.label)

    note = cosign_head(head, key, timestamp=int(time.time()))
    body: dict[str, JSON] = {
        "name": name,
        "origin": head.origin,
        "size": head.size,
        "root": head.root,
        "note": str(note),
    }
    own.append(WITNESS, body, key, guard=extends_what_was_seen)
    return note


WITNESS = "witness"
"""Kind of the entries that remember another ledger's head."""
