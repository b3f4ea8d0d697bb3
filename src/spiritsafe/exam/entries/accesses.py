"""Who opened a paper, when and for whom, by the ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.exam.paper.split import halves
from spiritsafe.exam.records.certificate import AccessRecord
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.result import JournalMark
from spiritsafe.ledger import KeyPair, Ledger, LedgerEntry


def opening_entries(entries: Sequence[LedgerEntry], header: PaperHeader, registration: str) -> list[LedgerEntry]:
    """The entries with which the examiner opened the paper for one registration, in order.

    A recipient can open it too, but holds no sitting: what another key says of one is an access and no more.
    """
    examiner = header.examiner.signing
    return [
        entry
        for entry in accesses_of_paper(entries, header)
        if entry.body.get("registration") == registration and entry.signature.key == examiner
    ]


def accesses_of_paper(entries: Sequence[LedgerEntry], header: PaperHeader) -> list[LedgerEntry]:
    """All openings of a paper by those who can open it, for whatever registration or rerun."""
    keys = {key.signing for key in (header.examiner, *header.recipients)}
    return [
        entry
        for entry in entries
        if entry.kind == "access" and entry.body.get("paper_id") == header.paper_id and entry.signature.key in keys
    ]


def count_openings(entries: Sequence[LedgerEntry]) -> int:
    """How often the sealed half was decrypted for these accesses: parts that one process asked in turn are one."""
    return sum(entry.body.get("continues") is not True for entry in entries)


def reader_of(entry: LedgerEntry) -> GeneratorInfo | None:
    """Who an access entry says was shown problems; None where it is malformed: then it may have been anybody."""
    lists = [entry.body.get(name, []) for name in ("public", "sealed", "twin")]
    if not all(isinstance(value, list) for value in lists):
        return None
    try:
        return GeneratorInfo.from_json(entry.body.get("reader"))
    except IntegrityError:
        return None


def unknown_reader(entry: LedgerEntry) -> str:
    """How the reader of a malformed access entry is called."""
    return f"an unknown reader (ledger entry {entry.index})"


def _num_named(entry: LedgerEntry, name: str) -> int:
    places = entry.body.get(name)
    return len(places) if isinstance(places, list) else 0


def _access_record(entry: LedgerEntry, header: PaperHeader) -> AccessRecord:
    body, reader = entry.body, reader_of(entry)
    if reader is None:
        return AccessRecord(
            time=entry.time,
            who=unknown_reader(entry),
            what="opened the paper in an entry that cannot be read: counted as if all of it had left",
            num_public=header.num_public,
            num_sealed=header.num_sealed,
            exposed=True,
            num_twins=header.num_twins,
        )
    return AccessRecord(
        time=entry.time,
        who=f"{reader.name} ({reader.kind})",
        what=str(body.get("what", f"was asked to answer ({body.get('purpose')})")),
        num_public=_num_named(entry, "public"),
        num_sealed=_num_named(entry, "sealed"),
        exposed=reader.kind != "local",
        num_twins=_num_named(entry, "twin"),
    )


def access_history(
    paper: LedgerEntry, accesses: Sequence[LedgerEntry], header: PaperHeader
) -> tuple[AccessRecord, ...]:
    """Who could see which problems from when on."""
    sealing = AccessRecord(
        time=paper.time,
        who=header.examiner.recorded_label,
        what="drew and sealed the bank, and published the public half to everybody",
        num_public=header.num_public,
        num_sealed=header.num_sealed,
        exposed=False,
        num_twins=header.num_twins,
    )
    return (sealing, *(_access_record(entry, header) for entry in accesses))


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
    guard: Callable[[Sequence[LedgerEntry]], None] | None = None,
) -> LedgerEntry:
    """Record who is about to see which problems.

    Args:
        ledger: Where.
        header: The paper's.
        places: Of the problems.
        info: Who.
        examiner: Signs.
        purpose: For what, in words.
        registration: Digest of the registration; of the certificate, for a re-run.
        continues: The same process goes on with the next part: no new opening of the sealed half.
        what: What happens to the problems, where they are not asked.
        most: How many such accesses there may be, where that is limited.
        journal: How far the sitting's journal is.
        guard: Called with all entries while the ledger is locked; what it raises keeps the entry out.
    """
    kinds = halves(header)
    body: dict[str, JSON] = {
        "paper_id": header.paper_id,
        "registration": registration,
        "purpose": purpose,
        "reader": info.to_json(),
        "public": sorted(place for place in places if kinds[place] == "public"),
        "sealed": sorted(place for place in places if kinds[place] == "sealed"),
    }
    if header.num_twins:
        body["twin"] = sorted(place for place in places if kinds[place] == "twin")
    if continues:
        body["continues"] = True
    if what:
        body["what"] = what
    if most is not None:
        body["most"] = most
    if journal is not None:
        body["journal"] = journal.to_json()
    return ledger.append("access", body, examiner, guard=guard)
