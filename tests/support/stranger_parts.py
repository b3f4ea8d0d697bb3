"""What a stranger can append to a ledger: entries of every kind, malformed in every way, with the exam's own names."""

from __future__ import annotations

from typing import Any

from exam_parts import Stage

from spiritsafe.core.canonical import canonical_json
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.ledger import GENESIS, KeyPair, Ledger

IMPOSSIBLE = (
    "9999-99-99T99:99:99.999Z",
    "0000-00-00T00:00:00.000Z",
    "٢٠٢٦-٠١-٠١T٠٠:٠٠:٠٠.٠٠٠Z",
    "2026-01-01T23:59:60.000Z",
)
"""Times that have the shape of one and are none."""


def append_at(ledger: Ledger, time: str, key: KeyPair, kind: str = "note", body: dict[str, Any] | None = None) -> int:
    """Append a line by hand, rightly chained and signed, at whatever time; return its index."""
    entries = ledger.entries()
    value: dict[str, Any] = {
        "index": len(entries),
        "previous": entries[-1].content_digest if entries else GENESIS,
        "time": time,
        "kind": kind,
        "body": body or {},
    }
    value["signature"] = key.sign("ledger-entry", canonical_json(value)).to_json()
    with ledger.path.open("ab") as file:
        file.write(canonical_json(value) + b"\n")
    return len(entries)


KINDS = (
    "paper", "registration", "withdrawal", "lapse", "access", "result", "rerun", "reveal", "open", "answers", "dispute",
    "grade edit", "dispute answer", "reissue", "overlap", "memory", "witness", "",
)  # fmt: skip
JUNK: tuple[Any, ...] = (
    None, True, 0, -1, 2**53 - 1, 0.5, -1e300, "", "x" * 2000,
    "\x1b[2K\u202e\n", [], [[]], [None, {}, "a"], {}, {"a": {"a": []}},
)  # fmt: skip
FIELDS = (
    "paper_id", "header", "digest", "registration", "reader", "public", "sealed", "twin", "places", "sample_index",
    "dispute", "edit", "result", "certificate", "report", "agrees", "opened", "answers", "days", "purpose", "reason",
    "sealed_accuracy", "p_value", "continues", "origin", "size", "root", "name",
)  # fmt: skip


def nested(depth: int = 60) -> Any:
    """Lists in lists."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


def own_values(stage: Stage, certificate: Certificate) -> dict[str, Any]:
    """What the exam's own entries hold, for a stranger to copy."""
    found: dict[str, Any] = {}
    for entry in stage.ledger.entries():
        found |= entry.body
    result = certificate.result
    return {
        **found,
        "paper_id": certificate.paper.paper_id,
        "digest": result.registration,
        "registration": result.registration,
        "certificate": certificate.content_digest,
        "report": certificate.content_digest,
        "places": [0, 1, 2],
        "sample_index": 0,
        "agrees": False,
        "days": 30,
        "dispute": certificate.content_digest,
        "edit": {"dispute": certificate.content_digest, "index": 0},
    }


def garbage(stage: Stage, certificate: Certificate) -> list[tuple[str, dict[str, Any]]]:
    """For each kind: nothing, the exam's own values, those with one field spoilt in turn, and all fields spoilt."""
    own = own_values(stage, certificate)
    registration = certificate.registration.to_json()
    bodies: list[dict[str, Any]] = [{}, own, {**own, "registration": registration}, dict.fromkeys(FIELDS, nested())]
    bodies += [{**own, name: JUNK[number % len(JUNK)]} for number, name in enumerate(FIELDS) if name != "paper_id"]
    bodies += [{**own, "registration": {**registration, name: []}} for name in ("maker", "seed", "claim", "paper_id")]
    bodies += [{**own, "registration": registration, "digest": value} for value in ([], {}, None, 7)]
    bodies += [{**dict.fromkeys(FIELDS, value), "paper_id": own["paper_id"]} for value in JUNK]
    return [(kind, body) for kind in KINDS for body in bodies]
