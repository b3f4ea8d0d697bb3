"""Who opened a paper, when and for whom, by the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import final, get_args

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.exam.entries.paper_log import PaperEntry, PaperLog
from spiritsafe.exam.paper.split import halves
from spiritsafe.exam.records.certificate import AccessRecord
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.result import Half, JournalMark
from spiritsafe.ledger import KeyPair, Ledger, LedgerEntry

HALVES: tuple[Half, ...] = get_args(Half)
"""An access lists the places that it shows by half."""


@final
class SealingEntry(PaperEntry):
    """A paper was sealed."""

    kind = "paper"


@final
class AccessEntry(PaperEntry):
    """Somebody was about to be shown problems; who, and which, it may not say legibly: then it may be all of them."""

    kind = "access"
    signer = "opener"

    @cached_property
    def reader(self) -> GeneratorInfo | None:
        """Who was shown problems; None where it is malformed: then it may have been anybody."""
        if not all(isinstance(self.entry.body.get(half, []), list) for half in HALVES):
            return None
        try:
            return GeneratorInfo.from_json(self.entry.body.get("reader"))
        except IntegrityError:
            return None

    @property
    def who(self) -> str:
        """The reader, for print."""
        reader = self.reader
        return f"{reader.name} ({reader.kind})" if reader else f"an unknown reader (ledger entry {self.index})"

    @property
    def is_exposing(self) -> bool:
        """Whether its reader has the problems from then on."""
        return self.reader is None or self.reader.kind != "local"

    @property
    def continues(self) -> bool:
        """Whether the same process went on with the next part: no new opening of the sealed half."""
        return self.says(continues=True)

    @property
    def what(self) -> str:
        """What was done with the problems."""
        if self.reader is None:
            return "opened the paper in an entry that cannot be read: counted as if all of it had left"
        body = self.entry.body
        return str(body.get("what", f"was asked to answer ({body.get('purpose')})"))

    def num_shown(self, half: Half, size: int) -> int:
        """How many problems it lists of a half of this size."""
        places = self.entry.body.get(half)
        return size if self.reader is None else len(places) if isinstance(places, list) else 0


def opening_entries(log: PaperLog, sitting: str) -> list[AccessEntry]:
    """The entries with which the examiner opened the paper for one registration, in order.

    A recipient can open it too, but holds no sitting: what another key says of one is an access and no more.
    """
    return [entry for entry in log.of(AccessEntry, sitting=sitting) if entry.key == log.header.examiner.signing]


def count_openings(accesses: Sequence[AccessEntry]) -> int:
    """How often the sealed half was decrypted for these accesses: parts that one process asked in turn are one."""
    return sum(not entry.continues for entry in accesses)


def access_history(paper: LedgerEntry, log: PaperLog) -> tuple[AccessRecord, ...]:
    """Who could see which problems from when on."""
    header = log.header
    sealing = AccessRecord(
        time=paper.time,
        who=header.examiner.recorded_label,
        what="drew and sealed the bank, and published the public half to everybody",
        num_public=header.num_public,
        num_sealed=header.num_sealed,
        exposed=False,
        num_twins=header.num_twins,
    )
    accesses = (
        AccessRecord(
            time=entry.time,
            who=entry.who,
            what=entry.what,
            num_public=entry.num_shown("public", header.num_public),
            num_sealed=entry.num_shown("sealed", header.num_sealed),
            exposed=entry.is_exposing,
            num_twins=entry.num_shown("twin", header.num_twins),
        )
        for entry in log.of(AccessEntry)
    )
    return (sealing, *accesses)


def enter_access(
    ledger: Ledger,
    header: PaperHeader,
    places: Sequence[int],
    info: GeneratorInfo,
    examiner: KeyPair,
    *,
    purpose: str,
    registration: str,
    continues: bool = False,
    what: str = "",
    most: int | None = None,
    journal: JournalMark | None = None,
    guard: Callable[[PaperLog], None] | None = None,
) -> LedgerEntry:
    """Record who is about to see which problems.

    Args:
        registration: Digest of the registration; of the certificate, for a re-run.
        continues: The same process goes on with the next part: no new opening of the sealed half.
        what: What happens to the problems, where they are not asked.
        most: How many such accesses there may be, where that is limited.
        journal: How far the sitting's journal is.
    """
    kinds = halves(header)
    shown = {half: sorted(place for place in places if kinds[place] == half) for half in HALVES}
    body: dict[str, JSON] = {
        "registration": registration,
        "purpose": purpose,
        "reader": info.to_json(),
        "public": shown["public"],
        "sealed": shown["sealed"],
        "twin": shown["twin"] if header.num_twins else None,
        "continues": continues or None,
        "what": what or None,
        "most": most,
        "journal": journal.to_json() if journal else None,
    }
    told = {name: value for name, value in body.items() if value is not None}
    return AccessEntry.append(ledger, header, examiner, guard, **told)
