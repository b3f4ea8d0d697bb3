"""A certificate in the schema of Every Eval Ever (evaleval/every_eval_ever 0.3.0), for collections of results.

In: a certificate. Out: one aggregate record: a result for each half, one for the public-sealed gap, each with its
interval under ``uncertainty``. What the certificate does not say is "unknown" there; what the schema has no field for
(registration, separation, statements) is among the ``additional_details``, which hold strings only. No half of which
nothing was asked is exported.
"""

from __future__ import annotations

import json
from datetime import datetime

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import RecipeError
from spiritsafe.core.records import instant
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.records.certificate import Certificate, Separation
from spiritsafe.exam.records.result import ExamResult, HalfResult
from spiritsafe.exam.results.statements import separation_found
from spiritsafe.ledger import KeyPair
from spiritsafe.stats import Estimate, PredictedScore

SCHEMA_VERSION = "0.3.0"

_RELATIONSHIP: dict[Separation, str] = {
    "self-examined": "first_party",
    "separate key": "collaborative",  # another's paper, on the maker's host
    "third party": "third_party",
}


def _epoch(timestamp: str) -> str:
    return f"{datetime.fromisoformat(timestamp).timestamp():.3f}"


def _began(result: ExamResult) -> str:
    """When the sitting began; when it ended, where the ledger's clock was no time then."""
    return result.started if instant(result.started) else result.finished


def _uncertainty(estimate: Estimate) -> dict[str, JSON]:
    return {
        "confidence_interval": {
            "lower": estimate.low,
            "upper": estimate.high,
            "confidence_level": estimate.confidence,
            "method": estimate.method,
        },
        "num_samples": estimate.n,
    }


def _result(
    certificate: Certificate, part: str, estimate: Estimate, metric: dict[str, JSON], details: dict[str, JSON]
) -> dict[str, JSON]:
    """One entry of ``evaluation_results``."""
    header, sampling = certificate.paper, certificate.registration.sampling
    return {
        "evaluation_result_id": f"{certificate.content_digest}/{part}",
        "evaluation_name": f"{header.task} ({part})",
        "evaluation_timestamp": _began(certificate.result),
        "source_data": {
            "dataset_name": header.task,
            "source_type": "other",
            "additional_details": {
                "paper": header.paper_id,
                "part": part,
                "num_problems": str(header.num_problems),
                "verifier": header.verifier,
            },
        },
        "metric_config": metric,
        "score_details": {"score": estimate.value, "details": details, "uncertainty": _uncertainty(estimate)},
        "generation_config": {
            "generation_args": {
                "temperature": sampling.temperature,
                "top_p": sampling.top_p,
                "top_k": sampling.top_k,
                "max_tokens": sampling.max_tokens,
            },
            "additional_details": {
                "min_p": f"{sampling.min_p:g}",
                "stop": json.dumps(list(sampling.stop)),
                "num_tries": str(certificate.registration.num_tries),
            },
        },
    }


def _share_metric(metric_id: str, name: str, description: str) -> dict[str, JSON]:
    """A metric that is a share of right answers."""
    return {
        "evaluation_description": description,
        "metric_id": metric_id,
        "metric_name": name,
        "metric_kind": "accuracy",
        "metric_unit": "proportion",
        "lower_is_better": False,
        "score_type": "continuous",
        "min_score": 0,
        "max_score": 1,
    }


def _accuracy(certificate: Certificate, part: str, half: HalfResult) -> dict[str, JSON]:
    metric = _share_metric(
        "accuracy",
        "Accuracy",
        "Share of fully right answers; refused, cut off, unparsed, failed and ungradable "
        "ones are in the denominator and count as wrong.",
    )
    details: dict[str, JSON] = {f"num_{status}": str(count) for status, count in half.counts.items()}
    details["num_not_asked"] = str(half.num_not_asked)
    return _result(certificate, part, half.accuracy, metric, details)


def _gap(certificate: Certificate) -> dict[str, JSON]:
    gap = certificate.result.gap
    metric: dict[str, JSON] = {
        "evaluation_description": "Public half minus sealed half of one randomly cut bank: what studying it would add.",
        "metric_id": "spiritsafe.public_minus_sealed",
        "metric_name": "Public minus sealed",
        "metric_kind": "difference",
        "metric_unit": "proportion",
        "lower_is_better": True,
        "score_type": "continuous",
        "min_score": -1,
        "max_score": 1,
    }
    leak = "none: even all could go unnoticed" if gap.smallest_leak is None else f"{gap.smallest_leak:.6g}"
    details: dict[str, JSON] = {
        "p_value": f"{gap.p_value:.6g}",
        "test": gap.test,
        "smallest_leak": leak,
        "statement": certificate.result.gap_statement,
    }
    return _result(certificate, "public minus sealed", gap.gap, metric, details)


def _predicted(certificate: Certificate, predicted: PredictedScore) -> dict[str, JSON]:
    metric = _share_metric(
        "spiritsafe.predicted_accuracy",
        "Predicted accuracy",
        "Accuracy on the whole sealed half as an item model predicts it from answers to chosen problems; not measured.",
    )
    details: dict[str, JSON] = {
        "ability": f"{predicted.ability.value:.6g}",
        "ability_standard_error": f"{predicted.ability.standard_error:.6g}",
        "num_past_sittings": str(predicted.num_sittings),
        "statement": predicted.statement,
    }
    return _result(certificate, "sealed half, predicted", predicted.score, metric, details)


def _promises(certificate: Certificate) -> dict[str, JSON]:
    """Registration and decision, in strings."""
    registration, result = certificate.registration, certificate.result
    details: dict[str, JSON] = {
        "certificate": certificate.content_digest,
        "registration": result.registration,
        "hypothesis": registration.hypothesis,
        "separation": separation_found(certificate),
        "examiner": certificate.paper.examiner.label,
        "maker": registration.maker.label,
        "ending": result.ending,
        "statements": json.dumps(list(certificate.statements), ensure_ascii=False),
    }
    if registration.claim is not None:
        details["claim"] = registration.claim.words
    if result.decision is not None:
        details["decision"] = result.decision.statement
    if certificate.correction is not None:
        details["correction"] = certificate.correction.statement
    if result.identity is not None:
        details["identity"] = result.identity.statement
    return details


def every_eval_record(certificate: Certificate) -> dict[str, JSON]:
    """The aggregate record."""
    result, signed = certificate.result, _epoch(certificate.head.time)
    design = design_of(certificate.registration, certificate.paper)
    halves = {design.asked_name: result.sealed, "public half": result.public, "twins": result.twins}
    scored = {part: half for part, half in halves.items() if half is not None and half.accuracy.n}
    results: list[JSON] = [_accuracy(certificate, part, half) for part, half in scored.items()]
    if result.predicted is not None:
        results.append(_predicted(certificate, result.predicted))
    if result.gap.gap.n:
        results.append(_gap(certificate))
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{certificate.paper.task}/{result.model_name}/{signed}",
        "evaluation_timestamp": _began(result),
        "retrieved_timestamp": signed,
        "source_metadata": {
            "source_name": "spiritsafe exam",
            "source_type": "evaluation_run",
            "source_organization_name": certificate.paper.examiner.holder,
            "evaluator_relationship": _RELATIONSHIP[separation_found(certificate)],
            "additional_details": _promises(certificate),
        },
        "eval_library": {
            "name": "spiritsafe",
            "version": result.software.get("spiritsafe", "unknown"),
            "additional_details": dict(result.software),
        },
        "model_info": {
            "name": result.model_name,
            "id": result.model_name,
            "additional_details": {
                "deployment_type": "self_deployed" if result.generator.kind == "local" else "unknown",
                "model_availability": "unknown",
                "model_digest": result.model_digest,
                "generator": result.generator.name,
            },
        },
        "evaluation_results": results,
    }


def export(certificate: Certificate, signer: KeyPair | None) -> tuple[dict[str, JSON], str]:
    """The aggregate record; nothing is said.

    Raises:
        RecipeError: It was to be signed.
    """
    if signer is not None:
        raise RecipeError("Every Eval Ever has no signatures.", hint="Leave --key out, or use --format in-toto.")
    return every_eval_record(certificate), ""
