from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from tiny_training import OperatorLog, counting_documents, tiny_decoder
from torch import Tensor
from torch.nn import functional

from spiritsafe.core.errors import CompatibilityError, NumericalError, RecipeError
from spiritsafe.distil.hidden.match import ChannelUnits, HiddenMatch, MatchedPair, match_rows
from spiritsafe.distil.hidden.projections import IndexProjection
from spiritsafe.distil.hidden.streams import ChannelMoments
from spiritsafe.distil.signal import LiveTeacher
from spiritsafe.models.interface.batch import IGNORED, Document, PackedBatch, pack_documents, shared_prefix
from spiritsafe.training.objective import SupervisedRows

WIDTH = 8


def draw(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def some_units(seed: int = 0, width: int = WIDTH) -> ChannelUnits:
    return ChannelUnits(centre_H=draw(width, seed=seed).float(), inverse_H=draw(width, seed=seed + 1).float().exp())


def some_match(num_pairs: int = 2, *, width: int = WIDTH, **changes: Any) -> HiddenMatch:
    pairs = [
        MatchedPair(
            student_layer=layer,
            teacher_layer=2 * layer + 1,
            projection=IndexProjection(range(width), width),
            units=some_units(10 * layer, width),
            share=1.0 + layer,
        )
        for layer in range(num_pairs)
    ]
    return HiddenMatch(pairs, **{"weight": 0.7, **changes})


def plain_loss(match: HiddenMatch, students: Any, teachers: Any, weights: Tensor, a: float, b: float) -> Tensor:
    """The same loss in PyTorch's own words, for autograd."""
    total = torch.zeros((), dtype=weights.dtype)
    whole = sum(pair.share for pair in match.pairs)
    for pair, student, teacher in zip(match.pairs, students, teachers, strict=True):
        centre, inverse = pair.units.centre_H.to(student.dtype), pair.units.inverse_H.to(student.dtype)
        z, y = (student - centre) * inverse, (pair.projection(teacher) - centre) * inverse
        rows = a * (1.0 - functional.cosine_similarity(z, y, dim=1)) + b * functional.mse_loss(
            z, y, reduction="none"
        ).mean(1)
        total = total + (rows * weights).sum() * pair.share / whole
    return match.weight * total


@pytest.mark.parametrize(("a", "b"), [(1.0, 1.0), (1.0, 0.0), (0.0, 1.0), (0.3, 2.0)])
def test_loss_and_gradients_equal_autograd_in_float64(a: float, b: float) -> None:
    match = some_match(3, cosine=a, error=b)
    students = [draw(11, WIDTH, seed=seed).requires_grad_() for seed in range(3)]
    teachers = [draw(11, WIDTH, seed=seed + 50) for seed in range(3)]
    weights = draw(11, seed=99).abs()
    found = match.match([s.detach() for s in students], teachers, weights)
    expected = plain_loss(match, students, teachers, weights, a, b)
    torch.testing.assert_close(found.loss, expected.detach(), rtol=1e-12, atol=1e-12)
    for one, two in zip(found.grads_RH, torch.autograd.grad(expected, students), strict=True):
        torch.testing.assert_close(one, two, rtol=1e-10, atol=1e-12)


def test_bfloat16_streams_give_the_float64_gradient_rounded_once() -> None:
    match = some_match(1)
    student, teacher = draw(9, WIDTH, seed=1).bfloat16(), draw(9, WIDTH, seed=2).bfloat16()
    found = match.match([student], [teacher], torch.ones(9))
    exact = match.match([student.double()], [teacher.double()], torch.ones(9, dtype=torch.float64))
    assert found.grads_RH[0].dtype == torch.bfloat16
    assert found.loss.dtype == torch.float32
    torch.testing.assert_close(found.loss.double(), exact.loss, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.grads_RH[0].double(), exact.grads_RH[0], rtol=2**-8, atol=1e-6)


def test_equal_streams_give_exactly_nothing() -> None:
    stream = draw(20, WIDTH, seed=0, dtype=torch.float32) * 100.0
    found = some_match(1).match([stream], [stream.clone()], torch.ones(20))
    assert float(found.loss) == 0.0
    assert float(found.grads_RH[0].abs().max()) < 1e-6
    assert [float(total) for total, _ in found.sums.values()] == [0.0, 0.0]


def test_rows_at_the_centre_have_a_finite_gradient() -> None:
    units = some_units()
    centre = units.centre_H.expand(2, WIDTH)
    for student, target in ((centre, centre), (centre, centre + 1.0), (centre + 1.0, centre)):
        assert all(torch.isfinite(part).all() for part in match_rows(student, target, units))


def test_the_sums_are_means_over_rows_and_pairs() -> None:
    match = some_match(2, weight=0.1)
    students, teachers = [draw(6, WIDTH, seed=s) for s in (1, 2)], [draw(6, WIDTH, seed=s) for s in (3, 4)]
    sums = match.match(students, teachers, torch.full((6,), 0.5)).sums
    expected = [
        match_rows(student, teacher, pair.units)
        for student, teacher, pair in zip(students, teachers, match.pairs, strict=True)
    ]
    for place, name in enumerate(("hidden_cosine", "hidden_error")):
        total, count = sums[name]
        assert count == 6
        wanted = expected[0][place].sum() / 3 + expected[1][place].sum() * 2 / 3  # shares 1 and 2
        torch.testing.assert_close(total, wanted)


def test_many_rows_in_pieces_equal_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    students, teachers = [draw(50, WIDTH, seed=1)], [draw(50, WIDTH, seed=2)]
    whole = some_match(1).match(students, teachers, torch.ones(50))
    monkeypatch.setattr("spiritsafe.distil.hidden.match._ROWS_AT_ONCE", 7)
    for share in (1.0, 0.5):
        pieces = some_match(1, share_of_tokens=share).match(students, teachers, torch.ones(50))
        monkeypatch.setattr("spiritsafe.distil.hidden.match._ROWS_AT_ONCE", 4096)
        whole = some_match(1, share_of_tokens=share).match(students, teachers, torch.ones(50))
        monkeypatch.setattr("spiritsafe.distil.hidden.match._ROWS_AT_ONCE", 7)
        torch.testing.assert_close(pieces.grads_RH[0], whole.grads_RH[0])
        torch.testing.assert_close(pieces.loss, whole.loss)


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("linear", [1.0, 0.75, 0.5, 0.25, 0.0, 0.0]), ("cosine", [1.0, 0.853553, 0.5, 0.146447, 0.0, 0.0])],
)
def test_the_weight_falls_to_zero_at_its_share_of_the_run(schedule: Any, expected: list[float]) -> None:
    match = some_match(weight=2.0, until=0.4, schedule=schedule)
    before = match.describe()
    assert match.weight == 2.0
    found = []
    for step in (0, 10, 20, 30, 40, 99):
        match.at_step(step, 100)
        found.append(match.weight / 2.0)
    assert found == pytest.approx(expected, abs=1e-6)
    assert found[-2:] == [0.0, 0.0]
    assert match.describe() == before


def test_the_current_weight_scales_loss_and_gradient() -> None:
    match = some_match(1, until=1.0, schedule="linear")
    students, teachers = [draw(5, WIDTH, seed=1)], [draw(5, WIDTH, seed=2)]
    first = match.match(students, teachers, torch.ones(5))
    match.at_step(3, 4)
    last = match.match(students, teachers, torch.ones(5))
    torch.testing.assert_close(last.loss, first.loss / 4)
    torch.testing.assert_close(last.grads_RH[0], first.grads_RH[0] / 4)
    torch.testing.assert_close(last.sums["hidden_error"][0], first.sums["hidden_error"][0])


def test_a_share_of_the_rows_is_reproducible_and_drawn_anew() -> None:
    students, teachers = [draw(40, WIDTH, seed=1)], [draw(40, WIDTH, seed=2)]

    def rows(match: HiddenMatch) -> tuple[int, ...]:
        grad = match.match(students, teachers, torch.ones(40)).grads_RH[0]
        return tuple(torch.nonzero(grad.abs().sum(1)).squeeze(1).tolist())

    match, same, other = (some_match(1, share_of_tokens=0.25, seed=seed) for seed in (5, 5, 6))
    seen = []
    for step in (0, 1):
        for one in (match, same, other):
            one.at_step(step, 10)
        seen += [rows(match), rows(match)]
        assert seen[-2:] == [rows(same), rows(same)]
        assert rows(other) != seen[-2]
    assert len(set(seen)) == 4  # each micro-batch of each step has its own
    assert all(len(chosen) == 10 for chosen in seen)
    match.at_step(1, 10)
    assert rows(match) == seen[2]


def test_a_share_of_the_rows_is_unbiased() -> None:
    students, teachers = [draw(12, WIDTH, seed=1)], [draw(12, WIDTH, seed=2)]
    weights = draw(12, seed=3).abs()
    whole = some_match(1).match(students, teachers, weights)
    match = some_match(1, share_of_tokens=0.25)
    total, losses, num_draws = torch.zeros(12, WIDTH, dtype=torch.float64), 0.0, 600
    for _ in range(num_draws):
        part = match.match(students, teachers, weights)
        total += part.grads_RH[0]
        losses += float(part.loss)
    # A row is in 1 of 4 draws at 4 times its weight: its mean has a relative error of sqrt(3 / draws) = 0.07.
    torch.testing.assert_close(total / num_draws, whole.grads_RH[0], rtol=0.3, atol=1e-12)
    assert losses / num_draws == pytest.approx(float(whole.loss), rel=0.08)


def test_units_make_every_channel_count_alike() -> None:
    sizes = torch.tensor([1.0, 1e3, 1.0, 1e-1], dtype=torch.float64)
    teacher, student = draw(500, 4, seed=1) * sizes + 7.0 * sizes, draw(500, 4, seed=2) * sizes
    target, own = ChannelMoments(4), ChannelMoments(4)
    target.add(teacher)
    own.add(student)
    units = ChannelUnits.of(target, own)
    centre, inverse = units.centre_H.double(), units.inverse_H.double()
    torch.testing.assert_close(centre, teacher.mean(0), rtol=1e-6, atol=0)
    z, y = (student - centre) * inverse, (teacher - centre) * inverse
    pooled = (z.square().mean(0) + y.square().mean(0)) / 2
    torch.testing.assert_close(pooled, torch.ones(4, dtype=torch.float64), rtol=1e-5, atol=0)
    assert float((z - y).square().mean(0).max()) <= 4.0


def test_a_silent_channel_is_not_blown_up_and_silence_is_refused() -> None:
    target, own = ChannelMoments(4), ChannelMoments(4)
    rows = draw(50, 4, seed=1)
    rows[:, 2] = 0.0
    target.add(rows)
    own.add(rows)
    inverse = ChannelUnits.of(target, own).inverse_H
    assert float(inverse[2]) == pytest.approx(100.0 * float(inverse[[0, 1, 3]].max()), rel=0.5)
    silent = ChannelMoments(4)
    silent.add(torch.zeros(5, 4))
    with pytest.raises(NumericalError, match="do not vary"):
        ChannelUnits.of(silent, silent)


@pytest.mark.parametrize(
    "changes",
    [
        {"weight": 0.0},
        {"weight": math.inf},
        {"until": 0.0},
        {"until": 1.1},
        {"share_of_tokens": 0.0},
        {"cosine": -1.0},
        {"cosine": 0.0, "error": 0.0},
    ],
)
def test_numbers_out_of_range_are_refused(changes: dict[str, float]) -> None:
    with pytest.raises(RecipeError):
        some_match(**changes)


def test_no_pair_is_refused() -> None:
    with pytest.raises(RecipeError, match="pairs"):
        HiddenMatch([], weight=1.0)


def test_streams_of_other_shapes_are_refused() -> None:
    match, rows = some_match(1), draw(5, WIDTH, seed=1)
    for students, teachers in (([], [rows]), ([rows[:4]], [rows]), ([rows], [rows[:4]]), ([rows[:, :3]], [rows])):
        with pytest.raises(CompatibilityError):
            match.match(students, teachers, torch.ones(5))


def test_its_description_holds_what_changes_the_result() -> None:
    base = some_match().describe()
    assert base == some_match().describe()
    assert some_match(num_pairs=1).describe() != base
    for changes in (
        {"weight": 0.8},
        {"until": 0.4},
        {"schedule": "linear"},
        {"share_of_tokens": 0.5},
        {"cosine": 2.0},
        {"error": 2.0},
        {"seed": 1},
    ):
        assert some_match(**changes).describe() != base


def test_memory_of_the_match_does_not_grow_with_the_number_of_pairs() -> None:
    largest = []
    for num_pairs in (1, 6):
        match = some_match(num_pairs, width=64)
        students = [draw(100, 64, seed=s, dtype=torch.float32) for s in range(num_pairs)]
        with OperatorLog() as log:
            match.match(students, students, torch.ones(100))
        largest.append(log.largest_bytes)
    assert largest[0] == largest[1] == 100 * 64 * 4


def batches() -> list[PackedBatch]:
    """One packed, one with a shared prefix."""
    shared = [
        Document(token_ids=(3, 4, 5, 6, last, last + 1), supervised=(False,) * 4 + (True, True)) for last in (7, 9, 11)
    ]
    assert shared_prefix(shared) == 3
    return [pack_documents(counting_documents(4)), pack_documents(shared, prefix_length=3)]


@pytest.mark.parametrize("batch", batches(), ids=["packed", "shared prefix"])
def test_gradients_through_the_whole_student_equal_autograds(batch: PackedBatch) -> None:
    student, teacher = (tiny_decoder(layers=n, dtype=torch.float64, seed=n) for n in (3, 5))
    width = student.hidden_size
    pairs = [
        MatchedPair(
            student_layer=one,
            teacher_layer=two,
            projection=IndexProjection(range(width), width),
            units=some_units(one, width),
        )
        for one, two in ((0, 1), (1, 3))
    ]
    match = HiddenMatch(pairs, weight=0.4)
    supervised = SupervisedRows.of(batch, 7.0)
    weights = supervised.weights_R.double()
    signal = LiveTeacher(teacher).read(batch, supervised.rows_R, layers=match.teacher_layers)
    outer = draw(batch.num_tokens, width, seed=3)  # stands for the loss head's gradient

    hidden, streams = student.forward_with_layers(batch, match.student_layers)
    result = match.match([s.detach()[supervised.rows_R] for s in streams], signal.layers_RG, weights)
    torch.autograd.backward([hidden, *streams], [outer, *(supervised.scatter(g) for g in result.grads_RH)])
    found = {name: p.grad.clone() for name, p in student.named_parameters() if p.grad is not None}

    student.zero_grad()
    hidden, streams = student.forward_with_layers(batch, match.student_layers)
    teachers = [rows.clone() for rows in signal.layers_RG]
    loss = plain_loss(match, [s[batch.targets_N != IGNORED] for s in streams], teachers, weights, 1.0, 1.0)
    ((hidden * outer).sum() + loss).backward()
    assert found
    for name, parameter in student.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-9, atol=1e-12)
    # And the match has a say: without it the first block's gradient is another.
    student.zero_grad()
    student(batch).backward(outer)
    assert not torch.allclose(found["blocks.0.down.weight"], student.blocks[0].down.weight.grad)


def test_a_teachers_own_streams_need_no_correction() -> None:
    teacher = tiny_decoder(layers=4)
    batch = pack_documents(counting_documents(3))
    match = some_match(2, width=teacher.hidden_size)  # teacher layers 1 and 3
    rows = SupervisedRows.of(batch, 1.0).rows_R
    with torch.no_grad():
        streams = [s[rows] for s in teacher.forward_with_layers(batch, match.teacher_layers)[1]]
    signal = LiveTeacher(teacher).read(batch, rows, layers=match.teacher_layers)
    assert float(match.match(streams, signal.layers_RG, torch.ones(len(rows))).loss) == 0.0


def test_it_holds_no_parameters() -> None:
    match = some_match()
    assert not any(isinstance(value, torch.nn.Module | torch.nn.Parameter) for value in vars(match).values())
