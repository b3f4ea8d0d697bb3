from __future__ import annotations

import itertools
import math

import pytest
import torch
from distil_reference import H, problem
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.distil.losses.divergences import (
    DIVERGENCES,
    Divergence,
    LossMix,
    Rows,
    Term,
    measure_names,
    measure_weights,
    mix_rows,
)
from spiritsafe.distil.losses.exact_head import distil_head
from spiritsafe.distil.losses.sampled_head import check_sampled_mix

PARTS = ["ce", "forward_kl", "reverse_kl", "jsd", "skew_forward_kl", "skew_reverse_kl"]
MEASURES = {
    "ce": "ce",
    "forward_kl": "kl",
    "reverse_kl": "reverse_kl",
    "jsd": "jsd",
    "skew_forward_kl": "skew_kl",
    "skew_reverse_kl": "skew_reverse_kl",
}
ALL = LossMix(
    ce=0.3,
    forward_kl=0.7,
    reverse_kl=0.4,
    jsd=0.9,
    jsd_beta=0.2,
    skew_forward_kl=1.1,
    skew_reverse_kl=0.6,
    skew_alpha=0.15,
)


def run(student: Tensor, teacher: Tensor, target: Tensor, mix: LossMix) -> tuple[dict[str, Tensor], Tensor]:
    """Measures by name, and the gradient for row weights of 1."""
    grad = torch.full_like(student, math.nan)
    ones = torch.ones(student.shape[0], 1, dtype=student.dtype)
    measures = mix_rows(student, teacher, target[:, None], ones, grad, mix, 1.0, 1.0)
    return dict(zip(measure_names(mix), measures, strict=True)), grad


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("spread", [1.0, 30.0, 1e4])
@pytest.mark.parametrize("student_vocab", [40, 43])
def test_float32_stays_near_float64(part: str, spread: float, student_vocab: int) -> None:
    generator = torch.Generator().manual_seed(1)
    student = torch.randn(16, student_vocab, generator=generator) * spread
    teacher = torch.randn(16, 40, generator=generator) * spread
    target = torch.randint(40, (16,), generator=generator)
    mix = LossMix(**{part: 1.0}, jsd_beta=0.2, temperature=1.5)
    measured, grad = run(student, teacher, target, mix)
    exact, exact_grad = run(student.double(), teacher.double(), target, mix)
    torch.testing.assert_close(measured[MEASURES[part]].double(), exact[MEASURES[part]], rtol=2e-6, atol=2e-6)
    # reverse KL's gradient is a difference of terms as large as the divergence
    allowed = 1e-5 * max(1.0, float(exact_grad.norm())) + 1e-6 * float(exact[MEASURES[part]].max())
    assert float((grad.double() - exact_grad).norm()) <= allowed


ROWS = {
    "huge": [3e36, -3e36, 0.0, 1e30],
    "masked": [0.0, -1e9, -1e9, 1.0],
    "one left": [-1e9, -1e9, -1e9, 5.0],
    "equal": [7.0, 7.0, 7.0, 7.0],
    "equal and huge": [1e30, 1e30, 1e30, 1e30],
    "tiny": [1e-38, -1e-38, 0.0, -0.0],
    "far": [-3e4, 3e4, 0.0, 0.0],
}


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
@pytest.mark.parametrize(("student", "teacher"), list(itertools.product(ROWS, ROWS)))
def test_no_finite_logits_give_nan(student: str, teacher: str, temperature: float) -> None:
    rows = torch.tensor([ROWS[student], ROWS[student]])
    wider = torch.cat((rows, torch.tensor([[2.0, -1e9], [1e9, 0.0]])), 1)
    for logits in (rows, wider):
        mix = LossMix(**{**ALL.describe(), "temperature": temperature})
        measured, grad = run(logits, torch.tensor([ROWS[teacher]] * 2), torch.tensor([0, 1]), mix)
        assert all(bool(values.isfinite().all()) for values in measured.values()), measured
        assert bool(grad.isfinite().all())
        for name in ("kl", "reverse_kl", "jsd", "skew_kl", "skew_reverse_kl"):
            assert float(measured[name].min()) >= -1e-6
        bounds = {"jsd": -0.2 * math.log(0.2) - 0.8 * math.log(0.8), "skew_kl": -math.log(0.15)}
        bounds["skew_reverse_kl"] = -math.log(0.15)
        for name, bound in bounds.items():
            assert float(measured[name].max()) <= bound + 1e-5


@pytest.mark.parametrize("row", ROWS)
def test_equality_gives_exactly_nothing(row: str) -> None:
    logits = torch.tensor([ROWS[row]] * 3)
    mix = LossMix(**{**ALL.describe(), "ce": 0.0})
    measured, grad = run(logits, logits.clone(), torch.zeros(3, dtype=torch.int64), mix)
    assert torch.count_nonzero(grad) == 0
    for name in ("kl", "reverse_kl", "jsd", "skew_kl", "skew_reverse_kl"):
        assert torch.count_nonzero(measured[name]) == 0
    assert bool((measured["agreement"] == 1).all())


def test_near_equality_keeps_relative_precision() -> None:
    student = torch.randn(8, 500, generator=torch.Generator().manual_seed(0)) + 1000.0
    teacher = student + 1e-2 * torch.randn(8, 500, generator=torch.Generator().manual_seed(1))
    target = torch.zeros(8, dtype=torch.int64)
    measured, _ = run(student, teacher, target, ALL)
    exact, _ = run(student.double(), teacher.double(), target, ALL)
    for name in ("kl", "reverse_kl", "jsd", "skew_kl", "skew_reverse_kl"):
        # a first-order term of size 1e-2 rounds at 1e-7 of itself, the divergence is of second order
        torch.testing.assert_close(measured[name].double(), exact[name], rtol=2e-2, atol=2e-7)


def test_measures_and_weights_name_what_is_computed() -> None:
    assert measure_names(LossMix(forward_kl=1.0)) == ("teacher_entropy", "agreement", "kl", "ce")
    assert measure_names(LossMix(forward_kl=1.0, temperature=2.0)) == ("teacher_entropy", "agreement", "kl")
    warm = LossMix(**{**ALL.describe(), "temperature": 2.0})
    weights = dict(zip(measure_names(warm), measure_weights(warm), strict=True))
    assert weights == {
        "teacher_entropy": 0.0,
        "agreement": 0.0,
        "ce": 0.3,
        "kl": 0.7 * 4,
        "reverse_kl": 0.4 * 4,
        "jsd": 0.9 * 4,
        "skew_kl": 1.1 * 4,
        "skew_reverse_kl": 0.6 * 4,
    }


def test_a_nan_comes_through() -> None:
    logits = torch.zeros(2, 5)
    broken = logits.clone()
    broken[1, 3] = math.nan
    measured, grad = run(logits, broken, torch.zeros(2, dtype=torch.int64), LossMix(forward_kl=1.0))
    assert measured["kl"].isnan().tolist() == [False, True]
    assert bool(grad[1].isnan().any())
    assert not bool(grad[0].isnan().any())


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"forward_kl": -1.0},
        {"forward_kl": math.nan},
        {"jsd": math.inf},
        {"jsd": 1.0, "jsd_beta": 0.0},
        {"jsd": 1.0, "jsd_beta": 1.0},
        {"skew_forward_kl": 1.0, "skew_alpha": 0.0},
        {"forward_kl": 1.0, "temperature": 0.0},
        {"forward_kl": 1.0, "temperature": -1.0},
    ],
)
def test_a_mixture_that_is_none_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(RecipeError):
        LossMix(**wrong)


def test_an_unknown_divergence_is_refused_and_the_known_ones_are_named() -> None:
    with pytest.raises(RecipeError, match="strangers_own is no divergence") as caught:
        LossMix(strangers_own=1.0)
    assert all(name in caught.value.hint for name in DIVERGENCES)


def test_a_mixture_is_its_settings_and_tells_of_all_that_it_was_first_told_of() -> None:
    assert LossMix(forward_kl=1.0, jsd=0.0) == LossMix(forward_kl=1.0)
    assert hash(LossMix(reverse_kl=0.5, jsd=0.5)) == hash(LossMix(jsd=0.5, reverse_kl=0.5))
    assert LossMix(forward_kl=0.7, ce=0.3).describe() == {  # a fingerprint: it stays
        "ce": 0.3,
        "forward_kl": 0.7,
        "reverse_kl": 0.0,
        "jsd": 0.0,
        "jsd_beta": 0.5,
        "skew_forward_kl": 0.0,
        "skew_reverse_kl": 0.0,
        "skew_alpha": 0.1,
        "temperature": 1.0,
    }


def strangers_own(rows: Rows, mix: LossMix) -> Term:
    """½ Σ |q - p|, where p is 0 beyond the common ids."""
    common = rows.p_CU.shape[1]
    gap_CU, rest_C = rows.q_CV[:, :common] - rows.p_CU, rows.q_CV[:, common:].sum(1)
    return Term((gap_CU.abs().sum(1) + rest_C) / 2, rows.q_CV[:, :common] * gap_CU.sign(), factor=0.5, rest=1.0)


@pytest.mark.parametrize("vocabs", [(53, 53), (60, 53)])
def test_a_divergence_that_only_this_test_knows_is_learnt_from(
    vocabs: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Divergence(of_rows=strangers_own, label="the test's own", measure="strangers_own")
    monkeypatch.setitem(DIVERGENCES, "strangers_own", row)
    case = problem(torch.float64, vocab=vocabs[0], teacher_vocab=vocabs[1])
    mix = LossMix(strangers_own=0.8, ce=0.2, temperature=2.0)
    buffer = torch.zeros(vocabs[0], H, dtype=torch.float64)
    result = distil_head(
        case.hidden, case.weight, case.teacher, case.targets, case.weights, mix=mix, grad_weight_VH=buffer
    )
    hidden, weight = case.hidden.clone().requires_grad_(), case.weight.clone().requires_grad_()
    logits = hidden @ weight.t()
    teacher = case.teacher.hidden_RG @ case.teacher.weight_UG.t() * case.teacher.scale
    p = torch.nn.functional.pad(torch.softmax(teacher / 2.0, 1), (0, vocabs[0] - vocabs[1]))
    apart_R = (torch.softmax(logits / 2.0, 1) - p).abs().sum(1) / 2
    ce_R = torch.nn.functional.cross_entropy(logits, case.targets, reduction="none")
    loss = ((0.8 * 4.0 * apart_R + 0.2 * ce_R) * case.weights).sum()
    loss.backward()
    torch.testing.assert_close(result.loss, loss.detach())
    torch.testing.assert_close(result.grad_hidden_RH, hidden.grad)
    torch.testing.assert_close(buffer, weight.grad)
    torch.testing.assert_close(result.sums["strangers_own"][0], apart_R.detach().sum())
    assert mix.describe()["strangers_own"] == 0.8
    assert "strangers_own" not in LossMix(forward_kl=1.0).describe()
    with pytest.raises(CompatibilityError, match="strangers_own needs the whole vocabulary"):
        check_sampled_mix(LossMix(strangers_own=1.0))


def test_a_few_entries_of_a_row_serve_what_the_sampled_head_computes_and_nothing_else() -> None:
    assert [name for name, row in DIVERGENCES.items() if not row.needs_whole_vocabulary] == ["forward_kl"]
