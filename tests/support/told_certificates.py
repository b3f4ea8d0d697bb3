"""The certificates of a finished run, each with right answers of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from spiritsafe.exam import load_certificate
from spiritsafe.exam.records.certificate import Certificate

SEALED = "sealed"


def certificates_of(run: Path) -> dict[str, Certificate]:
    """The run's certificates, each with right answers of its own: this model hardly gives any."""
    found = {p.name.split(".")[0]: load_certificate(p) for p in run.glob("stages/*-exam/*.certificate.json")}
    return {name: _answering(certificate, place) for place, (name, certificate) in enumerate(sorted(found.items()))}


def _answering(certificate: Certificate, place: int) -> Certificate:
    """By the rank in its half: which places of the bank a half holds is each paper's own chance."""
    rank = dict.fromkeys(("sealed", "public"), 0)
    told = {}
    for outcome in sorted(certificate.result.outcomes, key=lambda o: o.index):
        right = (rank[outcome.half] * 7 + place * place) % 5 < 2 + place % 2
        told[outcome.index] = outcome.model_copy(update={"status": "correct" if right else "wrong"})
        rank[outcome.half] += 1
    outcomes = tuple(told[outcome.index] for outcome in certificate.result.outcomes)
    return certificate.model_copy(update={"result": certificate.result.model_copy(update={"outcomes": outcomes})})


def data_of(run: Path) -> dict[str, Any]:
    return dict(json.loads(next(run.glob("stages/*-report/report.json")).read_text("utf-8")))


def right_of(certificate: Certificate) -> list[int]:
    outcomes = [outcome for outcome in certificate.result.outcomes if outcome.half == SEALED]
    return [int(o.status == "correct") for o in sorted(outcomes, key=lambda o: o.index)]
