from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from distil_reference import H, Problem, R, V, problem, reference
from tiny_training import OperatorLog
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.distil.losses import exact_head as loss_head
from spiritsafe.distil.losses.divergences import LossMix, mix_rows
from spiritsafe.distil.losses.exact_head import DistilResult, distil_head
from spiritsafe.distil.signal import TeacherRows

MIXES = {
    "ce": {"ce": 1.0},
    "forward": {"forward_kl": 1.0},
    "forward and ce": {"forward_kl": 0.7, "ce": 0.3},
    "reverse": {"reverse_kl": 2.0},
    "jsd": {"jsd": 1.0},
    "jsd 0.1": {"jsd": 1.0, "jsd_beta": 0.1},
    "jsd 0.9": {"jsd": 1.0, "jsd_beta": 0.9},
    "skew forward": {"skew_forward_kl": 1.0},
    "skew reverse": {"skew_reverse_kl": 1.0, "skew_alpha": 0.3},
    "all": {
        "ce": 0.3,
        "forward_kl": 0.7,
        "reverse_kl": 0.4,
        "jsd": 0.9,
        "jsd_beta": 0.2,
        "skew_forward_kl": 1.1,
        "skew_reverse_kl": 0.6,
        "skew_alpha": 0.15,
    },
}


def run(case: Problem, mix: LossMix, buffer: Tensor | None, **more: Any) -> DistilResult:
    return distil_head(
        case.hidden, case.weight, case.teacher, case.targets, case.weights, mix=mix, grad_weight_VH=buffer, **more
    )


CASES = list(itertools.product(MIXES, [1.0, 2.0, 0.5], [(V, V), (V, V + 9), (V + 9, V)], [1.0, 0.125]))


@pytest.mark.parametrize(("name", "temperature", "vocabs", "scale"), CASES)
def test_loss_and_gradients_equal_autograd_in_float64(
    name: str, temperature: float, vocabs: tuple[int, int], scale: float
) -> None:
    case = problem(torch.float64, vocab=vocabs[0], teacher_vocab=vocabs[1])
    mix = LossMix(**MIXES[name], temperature=temperature)
    loss, grad_hidden, grad_weight, rows = reference(case, mix, scale)
    for logits_bytes in (None, 2 * 8 * V * 5):
        buffer = torch.ones_like(case.weight)
        result = run(case, mix, buffer, scale=scale, logits_bytes=logits_bytes)
        torch.testing.assert_close(result.loss, loss, rtol=1e-11, atol=1e-12)
        torch.testing.assert_close(result.grad_hidden_RH, grad_hidden, rtol=1e-9, atol=1e-11)
        torch.testing.assert_close(buffer, 1.0 + grad_weight, rtol=1e-9, atol=1e-11)
        for measure, (total, count) in result.sums.items():
            if measure in rows:
                assert count == R
                torch.testing.assert_close(total, rows[measure].sum(), rtol=1e-11, atol=1e-12)


def test_what_is_said_of_both_models() -> None:
    case = problem(torch.float64, rows=20)
    result = run(case, LossMix(forward_kl=1.0), None)
    teacher_logits = case.teacher.hidden_RG @ case.teacher.weight_UG.T * case.teacher.scale
    entropy = torch.distributions.Categorical(logits=teacher_logits).entropy()
    logits = case.hidden @ case.weight.T
    assert set(result.sums) == {"kl", "ce", "teacher_entropy", "agreement"}
    assert float(result.sums["teacher_entropy"][0]) == pytest.approx(float(entropy.sum()))
    assert int(result.sums["agreement"][0]) == int((logits.argmax(1) == teacher_logits.argmax(1)).sum())
    warm = run(case, LossMix(forward_kl=1.0, temperature=2.0), None)
    assert "ce" not in warm.sums
    entropy = torch.distributions.Categorical(logits=teacher_logits / 2).entropy()
    assert float(warm.sums["teacher_entropy"][0]) == pytest.approx(float(entropy.sum()))
    named = {"kl", "ce", "reverse_kl", "jsd", "skew_kl", "skew_reverse_kl", "teacher_entropy", "agreement"}
    assert set(run(case, LossMix(**MIXES["all"]), None).sums) == named


@pytest.mark.parametrize("name", MIXES)
def test_bfloat16_stays_near_the_exact_gradient_and_accumulates_in_float32(name: str) -> None:
    case = problem(torch.bfloat16)
    mix = LossMix(**MIXES[name])
    loss, grad_hidden, grad_weight, _ = reference(case, mix, 1.0)
    for logits_bytes in (None, 2 * 10 * V * 4):
        buffer = torch.zeros(V, H)
        result = run(case, mix, buffer, logits_bytes=logits_bytes)
        assert result.grad_hidden_RH.dtype == torch.bfloat16
        assert float(result.loss) == pytest.approx(float(loss), rel=1e-2)
        assert float((result.grad_hidden_RH.double() - grad_hidden).norm() / grad_hidden.norm()) < 0.03
        assert float((buffer.double() - grad_weight).norm() / grad_weight.norm()) < 0.03


@pytest.mark.parametrize("name", ["forward", "all"])
def test_a_teacher_in_half_precision_beside_a_student_in_float32_is_only_rounded(name: str) -> None:
    case, mix = problem(torch.float32), LossMix(**MIXES[name])
    given = case.teacher
    near = TeacherRows(hidden_RG=given.hidden_RG.bfloat16(), weight_UG=given.weight_UG.bfloat16(), scale=given.scale)
    wide = TeacherRows(hidden_RG=near.hidden_RG.float(), weight_UG=near.weight_UG.float(), scale=given.scale)
    results, buffers = [], []
    for teacher in (near, wide):  # the same numbers, held in two types
        buffers.append(torch.zeros(V, H))
        results.append(run(dataclasses.replace(case, teacher=teacher), mix, buffers[-1]))
    assert results[0].grad_hidden_RH.dtype == torch.float32
    torch.testing.assert_close(results[0].loss, results[1].loss, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(results[0].grad_hidden_RH, results[1].grad_hidden_RH, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(buffers[0], buffers[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("name", MIXES)
def test_four_products_whatever_the_mixture_and_three_with_a_frozen_head(
    name: str, temperature: float, dtype: torch.dtype
) -> None:
    case = problem(dtype)
    for buffer, expected in ((torch.zeros(V, H), 4), (None, 3)):
        with OperatorLog() as log:
            run(case, LossMix(**MIXES[name], temperature=temperature), buffer)
        assert len(log.products) == expected


class AllocationLog(TorchDispatchMode):
    """Counts new storages by size."""

    def __init__(self, *known: Tensor) -> None:
        super().__init__()
        self.counts: Counter[int] = Counter()
        self._seen = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage() for tensor in known}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, list | tuple) else [out]:
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage.data_ptr() not in self._seen:
                    self._seen[storage.data_ptr()] = storage  # kept, so that no address is used twice
                    self.counts[storage.nbytes()] += 1
        return out


@pytest.mark.parametrize("name", ["forward and ce", "all"])
def test_two_large_matrices_however_many_rows_and_losses(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    vocab = 2000
    monkeypatch.setattr(loss_head, "_BLOCK_BYTES", 2 * 4 * vocab)  # two rows
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    for rows in (40, 120):
        case, buffer = problem(torch.float32, vocab=vocab, teacher_vocab=vocab, rows=rows), torch.zeros(vocab, H)
        inputs = (case.hidden, case.weight, case.teacher.hidden_RG, case.teacher.weight_UG, buffer)
        with AllocationLog(*inputs) as log:
            run(case, LossMix(**MIXES[name], temperature=2.0), buffer, logits_bytes=2 * 4 * vocab * 20)
        large = {size: count for size, count in log.counts.items() if size > 3 * 4 * vocab}
        assert large == {20 * 4 * vocab: 2}


def test_half_precision_keeps_to_the_budget() -> None:
    case = problem(torch.bfloat16, rows=400)
    budget = 20 * V * 10
    with OperatorLog() as log:
        run(case, LossMix(forward_kl=1.0), None, logits_bytes=budget)
    assert log.largest_bytes <= max(budget // 2, 400 * H * 2, 400 * 4 * 4)


@pytest.mark.parametrize("name", [name for name, weights in MIXES.items() if "ce" not in weights])
def test_an_equal_teacher_gives_exactly_nothing(name: str) -> None:
    case = problem(torch.float32)
    case = Problem(
        hidden=case.hidden,
        weight=case.weight,
        teacher=TeacherRows(hidden_RG=case.hidden, weight_UG=case.weight),
        targets=case.targets,
        weights=case.weights,
    )
    buffer = torch.zeros(V, H)
    result = run(case, LossMix(**MIXES[name], temperature=1.5), buffer)
    assert float(result.loss) == 0.0
    assert torch.count_nonzero(result.grad_hidden_RH) == 0
    assert torch.count_nonzero(buffer) == 0
    assert int(result.sums["agreement"][0]) == R


def test_a_tied_head_adds_to_the_embeddings_gradient() -> None:
    case = problem(torch.float64)
    mix = LossMix(**MIXES["all"])
    embedding = torch.nn.Parameter(case.weight.clone())
    embedding.grad = torch.full_like(embedding, 0.25)
    run(case, mix, embedding.grad)
    torch.testing.assert_close(embedding.grad, 0.25 + reference(case, mix, 1.0)[2], rtol=1e-9, atol=1e-11)


def test_rows_cut_into_calls_add_up() -> None:
    case = problem(torch.float64)
    mix = LossMix(**MIXES["all"], temperature=2.0)
    whole_buffer, cut_buffer = torch.zeros(V, H, dtype=torch.float64), torch.zeros(V, H, dtype=torch.float64)
    whole = run(case, mix, whole_buffer)
    parts = []
    for span in (slice(0, 1), slice(1, 20), slice(20, R)):
        teacher = TeacherRows(
            hidden_RG=case.teacher.hidden_RG[span], weight_UG=case.teacher.weight_UG, scale=case.teacher.scale
        )
        part = Problem(
            hidden=case.hidden[span],
            weight=case.weight,
            teacher=teacher,
            targets=case.targets[span],
            weights=case.weights[span],
        )
        parts.append(run(part, mix, cut_buffer))
    torch.testing.assert_close(torch.stack([part.loss for part in parts]).sum(), whole.loss)
    torch.testing.assert_close(torch.cat([part.grad_hidden_RH for part in parts]), whole.grad_hidden_RH)
    torch.testing.assert_close(cut_buffer, whole_buffer)
    for name, (total, count) in whole.sums.items():
        assert sum(part.sums[name][1] for part in parts) == count
        torch.testing.assert_close(torch.stack([part.sums[name][0] for part in parts]).sum(), total)


@pytest.fixture
def _forgotten() -> Iterator[None]:
    yield
    loss_head._compiled.cache_clear()
    torch.compiler.reset()


@pytest.mark.usefixtures("_forgotten")
@pytest.mark.parametrize(("dtype", "name"), [(torch.float32, "all"), (torch.bfloat16, "forward and ce")])
def test_the_compiled_row_mathematics_is_one_graph_for_all_numbers_of_rows(
    dtype: torch.dtype, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    graphs: list[Any] = []

    def backend(graph: Any, inputs: Any) -> Any:
        graphs.append(graph)
        return graph

    monkeypatch.setattr(loss_head, "_backend", lambda device: backend)
    mix = LossMix(**MIXES[name], temperature=1.5)
    for rows in (37, 36, 11):
        case, compiled, plain = problem(dtype, vocab=V + 2, rows=rows), torch.zeros(V + 2, H), torch.zeros(V + 2, H)
        result = run(case, mix, compiled, logits_bytes=2 * 10 * V * 5)
        with monkeypatch.context() as patch:
            patch.setattr(loss_head, "_backend", lambda device: None)
            expected = run(case, mix, plain, logits_bytes=2 * 10 * V * 5)
        torch.testing.assert_close(result.loss, expected.loss)
        torch.testing.assert_close(compiled, plain, rtol=1e-4, atol=1e-5)
    assert len(graphs) == 1


@pytest.mark.usefixtures("_forgotten")
def test_the_row_mathematics_survives_functionalisation() -> None:
    compiled = torch.compile(mix_rows, backend="aot_eager", fullgraph=True)
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(9, V + 3, generator=generator), torch.randn(9, V, generator=generator)
    targets, factors = torch.randint(V, (9, 1), generator=generator), torch.rand(9, 1, generator=generator)
    mix = LossMix(**MIXES["all"], temperature=2.0)
    expected, in_place = torch.empty_like(student), student.clone()
    measures = mix_rows(student, teacher, targets, factors, expected, mix, 0.5, 1.25)
    torch.testing.assert_close(compiled(in_place, teacher, targets, factors, in_place, mix, 0.5, 1.25), measures)
    torch.testing.assert_close(in_place, expected)


@pytest.mark.parametrize("change", ["rows", "width"])
def test_a_teacher_that_does_not_fit_is_refused(change: str) -> None:
    case = problem(torch.float32)
    hidden = case.teacher.hidden_RG
    broken = TeacherRows(hidden_RG=hidden[1:] if change == "rows" else hidden[:, 1:], weight_UG=case.teacher.weight_UG)
    with pytest.raises(CompatibilityError, match="Teacher hidden states"):
        distil_head(
            case.hidden,
            case.weight,
            broken,
            case.targets,
            case.weights,
            mix=LossMix(forward_kl=1.0),
            grad_weight_VH=None,
        )
