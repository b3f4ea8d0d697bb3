"""The steps of a verification that ask the ledger: who said what when, who saw what, what was left out.

In: the material of one verification. Out: a line of detail, or an :class:`IntegrityError` that says what is wrong. The
order of all steps stands in :mod:`spiritsafe.exam.verification.steps`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from spiritsafe.core.files.record_files import parse_record
from spiritsafe.core.text.names import same_name
from spiritsafe.core.text.safe_text import one_line
from spiritsafe.exam.contamination.memorisation_report import check_memorisation
from spiritsafe.exam.contamination.overlap_report import check_overlap
from spiritsafe.exam.entries.accesses import (
    HALVES,
    AccessEntry,
    SealingEntry,
    access_history,
    count_openings,
    opening_entries,
)
from spiritsafe.exam.entries.asked_once import Askings, askings
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.entries.registrations import RegistrationEntry, ResultEntry, registration_states
from spiritsafe.exam.records.items import PaperItems
from spiritsafe.exam.registration.short_form import check_on_record
from spiritsafe.exam.results.amendment import original_result
from spiritsafe.exam.results.correction import known_before
from spiritsafe.exam.verification.case import Case, Facts, Found, NotGivenError, only, require
from spiritsafe.ledger import (
    Ledger,
    LedgerEntry,
    LogHead,
    Note,
    NoteKey,
    check_extends,
    key_id_of,
    origin_of,
    read_head,
    runs_back,
    seen_heads,
    verify_cosignature,
    verify_evidence,
    verify_head,
    verify_note,
    wrong_clocks,
)

_MOST_TOLD = 10  # anybody can append such entries: a terminal is not filled with them


def ledger_proofs(case: Case) -> str:
    """Every entry used is signed and lies under the signed ledger head."""
    certificate = case.certificate
    require(verify_head(certificate.head), "The ledger head's signature is bad.")
    require(
        certificate.head.signature.key == certificate.paper.examiner.signing,
        "The ledger head is not signed by the examiner.",
    )
    for evidence in certificate.evidence:
        require(
            verify_evidence(evidence, certificate.head),
            f"Ledger entry {evidence.entry.index} is not signed, or not under the signed head.",
        )
    return f"{len(certificate.evidence)} entries are signed and lie under a head of {certificate.head.size} entries"


def procedure(case: Case) -> str:
    """Sealed, then registered, then opened, then resulted, each signed by the right key."""
    certificate, entries = case.certificate, case.log.entries
    indices = [entry.index for entry in entries]
    require(indices == sorted(set(indices)), "The evidence is out of order.")
    examiner, maker = certificate.paper.examiner.signing, certificate.registration.maker.signing
    paper, registration, result = (only(case.log, kind) for kind in (SealingEntry, RegistrationEntry, ResultEntry))
    require(
        paper.key == examiner and paper.says(header=certificate.paper.to_json()),
        "The ledger's paper entry is not the examiner's, or of another paper.",
    )
    require(
        registration.key == maker and registration.says(registration=certificate.registration.to_json()),
        "The ledger's registration entry is not the maker's, or another registration.",
    )
    openings = opening_entries(case.log, certificate.registration.content_digest)
    require(bool(openings), "No entry opened the paper for this sitting.")
    order = [paper.index, registration.index, openings[0].index, openings[-1].index, result.index]
    require(order == sorted(order), "The steps are out of order: paper, registration, opening, result.")
    for before, entry in pairwise(entries):
        if entry.index == before.index + 1 and entry.signature.key == before.signature.key:
            require(not runs_back(before.time, entry.time), "The ledger's times run backwards.")
    require(result.key == examiner, "The ledger's result entry is not signed by the examiner.")
    told = f"sealed {paper.time}, registered {registration.time}, opened {openings[0].time}, result {result.time}"
    return "; ".join([told, *_wrong_clocks(entries)])


def _wrong_clocks(entries: Sequence[LedgerEntry]) -> list[str]:
    """Whose times are none, or far off those around them: they count for the order only."""
    found = wrong_clocks(entries)
    words = [f"the clock of entry {entry.index} is wrong ({one_line(entry.time)})" for entry in found[:_MOST_TOLD]]
    return words + ([f"and of {len(found) - _MOST_TOLD} more"] if len(found) > _MOST_TOLD else [])


def result_in_ledger(case: Case) -> str:
    """The ledger committed to this result."""
    result = original_result(case.certificate)
    told, scores = only(case.log, ResultEntry), case.design.ledger_scores(result)
    is_amended = case.certificate.amendment is not None
    require(
        told.says(result=result.content_digest),
        "Without its edits this is not the result that the ledger committed to: the re-issue changes more than them."
        if is_amended
        else "The ledger holds the digest of another result.",
    )
    require(told.says(registration=result.registration), "The ledger's result is for another registration.")
    require(told.says(**scores), "The ledger holds other scores.")
    p_value = result.decision.p_value if result.decision else None
    require(told.says(p_value=p_value), "The ledger holds another p-value of the claim.")
    if case.result_bytes is not None:
        require(case.result_bytes == result.canonical(), "The result file is not the certificate's result.")
    return f"the ledger committed to result {result.content_digest}"


def access(case: Case) -> str:
    """Who saw what is what the ledger says, and covers every answer."""
    certificate = case.certificate
    require(
        access_history(only(case.log, SealingEntry).entry, case.log) == certificate.access,
        "The access history is not the ledger's.",
    )
    openings = opening_entries(case.log, certificate.registration.content_digest)
    result = certificate.result
    require(
        (result.openings, result.started) == (count_openings(openings), openings[0].time),
        "The openings are not the ledger's.",
    )
    require(
        all(entry.says(reader=result.generator.to_json()) for entry in openings),
        "The paper was opened for another Generator.",
    )
    places = {half: {place for entry in openings for place in entry.places(half)} for half in HALVES}
    for outcome in result.outcomes:
        require(
            outcome.index in places[outcome.half],
            f"Problem {outcome.index} was answered but no access to it is on record.",
        )
    exposed = dict.fromkeys(record.who for record in certificate.access if record.exposed)
    return f"{len(certificate.access)} accesses" + (f"; exposed to {', '.join(exposed)}" if exposed else "")


def asked_once(case: Case) -> str:
    """No question was asked again that had an answer, as far as the openings tell."""
    certificate, registration = case.certificate, case.certificate.registration
    openings = opening_entries(case.log, registration.content_digest)
    found = askings(openings, original_result(certificate), registration.num_tries)
    # Journals of older versions could lose answers to a power cut between two parts: there it is told, on the page too.
    require(not (found.again and found.is_committed), _again_words(found))
    return _again_words(found)


def _again_words(found: Askings) -> str:
    if found.again:
        more = "" if len(found.again) == 1 else f" (and {len(found.again) - 1} more)"
        return f"Problem {found.again[0]}{more} was asked AGAIN after it had been answered: answers were thrown away."
    times = "once" if found.num_openings == 1 else f"{found.num_openings} times"
    if not found.is_committed:
        return f"the paper was opened {times}, by an older version: its entries do not commit to the journal"
    words = f"the paper was opened {times}, each time with the journal of before"
    words += f"; {found.num_empty} times with nothing new in it" if found.num_empty else ""
    back = found.num_taken_back
    return words + (
        f"; {back} {'time' if back == 1 else 'times'} a question brought no answer and stayed open" if back else ""
    )


def ledger_file(case: Case) -> str:
    """The ledger is an unbroken signed chain, and nothing was left out."""
    if case.ledger is None:
        raise NotGivenError(
            "no ledger given; entries stand on the signed head, and what it may leave out is not checked"
        )
    certificate = case.certificate
    check = case.ledger.verify()
    require(check.ok, check.problem)
    require(
        case.ledger.root(certificate.head.size) == certificate.head.root,
        "The ledger's history is not the one under the certificate's head: it was rewritten.",
    )
    log = PaperLog(case.ledger.entries(), certificate.paper)
    then = log.before(certificate.head.size)
    states = registration_states(then, maker_key=certificate.registration.maker.signing)
    require(states == certificate.registrations, "The certificate leaves out registrations of this maker.")
    require(then.of(AccessEntry) == case.log.of(AccessEntry), "The certificate leaves out accesses to this paper.")
    correction = certificate.correction
    require(
        correction is None or correction.known_before == known_before(then, certificate.registration),
        "The certificate does not say that the model's result was known before the claim was registered.",
    )
    found = [f"{check.num_entries} entries, an unbroken signed chain that holds the certificate's history"]
    malformed = log.ignored(RegistrationEntry)
    found += [f"no registration: {other.words}" for other in malformed[:_MOST_TOLD]]
    if len(malformed) > _MOST_TOLD:
        found.append(f"and {len(malformed) - _MOST_TOLD} more that are no registrations")
    return "; ".join([*found, *_wrong_clocks(log.entries)])


def overlaps(case: Case) -> str:
    """What stands in training files is what the examiner signed, of this paper, and in the ledger."""
    if not case.overlaps:
        raise NotGivenError("no overlap report given; nothing is known of anybody's training files")
    if case.ledger is None:
        raise NotGivenError("overlap reports are checked against the ledger, and none was given")
    log = PaperLog(case.ledger.entries(), case.paper.header)
    case.checked_overlaps = [check_overlap(data, path, log=log) for path, data in case.overlaps]
    found = []
    for report in (signed.report for signed in case.checked_overlaps):
        about = f" of {report.about}" if report.about else ""
        found.append(f"{len(report.files)} training files{about}: {' '.join(report.statements)}")
    return " | ".join(found)


def memories(case: Case) -> str:
    """Signs of memory are what the examiner signed, of this paper, and in the ledger."""
    if not case.memories:
        raise NotGivenError("no memory report given")
    if case.ledger is None:
        raise NotGivenError("memory reports are checked against the ledger, and none was given")
    log = PaperLog(case.ledger.entries(), case.paper.header)
    found = []
    for path, data in case.memories:
        report = check_memorisation(data, path, log=log).report
        found.append(f"{report.generator.name}: {report.statements[0]} {report.statements[-1]}")
    return " | ".join(found)


def witnessed(case: Case) -> Found:
    """The ledger still begins as its witnesses saw it; only outsiders whom the verifier named count for it."""
    if not case.witnesses:
        raise NotGivenError("no witness given; that the ledger shows everybody the same history is its keeper's word")
    if case.ledger is None:
        raise NotGivenError("witnesses' heads are checked against the ledger, and none was given")
    keys = [NoteKey.parse(text) for text in case.given.witness_keys]
    counted, others, num_witnessed = [], [], 0
    for path, data in case.witnesses:
        theirs = Ledger(path, data=data) if data.startswith(b"{") else None
        heads = _heads_of_ledger(theirs, case.ledger, keys) if theirs else _heads_of_note(path, data, keys)
        require(bool(heads), f"{path} holds no head of this ledger.")
        last: dict[str, tuple[LogHead, str]] = {}
        for who, head, key in heads:
            check_extends(case.ledger, head, who=who)
            last[who] = head, _why_not(key, case)
        is_itself = theirs is not None and origin_of(theirs) == origin_of(case.ledger)
        for who, (head, why_not) in last.items():
            if is_itself or why_not:
                others.append(f"{path} is this ledger itself" if is_itself else f"{who} {why_not}")
            else:
                counted.append(f"{who} saw its first {head.size} entries")
                num_witnessed = max(num_witnessed, head.size)
    if not counted:
        raise NotGivenError(f"these witnesses do not count: {told(others)}")
    text = "; ".join([*counted, *([f"not counted: {told(others)}"] if others else [])])
    return Found(text, Facts(num_witnessed=num_witnessed))


def told(findings: Sequence[str]) -> str:
    """As many of them as a terminal takes."""
    more = len(findings) - _MOST_TOLD
    return "; ".join([*findings[:_MOST_TOLD], *([f"and {more} more"] if more > 0 else [])])


def _why_not(key: NoteKey | None, case: Case) -> str:
    """Why this witness says nothing of the keeper's honesty; empty: it is an outsider whom the verifier named."""
    if key is None:
        return "is nobody you named (--witness-key)"
    certificate = case.certificate
    for part, public in (
        ("examiner", certificate.paper.examiner),
        ("maker", certificate.registration.maker),
        ("host", certificate.result.host),
    ):
        if key.public.hex() == public.signing or same_name(key.name, public.holder):
            return f"is the {part} of this exam"
    return ""


_SeenHead = tuple[str, LogHead, NoteKey | None]
"""Who saw it, the head, and the key that the verifier named for them, if any."""


def _heads_of_ledger(theirs: Ledger, own: Ledger, keys: Sequence[NoteKey]) -> list[_SeenHead]:
    """What another ledger remembers of this one, by name of its own; where keys were given, only theirs counts."""
    named = {key.public.hex(): key for key in keys}
    check = theirs.verify()
    require(check.ok, f"The witness's ledger {theirs.path} is damaged: {check.problem}")
    origin = origin_of(own)
    found: list[_SeenHead] = []
    for entry in theirs.entries():
        key = named.get(entry.signature.key)
        if named and key is None:
            continue
        who = f"witness {key_id_of(entry.signature.key)}"
        found += [(who, head, key) for head in seen_heads([entry], origin=origin)]
    return found


def _heads_of_note(path: Path, data: bytes, keys: Sequence[NoteKey]) -> list[_SeenHead]:
    """A cosigned checkpoint; only witnesses whose keys were given count."""
    note = Note.parse(data.decode("utf-8", "replace"))
    head = read_head(note)
    signed = [key for key in keys if verify_cosignature(note, key) is not None or verify_note(note, key)]
    require(bool(signed), f"{path} is signed by none of the witness keys given.")
    return [(f"witness {key_id_of(key.public.hex())}", head, key) for key in signed]


def difficulties(case: Case) -> str:
    """The problems of a shorter sitting were chosen by the record of past sittings that was given."""
    if case.items_bytes is None:
        if not case.design.needs_items:
            return "the whole paper was registered"
        raise NotGivenError("no record of difficulties given; that they are from past sittings is the maker's word")
    items = parse_record(case.items_bytes, PaperItems, "The record of difficulties")
    words = case.design.check_items(items)
    if case.whole_log is None:
        return words
    check_on_record(items, case.whole_log)
    return f"{words}; each of them is on record"


def trusted(case: Case) -> str:
    """The examiner's key is one that the verifier trusts."""
    certificate = case.certificate
    keys = {
        "examiner": certificate.paper.examiner,
        "maker": certificate.registration.maker,
        "host": certificate.result.host,
    }
    if not case.given.trusted_keys:
        raise NotGivenError(
            "no trusted key given; compare by hand: " + ", ".join(f"{part} {key.label}" for part, key in keys.items())
        )
    examiner = keys["examiner"]
    require(
        examiner.key_id[:16] not in case.given.trusted_keys,
        f"16 digits are half of a key's id, and two keys can be made to share them: the examiner's is "
        f"{examiner.key_id}. Compare all of it with its holder.",
    )
    require(examiner.key_id in case.given.trusted_keys, f"The examiner's key {examiner.key_id} is not one you trust.")
    return f"you trust the examiner's key {examiner.key_id}"
