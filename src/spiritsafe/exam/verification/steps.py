"""What each numbered step of a verification checks; :mod:`spiritsafe.exam.verification.verify` runs them in order.

In: the material of one verification. Out: a line of detail, or an :class:`IntegrityError` that says what is wrong. To
add a step, write the function and give it its place in :data:`STEPS`.
"""

from __future__ import annotations

from collections.abc import Callable

from spiritsafe.core.canonical import digest_bytes
from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.files.record_files import parse_record
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam.entries.edits import amendment_statements
from spiritsafe.exam.paper.files import check_bank, check_split, unsigned
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.review import Revealed
from spiritsafe.exam.registration.register import deviations_of, sitting_seed
from spiritsafe.exam.results.amendment import numbers_of, original_result, score_result
from spiritsafe.exam.results.certificate import HINT
from spiritsafe.exam.results.claims import reference_scores
from spiritsafe.exam.results.correction import correction_of, sittings_before
from spiritsafe.exam.results.reach import Reach
from spiritsafe.exam.results.scores import NUMBERS, check_complete
from spiritsafe.exam.results.statements import SEPARATION_TEXT, separation_of, statements_of
from spiritsafe.exam.review.reveal import check_revealed
from spiritsafe.exam.sitting.identity_probes import check_identity
from spiritsafe.exam.verification import edit_steps as edits
from spiritsafe.exam.verification import later_steps as life
from spiritsafe.exam.verification import ledger_steps as ledger
from spiritsafe.exam.verification.case import Case, Found, NotGivenError, require, same
from spiritsafe.exam.verification.ending import check_budget, check_ending
from spiritsafe.ledger import count_recipients, key_id_of, one_a_holder, same_holder, same_spelling, verify_signature


def _certificate_file(case: Case) -> str:
    certificate = case.certificate
    return f"{quoted_name(certificate.result.model_name)}, certificate {certificate.content_digest}"


def _certificate_signatures(case: Case) -> str:
    certificate = case.certificate
    wanted = {certificate.paper.examiner.signing, certificate.result.host.signing}
    require({s.key for s in certificate.signatures} == wanted, "The signatures are not the examiner's and the host's.")
    require(len(certificate.signatures) == len(wanted), "A signature is doubled.")
    message = certificate.signed_bytes()
    for signature in certificate.signatures:
        require(
            verify_signature(signature, "certificate", message),
            f"The signature of key {key_id_of(signature.key)} is not over this certificate.",
        )
    return f"signed by {certificate.paper.examiner.label}" + (
        f" and {certificate.result.host.label}" if len(wanted) == 2 else ""
    )


def _paper_file(case: Case) -> str:
    require(case.paper.header == case.certificate.paper, "The paper file is another paper than the certificate's.")
    require(case.certificate.result.paper_id == case.paper.header.paper_id, "The result is of another paper.")
    return f"paper {case.paper.header.paper_id}, {case.paper.header.task}"


def _paper_bank(case: Case) -> str:
    check_bank(case.paper)
    header = case.paper.header
    return f"{header.num_problems} commitments, {header.num_public} of them opened, hash to the bank's root"


def _paper_split(case: Case) -> str:
    check_split(case.paper)
    return "the public half is the one that the bank's root picks"


def _signoffs(case: Case) -> str:
    header = case.paper.header
    if not header.num_signoffs:
        return "no sign-offs were asked for"
    keys = {key.signing for key in header.reviewers}
    require(
        len(keys) >= header.num_signoffs and header.examiner.signing not in keys,
        "The paper's reviewers are too few, or the examiner is one of them.",
    )
    missing = unsigned(case.paper.problems, header.reviewers, header.num_signoffs)
    require(not missing, f"Problem {missing[0] if missing else 0} lacks its reviewers' sign-offs.")
    words = f"each public problem carries {header.num_signoffs} sign-offs of {len(keys)} reviewers"
    others = [key for key in one_a_holder(header.reviewers) if not same_holder(key, header.examiner)]
    if len(others) == len(keys):
        return words
    case.computed.append(f"The {len(keys)} reviewers have {len(others)} different names, the examiner's not counted.")
    return f"{words}; {case.computed[-1]}"


def _sealed_file(case: Case) -> str:
    if case.sealed_bytes is None:
        raise NotGivenError("no encrypted half given; its digest is part of the paper")
    require(
        digest_bytes(case.sealed_bytes) == case.paper.header.sealed_digest,
        "The encrypted half is not the one committed to.",
    )
    named = 1 + len(case.paper.header.recipients)
    require(
        count_recipients(case.sealed_bytes) == named,
        f"The encrypted half can be opened by others than the {named} named.",
    )
    return f"the encrypted half is the one committed to, for {named} {'key' if named == 1 else 'keys'}, as named"


def _registration(case: Case) -> str:
    certificate = case.certificate
    registration, result = certificate.registration, certificate.result
    require(registration.paper_id == certificate.paper.paper_id, "The registration is for another paper.")
    require(result.paper_id == certificate.paper.paper_id, "The result is of another paper.")
    require(result.registration == registration.content_digest, "The result answers another registration.")
    require(
        (result.model_name, result.model_digest) == (registration.model_name, registration.model_digest),
        "The model that sat is not the registered one.",
    )
    require(result.generator.digest == registration.model_digest, "The Generator named another model.")
    require(result.sampling == registration.sampling, "The sampling is not the registered one.")
    expected = sitting_seed(certificate.paper.bank_root, registration.model_digest)
    require(registration.seed == expected, "The seed is not the one that paper and model fix.")
    words = [f"{quoted_name(registration.model_name)} as registered by {registration.maker.label}"]
    words += filter(None, [case.design.check_registered()])
    return "; ".join(words)


def _protocol(case: Case) -> str:
    header, registration = case.certificate.paper, case.certificate.registration
    deviations = deviations_of(header, registration.sampling, registration.num_tries, registration.preamble)
    require(
        deviations == registration.deviations,
        "The registration does not admit in what it deviates from the paper's protocol.",
    )
    if header.protocol is None:
        return "the paper sets no protocol"
    return "as the paper's protocol says" if not deviations else f"deviates, admittedly, in {', '.join(deviations)}"


def _complete(case: Case) -> str:
    certificate = case.certificate
    result = certificate.result
    check_complete(result.outcomes, certificate.paper, certificate.registration.num_tries, result.not_asked)
    left_out = f", {len(result.not_asked)} problems not asked" if result.not_asked else ""
    return f"{len(result.outcomes)} tries, every committed problem accounted for{left_out}"


def _reference(case: Case) -> str:
    claim, scores = case.certificate.registration.claim, case.certificate.result.reference
    if claim is None or claim.reference is None:
        require(scores is None, "The result compares with a reference that nobody registered.")
        return "the claim compares with no other model" if claim else "no claim was registered"
    if scores is None:
        raise IntegrityError("The result leaves out the registered reference.", hint=HINT)
    require(
        claim.reference in (scores.certificate, scores.registration),
        "The result compares with another reference than the registered one.",
    )
    if case.reference_bytes is None:
        raise NotGivenError(
            "no reference certificate given; its answers are those that the result quotes "
            f"({quoted_name(scores.model_name)})"
        )
    reference = parse_record(case.reference_bytes, Certificate, "The reference certificate")
    true = reference_scores(case.certificate.paper, case.certificate.registration, reference)
    # Older results quote no counts of failures.
    quoted = true and true.model_copy(update={"num_failed": None, "num_outcomes": None})
    require(scores in (true, quoted), "The result misquotes the reference's answers.")
    reach = Reach.of(outcome.status for outcome in reference.result.outcomes)
    reached = f"; {reach}" if reach.failed else ""
    if not reach.is_enough:
        reached += ": that model was not reached, and the comparison says nothing"
    return f"the answers of {quoted_name(scores.model_name)} are quoted from certificate {scores.certificate}{reached}"


def _ending(case: Case) -> str:
    certificate = case.certificate
    ending = check_ending(original_result(certificate), certificate.paper, certificate.registration)
    return f"{ending}; {check_budget(certificate.result, case.paper, certificate.registration)}"


def _numbers(case: Case) -> str:
    certificate, result = case.certificate, case.certificate.result
    is_amended = certificate.amendment is not None
    scores = score_result(result, certificate.paper, certificate.registration, is_amended=is_amended)
    # results of older versions do not have the share studied
    expected = scores if result.studied else scores.model_copy(update={"studied": None, "studied_statement": ""})
    ours, theirs = expected.to_json(), numbers_of(result).to_json()
    for name, failure in NUMBERS.items():
        require(same(ours.get(name), theirs.get(name)), failure)
    left_out = scores.studied_statement if not result.studied_statement else ""
    case.computed += [left_out] if left_out else []
    tokens = (sum(o.num_prompt_tokens for o in result.outcomes), sum(o.num_tokens for o in result.outcomes))
    require(tokens == (result.num_prompt_tokens, result.num_tokens), "The token counts do not add up.")
    return case.design.recomputed(result) + (f"; computed here: {left_out}" if left_out else "")


def _identity(case: Case) -> str:
    identity, registration = case.certificate.result.identity, case.certificate.registration
    if not registration.num_probes:
        require(identity is None, "The result holds probes that nobody registered.")
        return "no probes were registered"
    if identity is None:
        raise IntegrityError("The result leaves out the registered probes.", hint=HINT)
    moments = [round_.num_answers for round_ in identity.rounds]
    require(
        moments == sorted(moments) and (moments[:1], moments[-1:]) == ([0], [len(case.certificate.result.outcomes)]),
        "The rounds of probes do not reach from before the first answer to behind the last.",
    )
    require(
        identity == check_identity(identity.rounds), "What the result says of its probes does not follow from them."
    )
    require(identity.same is not False, identity.statement)
    return identity.statement


def _correction(case: Case) -> str:
    certificate = case.certificate
    decision = certificate.result.decision
    own = certificate.registration.content_digest
    states = [state for state in certificate.registrations if state.registration == own]
    require(len(states) == 1, "The certificate's list of registrations does not hold its own once.")
    require(
        (states[0].state, states[0].has_claim) == ("result", certificate.registration.claim is not None)
        and states[0].p_value == (decision.p_value if decision else None),
        "The certificate's list of registrations says otherwise of its own than the result.",
    )
    known = certificate.correction is not None and certificate.correction.known_before  # held against the ledger below
    told = certificate.correction is not None and certificate.correction.num_before  # older ones do not say it
    before = sittings_before(
        case.log, certificate.registration, certificate.registrations, certificate.result.reference
    )
    expected = correction_of(
        certificate.registration, decision, certificate.registrations, known_before=known, before=before if told else ()
    )
    require(
        expected == certificate.correction,  # exactly: Holm only multiplies, which is the same everywhere
        "The corrected decision does not follow from the list of registrations.",
    )
    return certificate.correction.statement if certificate.correction else "no claim was decided"


def _statements(case: Case) -> str:
    certificate = case.certificate
    parts = certificate.registration.maker, certificate.paper.examiner, certificate.result.host
    separation = separation_of(*parts)
    require(
        certificate.separation in (separation, separation_of(*parts, by=same_spelling)),
        "The separation class does not follow from the keys.",
    )
    expected = statements_of(
        header=certificate.paper,
        registration=certificate.registration,
        result=certificate.result,
        access=certificate.access,
        registrations=certificate.registrations,
        correction=certificate.correction,
        amended=_amended(case),
        separation=certificate.separation,
    )
    require(certificate.statements == expected, "The statements do not follow from the evidence.")
    if separation == certificate.separation:
        return separation
    case.computed.append(SEPARATION_TEXT[separation])
    return f'{separation}, computed here: names look the same. The certificate says "{certificate.separation}"'


def _amended(case: Case) -> tuple[str, ...]:
    certificate = case.certificate
    if certificate.amendment is None:
        return ()
    original, edits_ = original_result(certificate), certificate.amendment.edits
    return amendment_statements(case.log, edits_, original, certificate.result, case.design)


def _revealed(case: Case) -> str:
    if not case.revealed:
        raise NotGivenError("no opened answer given")
    for path, data in case.revealed:
        check_revealed(
            parse_record(data, Revealed, f"The opening {path}"),
            str(path),
            certificate=case.certificate,
            paper=case.paper,
        )
    return f"{len(case.revealed)} opened answers hash to what paper and certificate committed to"


STEPS: tuple[tuple[str, str, Callable[[Case], str | Found]], ...] = (
    ("certificate file", "The file is exactly the canonical form of a certificate.", _certificate_file),
    ("certificate signatures", "Examiner and host signed this certificate.", _certificate_signatures),
    ("paper file", "The paper file is canonical and the certificate's paper.", _paper_file),
    ("paper bank", "Commitments hash to the bank's root, public problems to their commitments.", _paper_bank),
    ("paper split", "The public half is the random one that the bank's root picks, in each stratum.", _paper_split),
    ("sign-offs", "Enough reviewers, none of them the examiner, signed each public problem (if asked for).", _signoffs),
    ("sealed file", "The encrypted half is the one committed to, for as many keys as named (if given).", _sealed_file),
    (
        "registration",
        "Model, sampling, seed and any choice of problems are those registered for this paper.",
        _registration,
    ),
    ("protocol", "The sitting follows the paper's protocol, or its registration admits in what not.", _protocol),
    ("ledger proofs", "Every entry used is signed and lies under the signed ledger head.", ledger.ledger_proofs),
    ("procedure", "Sealed, then registered, then opened, then resulted, each by the right key.", ledger.procedure),
    ("every problem counted", "Each try at each committed problem has one outcome, or is not asked.", _complete),
    ("reference", "The claim is held against the registered reference (its certificate, if given).", _reference),
    ("ending", "Paper, rule or budget ended the sitting where they had to; the budget was kept.", _ending),
    ("numbers", "Scores, intervals, tests and the decision follow from the outcomes.", _numbers),
    (
        "result in ledger",
        "The ledger committed to this result (and the result file is it, if given).",
        ledger.result_in_ledger,
    ),
    (
        "grade edits",
        "Edited grades answer disputes on record, by the examiner, and nothing but them was changed.",
        edits.grade_edits,
    ),
    ("access history", "Who saw what is what the ledger says, and covers every answer.", ledger.access),
    ("one model", "The identity probes show no change of model during the sitting (if registered).", _identity),
    ("correction", "The decision is corrected for all that its maker registered on this paper.", _correction),
    ("statements", "Separation class and plain-word statements follow from the evidence.", _statements),
    ("revealed answers", "Answers opened in disputes are the committed ones (if given).", _revealed),
    ("ledger file", "The ledger is an unbroken signed chain, and nothing was left out (if given).", ledger.ledger_file),
    (
        "training overlap",
        "What stands in training files was signed for this paper, and is in the ledger (if given).",
        ledger.overlaps,
    ),
    (
        "signs of memory",
        "Signs of memory were signed for this paper, and are in the ledger (if given).",
        ledger.memories,
    ),
    ("paper in force", "The paper was not retired before it was sat (if the ledger is given).", life.in_force),
    ("opened paper", "The opened paper is the whole bank that the paper committed to (if given).", life.opened_paper),
    (
        "published answers",
        "Published answers are the committed ones, and the task's verifier grades them alike (if given).",
        life.published_answers,
    ),
    ("disputes", "No dispute and no edit was left out; later ones are told (if the ledger is given).", edits.disputes),
    ("re-runs", "Reports of re-runs are signed, complete, and right in their numbers (if given).", life.reruns),
    ("witnessed heads", "The ledger still begins as its witnesses saw it (if given).", ledger.witnessed),
    ("trusted keys", "The examiner's key is one you trust (if you named any).", ledger.trusted),
    (
        "difficulties",
        "The problems of a shorter sitting were chosen by past sittings' difficulties (if given).",
        ledger.difficulties,
    ),
    (
        "asked once",
        "No question was asked again that had been answered, as far as the ledger tells.",
        ledger.asked_once,
    ),
)
