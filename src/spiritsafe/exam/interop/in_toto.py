"""A certificate as an in-toto attestation, for tools that know supply chains and not exams.

In: a certificate. Out: a Statement v1 with the predicate ``test-result/v0.1``; signed, a DSSE v1 envelope around it.
Nothing is said that the certificate does not say, and the certificate itself is named by the digest of its file.
Which tests there are and how they end is :func:`exam_tests`; the rule for the whole is in :func:`in_toto_statement`.
"""

from __future__ import annotations

from typing import Literal

from spiritsafe.core.canonical import JSON, canonical_json
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.result import ClaimFinding, HalfResult
from spiritsafe.exam.results.scores import LARGEST_UNSEEN_LEAK
from spiritsafe.exam.results.statements import separation_found
from spiritsafe.ledger import IN_TOTO_STATEMENT, KeyPair, sign_envelope

PREDICATE_TYPE = "https://in-toto.io/attestation/test-result/v0.1"

TestEnd = Literal["passed", "warned", "failed"]

_LEVEL = 0.05  # of the gap tests, as in their statements
_ENDS: dict[ClaimFinding, TestEnd] = {"supported": "passed", "undecided": "warned", "not supported": "failed"}


def exam_tests(certificate: Certificate) -> dict[str, TestEnd]:
    """What a certificate says, as named tests.

    ``claim`` carries the registered words; with nothing registered it is a warning. ``one model all the time`` fails
    when the probes say otherwise. The rest can warn but not fail: none of it takes anything from the sealed score.
    """
    result, registration = certificate.result, certificate.registration
    tests: dict[str, TestEnd] = {}
    if registration.claim is None or result.decision is None:
        tests["claim: none was registered"] = "warned"
    else:
        found = certificate.correction.finding if certificate.correction else result.decision.finding
        tests[f"claim: {registration.claim.words}"] = _ENDS[found]
    if result.identity is not None:
        ends: dict[bool | None, TestEnd] = {True: "passed", None: "warned", False: "failed"}
        tests["one model all the time"] = ends[result.identity.same]
    leak = result.gap.smallest_leak
    unstudied = result.gap.p_value >= _LEVEL and leak is not None and leak <= LARGEST_UNSEEN_LEAK
    failed = sum(
        part.counts["error"] + part.counts["unscored"]
        for part in (result.public, result.sealed, result.twins)
        if part is not None
    )
    holds = {
        "the public half was not studied": unstudied,
        "every try was answered and graded": failed == 0,
        "no budget cut it short": result.ending != "budget exhausted",
        "the examiner is not the maker": separation_found(certificate) != "self-examined",
    }
    if result.memory is not None:
        holds["no public text was remembered, by its twin"] = result.memory.p_value >= _LEVEL
    if not design_of(registration, certificate.paper).is_whole:
        holds["the whole sealed half was asked"] = False
    if certificate.paper.protocol is not None:
        holds["as the paper's protocol says"] = not registration.deviations
    return tests | {name: "passed" if held else "warned" for name, held in holds.items()}


def _named(tests: dict[str, TestEnd], end: TestEnd) -> list[JSON]:
    return [name for name, found in tests.items() if found == end]


def _hex(digest_text: str) -> str:
    return digest_text.removeprefix("sha256:")


def _half(half: HalfResult) -> dict[str, JSON]:
    return {
        "accuracy": half.accuracy.to_json(),
        "counts": {str(status): count for status, count in half.counts.items()},
        "numNotAsked": half.num_not_asked,
    }


def _subject(certificate: Certificate) -> dict[str, JSON]:
    """The model. Its digest is over a list of files and their digests; an endpoint's is over its address and name."""
    value = _hex(certificate.result.model_digest)
    local = certificate.result.generator.kind == "local"
    digests: dict[str, JSON] = (
        {"sha256": value, "spiritsafeDirectory": value} if local else {"spiritsafeEndpoint": value}
    )
    return {"name": certificate.result.model_name, "digest": digests}


def in_toto_statement(certificate: Certificate) -> dict[str, JSON]:
    """The Statement. Its result is FAILED when a test failed, else WARNED when one warned, else PASSED."""
    tests, result = exam_tests(certificate), certificate.result
    ends = set(tests.values())
    scores: dict[str, JSON] = {
        "sealed": _half(result.sealed),
        "public": _half(result.public),
        "publicMinusSealed": result.gap.to_json(),
        "numTries": certificate.registration.num_tries,
        "statements": list(certificate.statements),
    }
    if result.twins is not None:
        scores["twins"] = _half(result.twins)
    if result.predicted is not None:
        scores["sealed"] = {**_half(result.sealed), "ofChosenProblems": True}
        scores["predictedSealed"] = result.predicted.to_json()
    if result.decision is not None:
        scores["decision"] = result.decision.to_json()
    if certificate.correction is not None:
        scores["correction"] = certificate.correction.to_json()
    return {
        "_type": IN_TOTO_STATEMENT,
        "subject": [_subject(certificate)],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "result": "FAILED" if "failed" in ends else "WARNED" if "warned" in ends else "PASSED",
            "configuration": [
                {
                    "name": "paper",
                    "digest": {"sha256": _hex(certificate.paper.paper_id)},
                    "annotations": {
                        "task": certificate.paper.task,
                        "verifier": certificate.paper.verifier,
                        "examiner": certificate.paper.examiner.label,
                    },
                },
                {
                    "name": "registration",
                    "digest": {"sha256": _hex(result.registration)},
                    "annotations": {
                        "hypothesis": certificate.registration.hypothesis,
                        "maker": certificate.registration.maker.label,
                    },
                },
                {
                    "name": "certificate.json",
                    "digest": {"sha256": _hex(certificate.content_digest)},
                    "mediaType": "application/json",
                    "annotations": scores,
                },
            ],
            "passedTests": _named(tests, "passed"),
            "warnedTests": _named(tests, "warned"),
            "failedTests": _named(tests, "failed"),
        },
    }


def sign_dsse(value: dict[str, JSON], key: KeyPair) -> dict[str, JSON]:
    """A DSSE envelope around a Statement: the key's holder vouches for the export, not for the exam.

    Raises:
        IntegrityError: The statement has no canonical form.
    """
    return sign_envelope(canonical_json(value), key.sign_text, key_id=key.public.key_id)


def export(certificate: Certificate, signer: KeyPair | None) -> tuple[dict[str, JSON], str]:
    """The Statement, in an envelope where it is signed, and how the whole ended."""
    said = in_toto_statement(certificate)
    result = said["predicate"]["result"] if isinstance(said["predicate"], dict) else ""
    signed = f", signed by {signer.public.label}" if signer is not None else ", not signed"
    words = f"{quoted_name(certificate.result.model_name)}: {result}{signed}"
    return said if signer is None else sign_dsse(said, signer), words
