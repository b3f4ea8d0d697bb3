"""Ten thousand problems: sealed, sat with a fake model and verified within a minute on two cores."""

from __future__ import annotations

import time

import pytest
from exam_parts import SAMPLING, make_stage

from spiritsafe.exam import register, require_verified, sit, verify
from spiritsafe.rollouts import FakeGenerator
from spiritsafe.tasks import load_task


@pytest.mark.slow
def test_ten_thousand_problems_within_a_minute(tmp_path):
    started = time.perf_counter()
    stage = make_stage(tmp_path, count=10_000, task=load_task("arith:sums?terms=2-6&digits=1-4"))
    generator = FakeGenerator(lambda problem_id, sample: "#### 12")
    registration = register(
        ledger=stage.ledger, paper=stage.paper, maker=stage.maker, model_name="fake",
        model_digest=generator.describe().digest, sampling=SAMPLING, hypothesis="12 is rarely right",
    )  # fmt: skip
    certificate = sit(
        paper=stage.papers, registration=registration, generator=generator, task=stage.task, ledger=stage.ledger,
        examiner=stage.examiner, directory=tmp_path / "sitting",
    )  # fmt: skip
    steps = verify(tmp_path / "sitting" / "certificate.json", paper=stage.papers, ledger=stage.ledger.path)
    require_verified(steps)
    assert len(certificate.result.outcomes) == 10_000
    assert time.perf_counter() - started < 60
