"""Exposure: who saw which problem when, and whether they have it now. All of it is read from the ledger.

In: a ledger's entries, a paper's header. Out: one :class:`~spiritsafe.exam.records.certificate.ExposureRecord` for each
problem and party. A party that "has" a problem may study it, sell it or train on it from then on; no record can say
that it did not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

from spiritsafe.core.errors import ProcedureError
from spiritsafe.exam.entries.accesses import accesses_of_paper, reader_of, unknown_reader
from spiritsafe.exam.entries.retirement import is_retirement
from spiritsafe.exam.paper.split import halves
from spiritsafe.exam.records.certificate import ExposureRecord
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.result import Half
from spiritsafe.ledger import LedgerEntry

EVERYBODY = "everybody"
"""The party that published problems are exposed to."""


@final
@dataclass(frozen=True, slots=True)
class PartyExposure:
    """One party's exposures in sum.

    Attributes:
        first: When it first saw one, by the clock of who signed that entry.
        entry: That entry's place in the ledger.
        counts: Problems by half.
    """

    party: str
    has: bool
    first: str
    entry: int
    counts: dict[Half, int]


def _places(entry: LedgerEntry, *names: str) -> list[int]:
    found: set[int] = set()
    for name in names:
        value = entry.body.get(name, [])
        found |= {place for place in value if type(place) is int} if isinstance(value, list) else set()
    return sorted(found)


def _openers(header: PaperHeader) -> set[str]:
    """Keys whose word counts: who can open the sealed half can show it to others."""
    return {key.signing for key in (header.examiner, *header.recipients)}


def unconfirmed(entries: Sequence[LedgerEntry], header: PaperHeader) -> list[LedgerEntry]:
    """Entries that say that somebody was shown problems of this paper, by keys that cannot open it.

    Nothing of it is believed: whoever cannot open the sealed half has nothing to show. If somebody else gave them the
    text, only its examiner can find out.
    """
    return [
        entry
        for entry in entries
        if entry.kind in ("access", "reveal", "open", "answers")
        and entry.body.get("paper_id") == header.paper_id
        and entry.signature.key not in _openers(header)
    ]


def _sightings(
    entries: Sequence[LedgerEntry], header: PaperHeader
) -> Iterator[tuple[str, bool, LedgerEntry, Iterable[int]]]:
    """(party, has it, by which entry, places) in ledger order."""
    kinds = halves(header)
    everything = range(len(kinds))
    sealing = [
        entry
        for entry in entries
        if entry.kind == "paper"
        and entry.signature.key == header.examiner.signing
        and entry.body.get("paper_id") == header.paper_id
    ]
    if not sealing:
        raise ProcedureError("This paper is not in the ledger.", hint="Use the ledger that it was sealed with.")
    start = sealing[0]
    for key in (header.examiner, *header.recipients):
        yield key.label, True, start, everything
    for key in header.reviewers:  # they read the private file that the bank was drawn from
        yield key.label, True, start, [place for place in everything if kinds[place] != "twin"]
    yield EVERYBODY, True, start, [place for place in everything if kinds[place] == "public"]
    accesses = {entry.index for entry in accesses_of_paper(entries, header)}
    for entry in entries:
        if entry.index in accesses:
            reader = reader_of(entry)
            if reader is None:
                yield unknown_reader(entry), True, entry, everything
                continue
            has = reader.kind != "local"
            yield f"{reader.name} ({reader.kind})", has, entry, _places(entry, "public", "sealed", "twin")
        elif (
            entry.kind == "reveal"
            and entry.body.get("paper_id") == header.paper_id
            and entry.signature.key in _openers(header)
        ):
            yield EVERYBODY, True, entry, _places(entry, "places")
        elif is_retirement(entry, header):
            yield EVERYBODY, True, entry, everything


def exposures(entries: Sequence[LedgerEntry], header: PaperHeader) -> tuple[ExposureRecord, ...]:
    """Every sighting of every problem, by place and then in ledger order.

    Raises:
        ProcedureError: The paper is not in this ledger.
    """
    kinds = halves(header)
    found: dict[tuple[int, str], tuple[LedgerEntry, int, bool]] = {}
    for party, has, entry, places in _sightings(entries, header):
        for place in places:
            first, times, had = found.get((place, party), (entry, 0, False))
            found[place, party] = (first, times + 1, had or has)
    records = [
        ExposureRecord(
            index=place,
            half=kinds[place],
            party=party,
            first=first.time,
            entry=first.index,
            times=times,
            has=has,
        )
        for (place, party), (first, times, has) in found.items()
        if 0 <= place < len(kinds)
    ]
    return tuple(sorted(records, key=lambda record: (record.index, record.entry)))


def summarise(records: Iterable[ExposureRecord]) -> list[PartyExposure]:
    """One line a party, in the order in which they came."""
    parties: dict[str, PartyExposure] = {}
    for record in records:
        known = parties.get(record.party)
        counts = known.counts if known else {}
        counts[record.half] = counts.get(record.half, 0) + 1
        is_first = known is None or record.entry < known.entry
        first, entry = (record.first, record.entry) if known is None or is_first else (known.first, known.entry)
        parties[record.party] = PartyExposure(record.party, record.has, first, entry, counts)
    return sorted(parties.values(), key=lambda party: party.entry)
