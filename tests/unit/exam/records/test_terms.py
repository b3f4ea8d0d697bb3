from __future__ import annotations

import subprocess
import sys
from typing import get_args

from spiritsafe.core.records import Verdict
from spiritsafe.exam.records.terms import OutcomeStatus


def test_each_verdict_is_an_outcome() -> None:
    assert set(get_args(Verdict.model_fields["status"].annotation)) < set(get_args(OutcomeStatus))


def test_what_commands_offer_is_known_before_any_record_is_built() -> None:
    code = "import sys; from spiritsafe.exam.records import OutcomeStatus; assert 'pydantic' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
