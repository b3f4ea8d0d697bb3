"""Certificates in the schema of Every Eval Ever: its rules, written down by hand, and the certificate's numbers."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from exam_parts import ToyModel, make_stage
from places import ROOT
from stranger_parts import IMPOSSIBLE

from spiritsafe.exam import load_certificate
from spiritsafe.exam.interop.every_eval_ever import every_eval_record
from spiritsafe.exam.records.registration import Claim

PUBLISHED = sorted((ROOT / "experiments").glob("*/*.certificate.json"))

TOP = {"schema_version", "evaluation_id", "retrieved_timestamp", "source_metadata", "model_info", "eval_library"}
TOP |= {"evaluation_results"}
GENERATION = {"temperature", "top_p", "top_k", "max_tokens"}


def faults(record: dict[str, Any]) -> list[str]:
    """What the schema of version 0.3.0 would refuse, of what we write."""
    found = []

    def need(holds: bool, what: str) -> None:
        if not holds:
            found.append(what)

    need(TOP <= record.keys() <= TOP | {"evaluation_timestamp"}, "fields of the record")
    for name in ("schema_version", "evaluation_id", "retrieved_timestamp", "evaluation_timestamp"):
        need(isinstance(record.get(name), str), name)
    source, model = record["source_metadata"], record["model_info"]
    need(source["source_type"] in ("documentation", "evaluation_run"), "source_type")
    need(source["evaluator_relationship"] in ("first_party", "third_party", "collaborative", "other"), "relationship")
    need(isinstance(source["source_organization_name"], str), "organisation")
    need({"name", "id", "additional_details"} <= model.keys(), "model_info")
    deployed = model["additional_details"]
    need(deployed["deployment_type"] in ("self_deployed", "externally_managed", "unknown"), "deployment")
    need(deployed["model_availability"] in ("open_weights", "closed_weights", "unknown"), "availability")
    details = [source["additional_details"], deployed, record["eval_library"]["additional_details"]]
    for result in record["evaluation_results"]:
        data, metric, score = result["source_data"], result["metric_config"], result["score_details"]
        need(data["source_type"] == "other" and isinstance(data["dataset_name"], str), "source_data")
        need(isinstance(metric["lower_is_better"], bool), "lower_is_better")
        need(metric["score_type"] == "continuous" and {"min_score", "max_score"} <= metric.keys(), "score_type")
        interval = score["uncertainty"]["confidence_interval"]
        low, high = metric.get("min_score", 0), metric.get("max_score", 0)
        need(low <= interval["lower"] <= score["score"] <= interval["upper"] <= high, "interval")
        need(0 <= interval["confidence_level"] <= 1, "confidence_level")
        need(isinstance(score["uncertainty"]["num_samples"], int), "num_samples")
        need(result["generation_config"]["generation_args"].keys() <= GENERATION, "generation_args")
        details += [data["additional_details"], score["details"], result["generation_config"]["additional_details"]]
    for detail in details:
        need(all(isinstance(value, str) for value in detail.values()), f"strings only: {detail}")
    return found


@pytest.mark.parametrize("path", PUBLISHED, ids=[f"{p.parent.name}/{p.name}" for p in PUBLISHED])
def test_a_published_certificate_becomes_a_record(path: Path) -> None:
    certificate = load_certificate(path)
    record: Any = json.loads(json.dumps(every_eval_record(certificate)))
    assert faults(record) == []
    *scored, gap = record["evaluation_results"]
    halves = [certificate.result.sealed, certificate.result.public]
    if certificate.result.twins is not None:
        halves.append(certificate.result.twins)
    for result, half in zip(scored, halves, strict=True):
        assert result["score_details"]["score"] == half.accuracy.value
        interval = result["score_details"]["uncertainty"]["confidence_interval"]
        assert (interval["lower"], interval["upper"]) == (half.accuracy.low, half.accuracy.high)
        assert result["score_details"]["details"]["num_error"] == str(half.counts["error"])
    assert gap["score_details"]["score"] == certificate.result.gap.gap.value
    assert record["source_metadata"]["evaluator_relationship"] == "first_party"  # all of them are self-examined
    assert record["source_metadata"]["additional_details"]["certificate"] == certificate.content_digest
    assert json.loads(record["source_metadata"]["additional_details"]["statements"]) == list(certificate.statements)


@pytest.mark.parametrize(
    "damage",
    [
        lambda record: record.pop("retrieved_timestamp"),
        lambda record: record.update(more=1),
        lambda record: record["source_metadata"].update(evaluator_relationship="self"),
        lambda record: record["source_metadata"]["additional_details"].update(number=3),
        lambda record: record["evaluation_results"][0]["metric_config"].pop("max_score"),
        lambda record: record["evaluation_results"][0]["score_details"].update(score=1.5),
        lambda record: record["evaluation_results"][0]["generation_config"]["generation_args"].update(min_p=0.0),
        lambda record: record["model_info"]["additional_details"].update(deployment_type="local"),
    ],
)
def test_the_rules_written_down_here_find_what_is_wrong(damage: Any) -> None:
    good: Any = json.loads(json.dumps(every_eval_record(load_certificate(PUBLISHED[0]))))
    broken = copy.deepcopy(good)
    damage(broken)
    assert faults(good) == []
    assert faults(broken) != []


def test_claims_twins_and_what_was_not_asked(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=40)
    model = ToyModel(skill=0.5, kind="remote")
    certificate = stage.certificate(model, claim=Claim(kind="score at least", score=0.9), num_probes=2)
    record: Any = every_eval_record(certificate)
    assert faults(json.loads(json.dumps(record))) == []
    details = record["source_metadata"]["additional_details"]
    assert details["claim"] == "the sealed score is at least 90 %"
    assert certificate.correction is not None
    assert details["correction"] == certificate.correction.statement
    assert record["source_metadata"]["evaluator_relationship"] == "third_party"
    assert record["model_info"]["additional_details"]["deployment_type"] == "unknown"  # nobody outside can know


def test_a_half_of_which_nothing_was_asked_has_no_score(tmp_path: Path) -> None:
    certificate = make_stage(tmp_path).certificate(ToyModel())
    nothing = certificate.result.public.accuracy.model_copy(update={"n": 0})
    public = certificate.result.public.model_copy(update={"accuracy": nothing})
    result = certificate.result.model_copy(update={"public": public})
    record: Any = every_eval_record(certificate.model_copy(update={"result": result}))
    assert [row["evaluation_name"].split("(")[-1] for row in record["evaluation_results"]] == [
        "sealed half)",
        "public minus sealed)",
    ]


@pytest.mark.parametrize("time", IMPOSSIBLE)
def test_a_sitting_under_a_clock_that_was_none_is_dated_by_its_end(time: str) -> None:
    certificate = load_certificate(PUBLISHED[0])
    result = certificate.result.model_copy(update={"started": time})
    record: Any = every_eval_record(certificate.model_copy(update={"result": result}))
    assert record["evaluation_timestamp"] == certificate.result.finished
    assert {entry["evaluation_timestamp"] for entry in record["evaluation_results"]} == {certificate.result.finished}
