"""Certificates that were published must verify for ever."""

from __future__ import annotations

from pathlib import Path

import pytest
from places import ROOT

from spiritsafe.exam import require_verified, verify

ROOT = ROOT / "experiments"
CERTIFICATES = sorted(ROOT.glob("*/*.certificate.json"))


def test_there_are_published_certificates() -> None:
    assert CERTIFICATES


@pytest.mark.parametrize("path", CERTIFICATES, ids=[p.relative_to(ROOT).as_posix() for p in CERTIFICATES])
def test_a_published_certificate_verifies(path: Path) -> None:
    reports = {
        "overlaps": sorted(path.parent.glob("*.overlap.json")),
        "memories": sorted(path.parent.glob("*.memory.json")),
    }
    require_verified(verify(path, paper=path.parent / "paper.json", ledger=path.parent / "ledger.jsonl", **reports))
