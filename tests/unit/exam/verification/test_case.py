from __future__ import annotations

import pytest
from exam_parts import ToyModel

from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.exam.verification.case import Case, require
from spiritsafe.exam.verification.materials import Materials


def test_files_are_read_before_the_first_step(stage, tmp_path):
    stage.certificate(ToyModel())
    certificate = stage.root / "sitting" / "certificate.json"
    case = Case(Materials(certificate=certificate, paper=stage.papers, ledger=stage.ledger.path))
    data = certificate.read_bytes()
    certificate.write_bytes(b"changed meanwhile")
    assert case.certificate_bytes == data
    assert case.certificate.paper == case.paper.header
    assert [entry.kind for entry in case.log.entries] == ["paper", "registration", "access", "result"]


@pytest.mark.parametrize("what", ["ledger", "result", "sealed", "reference", "revealed", "witnesses"])
def test_a_missing_file_is_the_callers_mistake(stage, tmp_path, what):
    stage.certificate(ToyModel())
    missing = tmp_path / "none"
    given = {what: [missing] if what in ("revealed", "witnesses") else missing}
    certificate = stage.root / "sitting" / "certificate.json"
    with pytest.raises(SourceError):
        Case(Materials(certificate=certificate, paper=stage.papers, **given))


def test_requiring():
    require(True, "fine")
    with pytest.raises(IntegrityError, match="not fine"):
        require(False, "not fine")
