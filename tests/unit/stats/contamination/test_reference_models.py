from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from spiritsafe.core.errors import NumericalError
from spiritsafe.stats.contamination.reference_models import ForeignScores, foreign_gap


def scores(foreign: float, fresh: float, size: int = 1000) -> ForeignScores:
    return ForeignScores(foreign=round(foreign * size), num_foreign=size, fresh=round(fresh * size), num_fresh=size)


REFERENCES = [scores(0.52, 0.50), scores(0.44, 0.39), scores(0.61, 0.60), scores(0.35, 0.32), scores(0.71, 0.67)]


def test_as_by_a_regression_with_a_dummy_for_the_student() -> None:
    """The same t statistic as ordinary least squares gives: gap ~ 1 + student."""
    student = scores(0.66, 0.51)
    found = foreign_gap(student, REFERENCES)
    gaps = np.array([*(reference.gap for reference in REFERENCES), student.gap])
    design = np.column_stack([np.ones(6), [0, 0, 0, 0, 0, 1]])
    beta, residual, *_ = np.linalg.lstsq(design, gaps, rcond=None)
    error = np.sqrt(residual[0] / 4 * np.linalg.inv(design.T @ design)[1, 1])
    assert found.excess.value == pytest.approx(beta[1])
    assert found.p_value == pytest.approx(stats.t.sf(beta[1] / error, 4))
    reach = stats.t.ppf(0.975, 4) * error
    assert (found.excess.low, found.excess.high) == pytest.approx((beta[1] - reach, beta[1] + reach))
    assert found.expected == pytest.approx(gaps[:5].mean())


def test_the_share_studied_and_the_words() -> None:
    found = foreign_gap(scores(0.75, 0.47), REFERENCES)
    assert found.studied is not None
    alone = 0.47 + found.expected
    assert found.studied.value == pytest.approx((0.75 - alone) / (1 - alone))
    assert found.studied.low < found.studied.value < found.studied.high
    assert found.statement.startswith("A sign of studying the foreign benchmark: +25.0 points")
    assert "share studied: 50% (" in found.statement
    clean = foreign_gap(scores(0.53, 0.50), REFERENCES)
    assert clean.statement.startswith("No sign of studying")
    assert clean.smallest_leak is not None
    assert clean.smallest_leak < 0.2
    assert clean.studied is not None
    assert clean.studied.low == 0.0


def test_too_little_power_is_no_acquittal() -> None:
    two = foreign_gap(scores(0.55, 0.50), [scores(0.5, 0.45), scores(0.5, 0.6)])
    assert two.statement.startswith("Cannot rule out studying")
    assert two.smallest_leak is None
    some = foreign_gap(scores(0.55, 0.50), [scores(0.5, 0.45), scores(0.5, 0.53), scores(0.6, 0.58), scores(0.4, 0.45)])
    assert some.statement.startswith("Cannot rule out studying")
    assert some.smallest_leak is not None
    assert some.smallest_leak > 0.2


def test_a_perfect_student_has_nothing_left_to_study() -> None:
    found = foreign_gap(scores(1.0, 0.99), [scores(0.5, 0.46), scores(0.5, 0.47), scores(0.6, 0.56)])
    assert found.studied is None


def test_what_cannot_be_tested() -> None:
    for references in ([], REFERENCES[:1], [REFERENCES[0]] * 3):
        with pytest.raises(NumericalError, match="no spread"):
            foreign_gap(REFERENCES[1], references)
    with pytest.raises(ValidationError):
        ForeignScores(foreign=3, num_foreign=2, fresh=0, num_fresh=1)


def simulate(
    rng: np.random.Generator, *, num_references: int, shift: float, leak: float, size: int = 400, spread: float = 0.5
) -> tuple[ForeignScores, list[ForeignScores], float]:
    """Logistic answers: shared difficulties, abilities that differ by ``spread``, a foreign set harder by ``shift``.

    The last value is the share that the student studied of what it would not have solved.
    """
    share = 0.0
    difficulty = [rng.normal(shift, 1, size), rng.normal(0, 1, size)]
    models = []
    for number, ability in enumerate(rng.normal(0, spread, num_references + 1)):
        right = [rng.random(size) < 1 / (1 + np.exp(-(ability - hard))) for hard in difficulty]
        if number == 0:
            studied = rng.random(size) < leak
            share = float((studied & ~right[0]).sum() / (~right[0]).sum())
            right[0] |= studied
        models.append(
            ForeignScores(foreign=int(right[0].sum()), num_foreign=size, fresh=int(right[1].sum()), num_fresh=size)
        )
    return models[0], models[1:], share


def rate(repeats: int, **options: float) -> float:
    rng = np.random.default_rng(11)
    found = 0
    for _ in range(repeats):
        student, references, _ = simulate(rng, num_references=int(options["references"]), shift=options["shift"],
                                       leak=options["leak"])  # fmt: skip
        found += foreign_gap(student, references).p_value < 0.05
    return found / repeats


@pytest.mark.parametrize("shift", [0.0, 0.25, 0.5])
def test_false_alarms_whatever_the_difficulty(shift: float) -> None:
    """Eight references: .05 whether the benchmark is as hard, or a quarter or half a logit harder."""
    found = rate(800, references=8, shift=shift, leak=0.0)
    assert stats.binomtest(round(found * 800), 800, 0.05).pvalue > 0.005, found


def test_power_grows_with_references() -> None:
    eight, three = rate(300, references=8, shift=0.25, leak=0.3), rate(300, references=3, shift=0.25, leak=0.3)
    assert eight > 0.6
    assert 0.3 < three < eight


def test_the_interval_covers_the_share_studied() -> None:
    rng = np.random.default_rng(4)
    covered = 0
    for _ in range(500):
        student, references, share = simulate(rng, num_references=8, shift=0.25, leak=0.3)
        found = foreign_gap(student, references).studied
        covered += found is not None and found.low <= share <= found.high
    assert covered / 500 > 0.92
