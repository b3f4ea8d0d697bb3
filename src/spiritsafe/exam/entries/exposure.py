"""Exposure: who saw which problem when, and whether they have it now. All of it is read from the ledger.

In: a paper's log. Out: one :class:`~spiritsafe.exam.records.certificate.ExposureRecord` for each
problem and party. A party that "has" a problem may study it, sell it or train on it from then on; no record can say
that it did not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import final

from spiritsafe.core.errors import ProcedureError
from spiritsafe.exam.entries.accesses import HALVES, AccessEntry, SealingEntry
from spiritsafe.exam.entries.paper_log import Ignored, PaperEntry, PaperLog, openers
from spiritsafe.exam.entries.retirement import AnswersEntry, RetirementEntry, RevealEntry
from spiritsafe.exam.paper.split import halves
from spiritsafe.exam.records.certificate import ExposureRecord
from spiritsafe.exam.records.result import Half

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


def unconfirmed(log: PaperLog) -> list[Ignored]:
    """Entries that say that somebody was shown problems of this paper, by keys that cannot open it.

    Nothing of it is believed: whoever cannot open the sealed half has nothing to show. If somebody else gave them the
    text, only its examiner can find out.
    """
    found = log.ignored(AccessEntry, RevealEntry, RetirementEntry, AnswersEntry)
    return [other for other in found if other.entry.signature.key not in openers(log.header)]


def _sightings(log: PaperLog) -> Iterator[tuple[str, bool, PaperEntry, Iterable[int]]]:
    """(party, has it, by which entry, places) in ledger order."""
    header, kinds = log.header, halves(log.header)
    everything = range(len(kinds))
    sealing = log.of(SealingEntry)
    if not sealing:
        raise ProcedureError("This paper is not in the ledger.", hint="Use the ledger that it was sealed with.")
    start = sealing[0]
    for key in (header.examiner, *header.recipients):
        yield key.label, True, start, everything
    for key in header.reviewers:  # they read the private file that the bank was drawn from
        yield key.label, True, start, [place for place in everything if kinds[place] != "twin"]
    yield EVERYBODY, True, start, [place for place in everything if kinds[place] == "public"]
    for entry in log.of(AccessEntry, RevealEntry, RetirementEntry):
        if isinstance(entry, AccessEntry):
            yield entry.who, entry.is_exposing, entry, entry.places(*HALVES) if entry.reader else everything
        elif isinstance(entry, RevealEntry):
            yield EVERYBODY, True, entry, entry.places("places")
        else:
            yield EVERYBODY, True, entry, everything


def exposures(log: PaperLog) -> tuple[ExposureRecord, ...]:
    """Every sighting of every problem, by place and then in ledger order.

    Raises:
        ProcedureError: The paper is not in this ledger.
    """
    kinds = halves(log.header)
    found: dict[tuple[int, str], tuple[PaperEntry, int, bool]] = {}
    for party, has, entry, places in _sightings(log):
        for place in (place for place in places if type(place) is int):  # true is no place
            first, times, had = found.get((place, party), (entry, 0, False))
            found[place, party] = (first, times + 1, had or has)
    records = [
        ExposureRecord(
            index=place, half=kinds[place], party=party, first=first.time, entry=first.index, times=times, has=has
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
