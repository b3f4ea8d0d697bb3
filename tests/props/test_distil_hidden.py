"""Identities of hidden-state matching."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from spiritsafe.distil.hidden.layer_pairs import _alignment, _gram
from spiritsafe.distil.hidden.match import ChannelUnits, HiddenMatch, MatchedPair, match_rows
from spiritsafe.distil.hidden.projections import IndexProjection, fit_procrustes
from spiritsafe.distil.hidden.streams import ChannelMoments, StreamMoments

seeds, widths = st.integers(0, 2**31), st.integers(2, 9)


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def units_of(teacher_RH: Tensor, student_RH: Tensor) -> ChannelUnits:
    target, own = (ChannelMoments(teacher_RH.shape[1]) for _ in range(2))
    target.add(teacher_RH)
    own.add(student_RH)
    return ChannelUnits.of(target, own)


def match_of(units: ChannelUnits, **more: float) -> HiddenMatch:
    width = units.centre_H.numel()
    projection = IndexProjection(range(width), width)
    return HiddenMatch(
        [MatchedPair(student_layer=0, teacher_layer=0, projection=projection, units=units)], weight=1.0, **more
    )


@settings(max_examples=40, deadline=None)
@given(seeds, widths)
def test_both_terms_are_bounded_below_and_nothing_at_equality(seed: int, width: int) -> None:
    student, teacher = draw(6, width, seed=seed), draw(6, width, seed=seed + 1)
    cosine_R, error_R, *_ = match_rows(student, teacher, units_of(teacher, student))
    assert float(cosine_R.min()) >= 0.0
    assert float(cosine_R.max()) <= 2.0 + 1e-12
    assert float(error_R.min()) >= 0.0
    for part in match_rows(teacher, teacher, units_of(teacher, student)):
        assert float(part.abs().max()) < 1e-12


@settings(max_examples=40, deadline=None)
@given(seeds, widths)
def test_the_order_of_rows_and_channels_means_nothing(seed: int, width: int) -> None:
    student, teacher, weights = draw(7, width, seed=seed), draw(7, width, seed=seed + 1), draw(7, seed=seed + 2).abs()
    rows = torch.randperm(7, generator=torch.Generator().manual_seed(seed))
    channels = torch.randperm(width, generator=torch.Generator().manual_seed(seed))
    one = match_of(units_of(teacher, student)).match([student], [teacher], weights)
    student, teacher, weights = student[rows][:, channels], teacher[rows][:, channels], weights[rows]
    other = match_of(units_of(teacher, student)).match([student], [teacher], weights)
    torch.testing.assert_close(one.loss, other.loss, rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(one.grads_RH[0][rows][:, channels], other.grads_RH[0], rtol=1e-5, atol=1e-7)


@settings(max_examples=40, deadline=None)
@given(seeds, widths, st.floats(0.1, 1e4), st.floats(-1e4, 1e4))
def test_the_size_and_offset_of_a_channel_mean_nothing(seed: int, width: int, size: float, offset: float) -> None:
    student, teacher = draw(30, width, seed=seed), draw(30, width, seed=seed + 1)
    sizes = torch.ones(width, dtype=torch.float64)
    sizes[0] = size
    shift = torch.zeros(width, dtype=torch.float64)
    shift[0] = offset
    one = match_of(units_of(teacher, student)).match([student], [teacher], torch.ones(30))
    scaled_s, scaled_t = student * sizes + shift, teacher * sizes + shift
    other = match_of(units_of(scaled_t, scaled_s)).match([scaled_s], [scaled_t], torch.ones(30))
    # Centre and spread are kept in float32.
    tolerance = 1e-4 + abs(offset) / size * 1e-6
    torch.testing.assert_close(one.loss, other.loss, rtol=tolerance, atol=tolerance)


@settings(max_examples=30, deadline=None)
@given(seeds, widths)
def test_micro_batches_add_up_to_the_whole(seed: int, width: int) -> None:
    student, teacher, weights = draw(9, width, seed=seed), draw(9, width, seed=seed + 1), draw(9, seed=seed + 2).abs()
    match = match_of(units_of(teacher, student))
    whole = match.match([student], [teacher], weights)
    parts = [match.match([student[c]], [teacher[c]], weights[c]) for c in torch.arange(9).split((2, 4, 3))]
    torch.testing.assert_close(torch.stack([part.loss for part in parts]).sum(), whole.loss)
    torch.testing.assert_close(torch.cat([part.grads_RH[0] for part in parts]), whole.grads_RH[0])


@settings(max_examples=20, deadline=None)
@given(seeds, widths)
def test_a_step_against_the_gradient_lowers_the_loss(seed: int, width: int) -> None:
    student, teacher = draw(8, width, seed=seed), draw(8, width, seed=seed + 1)
    match = match_of(units_of(teacher, student))
    before = match.match([student], [teacher], torch.ones(8))
    after = match.match([student - 1e-5 * before.grads_RH[0]], [teacher], torch.ones(8))
    assert float(after.loss) < float(before.loss)


@settings(max_examples=20, deadline=None)
@given(seeds, widths)
def test_procrustes_undoes_any_rotation_and_similarity_is_blind_to_it(seed: int, width: int) -> None:
    teacher = draw(width * 6, width, seed=seed) * torch.logspace(-2, 2, width, dtype=torch.float64)
    rotation = torch.linalg.qr(draw(width, width, seed=seed + 1)).Q
    student = teacher @ rotation + 1.0
    moments = StreamMoments(width, width)
    moments.add(student, teacher)
    image = fit_procrustes(moments)(teacher)
    assert float((image - student).abs().max()) < 1e-6 * float(student.abs().max())
    assert abs(_alignment(_gram(teacher), _gram(student)) - 1.0) < 1e-9
