from __future__ import annotations

import pytest
from exam_parts import ToyModel

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.records import Verdict
from spiritsafe.exam.entries.registrations import registration_entry
from spiritsafe.exam.paper.files import paper_entry
from spiritsafe.exam.results.certificate import host_software, issue_certificate


def test_a_result_that_the_ledger_does_not_hold_is_not_certified(stage):
    registration = stage.register(ToyModel())
    result = stage.sit(ToyModel(), registration).result
    with pytest.raises(IntegrityError, match="another result"):
        issue_certificate(
            ledger=stage.ledger,
            header=stage.paper.header,
            registration=registration,
            result=result.model_copy(update={"num_tokens": 0}),
            paper_entry=paper_entry(stage.ledger, stage.paper),
            registration_entry=registration_entry(stage.ledger, registration),
            examiner=stage.examiner,
            host=stage.examiner,
        )


def test_software_names_versions():
    assert {"python", "spiritsafe", "numpy", "scipy", "cryptography", "pyrage"} <= set(host_software())


def test_the_software_says_what_held_foreign_code() -> None:
    def verdict(sandbox: str | None) -> Verdict:
        return Verdict(status="wrong", score=0.0, verifier="code.solve", version="1", sandbox=sandbox)

    found = host_software([verdict("namespaces+cgroup"), None, verdict(None), verdict("landlock"), verdict("landlock")])
    assert found["sandbox"] == "landlock, namespaces+cgroup"
    assert "sandbox" not in host_software([verdict(None)])
