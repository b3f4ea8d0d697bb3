"""The steps of a verification about a paper's and a certificate's later life: retirement, published answers, re-runs.

In: the material of one verification. Out: a line of detail, or an :class:`IntegrityError` that says what is wrong. The
order of all steps stands in :mod:`spiritsafe.exam.verification.steps`.
"""

from __future__ import annotations

from spiritsafe.core.errors import ProcedureError, SourceError, TaskError
from spiritsafe.core.files.record_files import parse_record
from spiritsafe.exam.entries.accesses import opening_entries
from spiritsafe.exam.entries.registrations import RegistrationEntry, ResultEntry
from spiritsafe.exam.entries.retirement import AnswersEntry, retirement_of
from spiritsafe.exam.paper.files import check_task, task_of_paper
from spiritsafe.exam.records.rerun import CounterSignedRerun
from spiritsafe.exam.records.review import OpenedPaper, OpenedSitting
from spiritsafe.exam.review.published_answers import check_answers, regrade
from spiritsafe.exam.review.retire import check_opened
from spiritsafe.exam.verification.case import NO_FACTS, Case, Facts, Found, NotGivenError, only, require
from spiritsafe.exam.verification.reruns import check_rerun, rerun_entries, rerun_finding
from spiritsafe.ledger import key_id_of

_MOST_TOLD = 10  # anybody can file re-runs: a terminal is not filled with them


def in_force(case: Case) -> str:
    """The paper was not retired before it was sat (needs the ledger)."""
    if case.whole_log is None:
        raise NotGivenError("no ledger given; whether the paper was retired before it was sat is on record there")
    certificate = case.certificate
    retired = retirement_of(case.whole_log)
    if retired is None:
        return "the paper is not retired"
    for what, entries in (
        ("The model was registered", [only(case.log, RegistrationEntry)]),
        ("The paper was opened for this sitting", opening_entries(case.log, certificate.result.registration)),
        ("The result came", [only(case.log, ResultEntry)]),
    ):
        late = [entry.index for entry in entries if entry.index > retired.index]
        require(
            not late,
            f"{what} (ledger entry {late[-1] if late else 0}) after the paper was retired (entry {retired.index}): "
            "everybody had its problems.",
        )
    return f"sat before the paper was retired on {retired.time} (ledger entry {retired.index}); everybody has it now"


def _opened(case: Case) -> OpenedPaper | None:
    if case.opened is None:
        return None
    path, data = case.opened
    what = f"The opened paper {path}"
    return check_opened(parse_record(data, OpenedPaper, what), what, public=case.paper)


def opened_paper(case: Case) -> str:
    """The opened paper is the whole bank that the paper committed to, and what the ledger retired."""
    opened = _opened(case)
    if opened is None:
        raise NotGivenError("no opened paper given")
    if case.whole_log is not None:
        retired = retirement_of(case.whole_log)
        require(retired is not None, "The ledger does not say that this paper was retired.")
        require(
            retired is not None and retired.says(opened=opened.content_digest),
            "The ledger retired this paper with another bank.",
        )
    return f"all {len(opened.problems)} problems hash to the bank's root"


def published_answers(case: Case) -> Found:
    """The published answers are the committed ones, and their grades those of the task's own verifier."""
    opened, digest = _opened(case), case.certificate.result.registration
    if opened is None:
        raise NotGivenError("no opened paper given")
    found = [(path, parse_record(data, OpenedSitting, f"The answers {path}")) for path, data in case.answers]
    own = [(path, record) for path, record in found if record.registration == digest]
    if not own:
        raise NotGivenError("no answers of this sitting lie beside the opened paper")
    for path, record in own:
        check_answers(record, f"The answers {path}", certificate=case.certificate)
        named = case.whole_log.of(AnswersEntry, sitting=digest) if case.whole_log else []
        on_record = any(entry.says(answers=record.content_digest) for entry in named)
        require(case.whole_log is None or on_record, "The ledger does not say that these answers were published.")
    answers = own[0][1]
    words = f"all {len(answers.answers)} answers hash to the certificate's commitments"
    try:
        task = check_task(case.paper, case.given.task or task_of_paper(case.paper))
        task.verifier.check_machine()
    except (TaskError, SourceError, ProcedureError) as error:
        return Found(f"{words}; they cannot be graded again here: {error.message}", NO_FACTS)
    again = regrade(answers, opened.problems, task)
    ungradable = f", {again.num_ungradable} could not be graded then or now" if again.num_ungradable else ""
    text = f"{words}; {again.num_graded} graded again by {case.paper.header.verifier}: the same{ungradable}"
    return Found(text, Facts(graded_again=True))


def reruns(case: Case) -> str:
    """Re-run reports are signed, complete, and right in their numbers; differences on record are told."""
    certificate = case.certificate
    entries = rerun_entries(case.whole_log, certificate) if case.whole_log else []
    if not case.reruns and not entries:
        raise NotGivenError("no re-run given" + (", and none is on record" if case.ledger else ""))
    found, seen, checked = [], set(), []
    for path, data in case.reruns:
        signed = parse_record(data, CounterSignedRerun, f"The rerun report {path}")
        report = check_rerun(signed, str(path), certificate=certificate).report
        checked.append(signed)
        on_record = [entry.index for entry in entries if entry.is_of(report)]
        seen.update(on_record)
        where = f" (ledger entry {on_record[0]})" if on_record else " (not in the ledger)" if case.ledger else ""
        found.append(rerun_finding(certificate, report) + where)
    case.checked_reruns = checked
    others = [entry for entry in entries if entry.index not in seen]
    for entry in others[:_MOST_TOLD]:
        verb = "agrees" if entry.says(agrees=True) else "does NOT agree"
        who = f"key {key_id_of(entry.key)}"
        found.append(f"ledger entry {entry.index}: a re-run by {who} that {verb}, its report not given")
    if len(others) > _MOST_TOLD:
        found.append(f"and {len(others) - _MOST_TOLD} more re-runs on record")
    return "; ".join(found)
