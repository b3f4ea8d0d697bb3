"""The log of one paper: each entry of a ledger read once, as what it says of the paper, and counted by its signer.

In: a ledger's entries, a paper's header. Out: the entries of a kind that count, in ledger order, and those that only
look like some. Anybody may append anything: an entry counts when it names the paper, its body is whole, and one of the
keys signed it whose word that is. What a body holds and whose word it is, each kind says in a class of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, TypeVar, final

from spiritsafe.core.canonical import JSON
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.ledger import KeyPair, Ledger, LedgerEntry, key_id_of


@dataclass(frozen=True)
class PaperEntry:
    """An entry as what it says of a paper; each kind is a final subclass, made of any entry of that kind.

    Attributes:
        kind: Of ledger entry.
        signer: Whose word it is; of anybody's, :meth:`is_whole` may hold the key against the one that the body names.
        names_paper: Whether the body names the paper; else it names a registration, which names its paper.
    """

    kind: ClassVar[str]
    signer: ClassVar[Literal["examiner", "opener", "anybody"]] = "examiner"
    names_paper: ClassVar[bool] = True
    entry: LedgerEntry

    def is_whole(self) -> bool:
        """Whether the body can be read as one of this kind."""
        return True

    @classmethod
    def append(
        cls,
        ledger: Ledger,
        header: PaperHeader,
        key: KeyPair,
        guard: Callable[[PaperLog], None] | None = None,
        /,
        **body: JSON,
    ) -> LedgerEntry:
        """Enter one; ``guard`` sees the log while the ledger is locked, and what it raises keeps the entry out."""

        def check(entries: Sequence[LedgerEntry]) -> None:
            if guard is not None:
                guard(PaperLog(entries, header))

        return ledger.append(cls.kind, {"paper_id": header.paper_id, **body}, key, guard=check)

    @property
    def index(self) -> int:
        """Its place in the ledger."""
        return self.entry.index

    @property
    def time(self) -> str:
        """By its signer's clock."""
        return self.entry.time

    @property
    def key(self) -> str:
        """That signed it."""
        return self.entry.signature.key

    @property
    def sitting(self) -> str:
        """Digest of the registration that it is about; empty: of none."""
        return self.text("registration")

    def says(self, **body: JSON) -> bool:
        """Whether the body holds these values; None: no such."""
        return all(self.entry.body.get(name) == value for name, value in body.items())

    def text(self, name: str) -> str:
        """A string of the body; empty where there is none."""
        value = self.entry.body.get(name)
        return value if isinstance(value, str) else ""

    def places(self, *names: str) -> set[int]:
        """Of problems, in these lists of the body."""
        lists = [self.entry.body.get(name) for name in names]
        return {
            int(place) for places in lists if isinstance(places, list) for place in places if isinstance(place, int)
        }

    def share(self, name: str) -> float | None:
        """A number of the body from 0 to 1; None where there is none."""
        value = self.entry.body.get(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            return None
        return float(value) if 0 <= value <= 1 else None


@final
@dataclass(frozen=True, slots=True)
class Ignored:
    """An entry that looks like one of a kind and counts for nothing."""

    entry: LedgerEntry
    why: Literal["malformed", "another key"]

    @property
    def words(self) -> str:
        """How it is told: which, and whose key signed it."""
        return f"malformed entry {self.entry.index} by key {key_id_of(self.entry.signature.key)}, ignored"


K = TypeVar("K", bound=PaperEntry)


def openers(header: PaperHeader) -> tuple[str, ...]:
    """Keys that can open the sealed half: who can open it can show it to others."""
    return tuple(key.signing for key in (header.examiner, *header.recipients))


@final
class PaperLog:
    """What a ledger, or the part of it that a certificate shows, holds of one paper.

    Attributes:
        entries: All of them, those of other papers too.
    """

    def __init__(self, entries: Sequence[LedgerEntry], header: PaperHeader) -> None:
        self.entries = entries
        self.header = header
        self._read: dict[type[PaperEntry], tuple[list[Any], list[Ignored]]] = {}

    def of(self, *kinds: type[K], sitting: str | None = None) -> list[K]:
        """The entries of these kinds that count, in ledger order; only those about one registration, if it is named."""
        found = [entry for kind in kinds for entry in self._of(kind)[0] if sitting in (None, entry.sitting)]
        return sorted(found, key=lambda entry: entry.index)

    def ignored(self, *kinds: type[PaperEntry], sitting: str | None = None) -> list[Ignored]:
        """The entries that name this paper, look like these kinds, and count for nothing, in ledger order."""
        found = [other for kind in kinds for other in self._of(kind)[1] if sitting in (None, kind(other.entry).sitting)]
        return sorted(found, key=lambda other: other.entry.index)

    def before(self, index: int) -> PaperLog:
        """The log as it was before an entry."""
        return PaperLog([entry for entry in self.entries if entry.index < index], self.header)

    def _of(self, kind: type[PaperEntry]) -> tuple[list[Any], list[Ignored]]:
        """Read all entries of a kind, once: here, and nowhere else, an entry counts by its signer."""
        if kind not in self._read:
            counted, ignored = self._read[kind] = [], []
            signers = {"examiner": (self.header.examiner.signing,), "opener": openers(self.header)}
            for entry in map(kind, (entry for entry in self.entries if entry.kind == kind.kind)):
                if kind.names_paper and not entry.says(paper_id=self.header.paper_id):
                    continue
                if not entry.is_whole():
                    ignored.append(Ignored(entry.entry, "malformed"))
                elif entry.signer != "anybody" and entry.key not in signers[entry.signer]:
                    ignored.append(Ignored(entry.entry, "another key"))
                else:
                    counted.append(entry)
        return self._read[kind]
