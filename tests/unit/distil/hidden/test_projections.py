from __future__ import annotations

import numpy as np
import pytest
import torch

from spiritsafe.core.errors import CompatibilityError, NumericalError
from spiritsafe.distil.hidden.projections import (
    AffineProjection,
    IndexProjection,
    fit_low_rank,
    fit_procrustes,
    tensor_digest,
)
from spiritsafe.distil.hidden.streams import StreamMoments


def draw(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def moments_of(student_RH: torch.Tensor, teacher_RG: torch.Tensor) -> StreamMoments:
    moments = StreamMoments(teacher_RG.shape[1], student_RH.shape[1])
    for rows in torch.arange(len(student_RH)).split(37):
        moments.add(student_RH[rows], teacher_RG[rows])
    return moments


def massive(width: int) -> torch.Tensor:
    """Scales with one channel three hundred times the others."""
    scale = torch.ones(width, dtype=torch.float64)
    scale[width // 2] = 300.0
    return scale


def test_an_index_map_picks_the_channels_in_its_order() -> None:
    teacher = draw(5, 6, seed=0).float()
    assert torch.equal(IndexProjection((4, 0, 3), 6)(teacher), teacher[:, [4, 0, 3]])
    assert IndexProjection((4, 0, 3), 6)(teacher.bfloat16()).dtype == torch.float32


def test_all_channels_in_order_are_the_identity() -> None:
    teacher = draw(5, 6, seed=0)
    projection = IndexProjection(range(6), 6)
    assert projection(teacher) is teacher
    assert projection.describe()["projection"] == "identity"
    assert IndexProjection((1, 0), 2).describe()["projection"] == "index"


@pytest.mark.parametrize("indices", [(), (0, 0), (0, 6), (-1, 2)])
def test_what_is_no_selection_is_refused(indices: tuple[int, ...]) -> None:
    with pytest.raises(CompatibilityError, match="no selection"):
        IndexProjection(indices, 6)


def test_a_known_rotation_is_recovered_in_spite_of_a_massive_channel() -> None:
    teacher = draw(400, 12, seed=1) * massive(12) + 5.0
    rotation = torch.linalg.qr(draw(12, 12, seed=2)).Q
    student = teacher @ rotation + 3.0
    projection = fit_procrustes(moments_of(student, teacher))
    assert (projection(teacher) - student).abs().max() < 1e-8 * student.abs().max()
    assert (projection.left_GK - rotation).abs().max() < 1e-8


def test_a_known_selection_of_directions_is_recovered_into_a_narrower_student() -> None:
    frame = torch.linalg.qr(draw(12, 12, seed=3)).Q
    teacher = draw(4000, 12, seed=4)
    student = teacher @ frame[:, :5]
    projection = fit_procrustes(moments_of(student, teacher))
    # The empirical covariance is not the identity, so the recovered directions are near the true ones, not equal.
    assert (projection.left_GK - frame[:, :5]).abs().max() < 0.1
    assert float((projection(teacher) - student).square().mean() / student.square().mean()) < 0.01


@pytest.mark.parametrize(("teacher_width", "student_width"), [(9, 9), (9, 4), (4, 9)])
def test_procrustes_is_the_best_orthogonal_map_and_keeps_the_students_spread(
    teacher_width: int, student_width: int
) -> None:
    teacher = draw(300, teacher_width, seed=5)
    student = teacher @ draw(teacher_width, student_width, seed=6) + draw(300, student_width, seed=7)
    moments = moments_of(student, teacher)
    projection = fit_procrustes(moments)
    image = projection(teacher)
    np.testing.assert_allclose(image.mean(0), student.mean(0), atol=1e-12)
    np.testing.assert_allclose(image.std(0), student.std(0), rtol=1e-9)
    # Independent: SVD in numpy of the raw centred rows; its nuclear norm bounds tr(Qᵀ M) over all such Q.
    centred_t, centred_s = (x.numpy() - x.numpy().mean(0) for x in (teacher, student))
    left, singular, right = np.linalg.svd(centred_t.T @ centred_s / 300, full_matrices=False)
    gain = student.numpy().std(0) / (centred_t @ left @ right).std(0)
    np.testing.assert_allclose(projection.left_GK, left @ right * gain, atol=1e-10)
    reached = np.trace((projection.left_GK.numpy() / gain).T @ centred_t.T @ centred_s / 300)
    assert reached == pytest.approx(singular.sum(), rel=1e-12)
    for seed in range(50):
        other = np.linalg.svd(np.random.default_rng(seed).normal(size=left.shape[:1] + right.shape[1:]), False)
        assert np.trace((other[0] @ other[2]).T @ centred_t.T @ centred_s / 300) < reached


def test_a_student_channel_that_is_silent_gets_its_constant_as_target() -> None:
    teacher, student = draw(100, 6, seed=8), draw(100, 4, seed=9)
    student[:, 2] = 7.0
    image = fit_procrustes(moments_of(student, teacher))(teacher)
    assert (image[:, 2] - 7.0).abs().max() < 1e-12


def test_procrustes_refuses_what_does_not_determine_it() -> None:
    with pytest.raises(CompatibilityError, match="5 calibration rows"):
        fit_procrustes(moments_of(draw(5, 6, seed=0), draw(5, 8, seed=1)))
    with pytest.raises(NumericalError, match="student's stream"):
        fit_procrustes(moments_of(torch.ones(20, 3, dtype=torch.float64), draw(20, 4, seed=1)))


@pytest.mark.parametrize("rank", [1, 3, 6])
def test_low_rank_equals_brute_force_in_standardised_channels(rank: int) -> None:
    ridge = 0.05
    teacher = draw(250, 9, seed=10) * massive(9)
    student = (teacher @ draw(9, 6, seed=11) + draw(250, 6, seed=12)) * massive(6)
    projection = fit_low_rank(moments_of(student, teacher), rank, ridge=ridge)
    # Independent: ridge as least squares on augmented rows, then numpy's truncated SVD of the fitted values.
    t, s = ((x.numpy() - x.numpy().mean(0)) / x.numpy().std(0) for x in (teacher, student))
    augmented_t = np.concatenate((t / np.sqrt(250), np.sqrt(ridge) * np.eye(9)))
    augmented_s = np.concatenate((s / np.sqrt(250), np.zeros((9, 6))))
    weight = np.linalg.lstsq(augmented_t, augmented_s, rcond=None)[0]
    right = np.linalg.svd(augmented_t @ weight, full_matrices=False)[2][:rank]
    expected = t @ weight @ right.T @ right * student.numpy().std(0) + student.numpy().mean(0)
    np.testing.assert_allclose(projection(teacher), expected, atol=1e-8 * np.abs(expected).max())
    assert projection.left_GK.shape == (9, rank)

    def objective(matrix: np.ndarray) -> float:
        return float(np.square(augmented_s - augmented_t @ matrix).sum())

    best = weight @ right.T @ right
    rng = np.random.default_rng(0)
    left, values, across = np.linalg.svd(best, full_matrices=False)
    for _ in range(200):
        near = (left + 0.02 * rng.normal(size=left.shape)) * values @ (across + 0.02 * rng.normal(size=across.shape))
        kept = np.linalg.svd(near, full_matrices=False)
        assert objective((kept[0][:, :rank] * kept[1][:rank]) @ kept[2][:rank]) >= objective(best)


@pytest.mark.parametrize(("rank", "ridge"), [(0, 1e-3), (5, 1e-3), (2, 0.0)])
def test_low_rank_refuses_impossible_numbers(rank: int, ridge: float) -> None:
    with pytest.raises(CompatibilityError, match="do not fit"):
        fit_low_rank(moments_of(draw(50, 4, seed=0), draw(50, 6, seed=1)), rank, ridge=ridge)


def test_half_precision_streams_are_projected_in_float32() -> None:
    projection = fit_low_rank(moments_of(draw(50, 4, seed=0), draw(50, 6, seed=1)), 2)
    rows = draw(7, 6, seed=2)
    image = projection(rows.bfloat16())
    assert image.dtype == torch.float32
    np.testing.assert_allclose(image, projection(rows.bfloat16().double()), atol=1e-5)


def test_descriptions_tell_fits_apart() -> None:
    moments = moments_of(draw(50, 4, seed=0), draw(50, 6, seed=1))
    descriptions = [
        fit_procrustes(moments).describe(),
        fit_low_rank(moments, 2).describe(),
        fit_low_rank(moments, 2, ridge=0.1).describe(),
        IndexProjection((0, 1, 2, 3), 6).describe(),
        IndexProjection((1, 0, 2, 3), 6).describe(),
    ]
    assert len({str(description) for description in descriptions}) == 5
    assert fit_procrustes(moments).describe() == descriptions[0]


def test_a_digest_depends_on_shape_and_values() -> None:
    one = torch.arange(6.0)
    assert tensor_digest(one) == tensor_digest(one.double())
    assert len({tensor_digest(one), tensor_digest(one.view(2, 3)), tensor_digest(one + 1)}) == 3


def test_an_affine_projection_is_its_formula() -> None:
    mean, left, right, bias = draw(5, seed=1), draw(5, 2, seed=2), draw(2, 3, seed=3), draw(3, seed=4)
    rows = draw(4, 5, seed=5)
    full = AffineProjection(name="x", mean_G=mean, left_GK=left, right_KH=right, bias_H=bias)
    np.testing.assert_allclose(full(rows), (rows - mean) @ left @ right + bias, atol=1e-12)
