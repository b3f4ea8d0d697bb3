from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from distil_reference import mixed, row_losses
from tiny_training import VOCAB, counting_documents, one_thread, tiny_decoder
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError, NumericalError
from spiritsafe.distil.hidden.match import HiddenResult
from spiritsafe.distil.losses.divergences import LossMix
from spiritsafe.distil.objective import DistilObjective
from spiritsafe.distil.signal import LiveTeacher, SampledRows, Signal, SignalPart
from spiritsafe.models.interface.batch import Document, PackedBatch, pack_documents
from spiritsafe.training import TracesObjective, TrainConfig, train

MIX = LossMix(forward_kl=0.5, reverse_kl=0.3, jsd=0.4, skew_forward_kl=0.2, skew_reverse_kl=0.1, ce=0.25)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def live(mix: LossMix, teacher: Any, **more: Any) -> DistilObjective:
    return DistilObjective(LiveTeacher(teacher), mix, **more)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("granite", [False, True])
def test_gradients_equal_the_naive_loss_over_all_logits(temperature: float, granite: bool) -> None:
    documents = [*counting_documents(5), Document(token_ids=(1, 2, 3), supervised=(False, True, True), weight=0.25)]
    batch = pack_documents(documents)
    more = {"logits_scaling": 2.0} if granite else {}
    teacher = tiny_decoder(seed=7, hidden=48, layers=3, **more)
    ours, theirs = tiny_decoder(**more), tiny_decoder(**more)
    mix = LossMix(**{**MIX.describe(), "temperature": temperature})
    result = live(mix, teacher, logits_bytes=8 * VOCAB * 7)(ours, batch, 40.0)

    rows = torch.nonzero(batch.weights_N > 0).squeeze(1)
    with torch.no_grad():
        teacher_logits = teacher.logits(teacher(batch))[rows]
    losses = row_losses(theirs.logits(theirs(batch))[rows], teacher_logits, batch.targets_N[rows], mix)
    loss = mixed(losses, batch.weights_N[rows] / 40.0, mix)
    loss.backward()
    assert float(result.loss) == pytest.approx(float(loss.detach()), rel=1e-4)
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=5e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")
    for name in ("kl", "reverse_kl", "jsd", "ce", "skew_kl", "skew_reverse_kl"):
        total, count = result.means[name]
        assert count == batch.num_supervised
        assert float(total) == pytest.approx(float(losses[name].sum().detach()), rel=1e-4)
    assert all(p.grad is None for p in teacher.parameters())


@pytest.mark.parametrize("part", ["forward_kl", "reverse_kl", "jsd"])
def test_the_student_approaches_its_teacher(part: str, tmp_path: Path) -> None:
    documents = counting_documents(60)
    teacher = tiny_decoder(seed=7)
    config = TrainConfig(
        learning_rate=1e-2, tokens_per_step=400, micro_batch_tokens=400, max_steps=30, compute_dtype="float32"
    )
    train(teacher, documents, TracesObjective(), config, directory=tmp_path / "teacher")
    before = [p.detach().clone() for p in teacher.parameters()]
    result = train(
        tiny_decoder(layers=1), documents, live(LossMix(**{part: 1.0}), teacher), config, directory=tmp_path / "student"
    )
    first, last = result.curve[0], result.curve[-1]
    name = "kl" if part == "forward_kl" else part
    assert last[name] < 0.6 * first[name]
    assert last["agreement"] > 1.5 * first["agreement"]
    assert 0 < last["teacher_entropy"] < 3.5
    assert last["ce"] < first["ce"]
    assert all(torch.equal(p, q) for p, q in zip(teacher.parameters(), before, strict=True))


def test_micro_batches_add_up_to_the_whole() -> None:
    documents = counting_documents(6)
    objective = live(MIX, tiny_decoder(seed=7))
    whole, split = tiny_decoder(), tiny_decoder()
    expected = objective(whole, pack_documents(documents), 50.0)
    results = [objective(split, pack_documents(documents[cut]), 50.0) for cut in (slice(0, 1), slice(1, 6))]
    assert sum(float(r.loss) for r in results) == pytest.approx(float(expected.loss), rel=1e-5)
    for mine, other in zip(split.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-6)
    for name, (total, count) in expected.means.items():
        assert sum(r.means[name][1] for r in results) == count
        assert sum(float(r.means[name][0]) for r in results) == pytest.approx(float(total), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(("student_vocab", "teacher_vocab"), [(VOCAB, VOCAB + 3), (VOCAB + 3, VOCAB)])
def test_vocabularies_of_other_sizes_need_the_callers_word(student_vocab: int, teacher_vocab: int) -> None:
    batch = pack_documents(counting_documents(3))
    student, teacher = tiny_decoder(vocab=student_vocab), tiny_decoder(vocab=teacher_vocab)
    with pytest.raises(CompatibilityError, match="vocabulary"):
        live(MIX, teacher)(student, batch, 1.0)
    assert float(live(MIX, teacher, same_tokenizer=True)(student, batch, 1.0).loss) > 0


@pytest.mark.parametrize("part", ["forward_kl", "jsd", "skew_forward_kl", "skew_reverse_kl"])
def test_padding_of_the_students_vocabulary_is_pushed_down(part: str) -> None:
    student, teacher = tiny_decoder(vocab=VOCAB + 3, tie_word_embeddings=False), tiny_decoder()
    batch = pack_documents(counting_documents(3))
    with torch.no_grad():
        before = student.logits(student(batch))[:, VOCAB:].logsumexp(1).mean()
    live(LossMix(**{part: 1.0}), teacher, same_tokenizer=True)(student, batch, float(batch.num_supervised))
    assert student.lm_head is not None
    with torch.no_grad():
        assert student.lm_head.weight.grad is not None
        student.lm_head.weight -= 0.1 * student.lm_head.weight.grad
        after = student.logits(student(batch))[:, VOCAB:].logsumexp(1).mean()
    assert after < before


def test_teacher_and_student_read_a_shared_prefix_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    prompt = (50, 51, 52, 53, 54, 55, 56, 57)
    documents = [
        Document(token_ids=(*prompt, *d.token_ids), supervised=(*(False for _ in prompt), *d.supervised))
        for d in counting_documents(6)
    ]
    teacher = tiny_decoder(seed=7)
    objective = live(MIX, teacher)
    assert objective.shares_prefixes
    plain, shared = tiny_decoder(), tiny_decoder()
    expected = objective(plain, pack_documents(documents), 50.0)
    result = objective(shared, pack_documents(documents, prefix_length=8), 50.0)
    assert float(result.loss) == pytest.approx(float(expected.loss), rel=1e-5)
    for mine, other in zip(shared.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-6)
    monkeypatch.setattr(type(teacher), "shares_prefixes", False)
    assert not live(MIX, teacher).shares_prefixes


class Split:
    """Signals of several teachers: each gets the rows that ``owner`` gives it; None gives a row to nobody."""

    shares_prefixes = True
    vocab_size = VOCAB

    def __init__(self, teachers: Sequence[Any], owner: Sequence[int | None], *, sampled: bool = False) -> None:
        self.teachers, self.owner, self.sampled = teachers, owner, sampled

    def describe(self) -> dict[str, Any]:
        return {"signal": "split"}

    def read(self, batch: PackedBatch, rows_R: Tensor, *, layers: Sequence[int] = ()) -> Signal:
        parts = []
        for number, teacher in enumerate(self.teachers):
            mine = [i for i in range(rows_R.numel()) if self.owner[i % len(self.owner)] == number]
            index = torch.tensor(mine, dtype=torch.int64)
            rows = LiveTeacher(teacher).read(batch, rows_R[index]).parts[0].rows
            if self.sampled:
                assert not isinstance(rows, SampledRows)
                logits = rows.hidden_RG @ rows.weight_UG.T
                probs = logits.softmax(1)
                ids = torch.arange(VOCAB).expand_as(logits).contiguous()
                entropy = torch.distributions.Categorical(probs=probs.clone()).entropy()
                rows = SampledRows(ids_RK=ids, probs_RK=probs.clone(), entropy_R=entropy)
            parts.append(SignalPart(index_S=index, rows=rows))
        return Signal(parts=tuple(parts))


def test_several_teachers_share_the_rows_of_a_batch_and_the_rest_gets_cross_entropy() -> None:
    batch = pack_documents(counting_documents(6))
    teachers = [tiny_decoder(seed=7), tiny_decoder(seed=8)]
    owner: list[int | None] = [0, 1, 0, None]
    ours, theirs = tiny_decoder(), tiny_decoder()
    result = DistilObjective(Split(teachers, owner), MIX)(ours, batch, 40.0)
    rows = torch.nonzero(batch.weights_N > 0).squeeze(1)
    logits, targets, weights = theirs.logits(theirs(batch))[rows], batch.targets_N[rows], batch.weights_N[rows] / 40.0
    loss = torch.zeros(())
    for number in (0, 1, None):
        index = torch.tensor([i for i in range(len(rows)) if owner[i % 4] == number])
        teacher = teachers[number or 0]
        with torch.no_grad():
            teacher_logits = teacher.logits(teacher(batch))[rows]
        mix = MIX if number is not None else LossMix(ce=MIX.ce)
        loss = loss + mixed(row_losses(logits[index], teacher_logits[index], targets[index], mix), weights[index], mix)
    loss.backward()
    assert float(result.loss) == pytest.approx(float(loss.detach()), rel=1e-4)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=5e-4, atol=2e-6)
    num_left = sum(owner[i % 4] is None for i in range(len(rows)))
    assert result.means["ce"][1] == len(rows)
    assert result.means["kl"][1] == len(rows) - num_left


def test_rows_without_a_teacher_need_cross_entropy_in_the_mixture() -> None:
    batch = pack_documents(counting_documents(3))
    objective = DistilObjective(Split([tiny_decoder(seed=7)], [0, None]), LossMix(forward_kl=1.0))
    with pytest.raises(CompatibilityError, match="says nothing"):
        objective(tiny_decoder(), batch, 1.0)


def test_two_teachers_of_one_row_are_refused() -> None:
    class Twice(Split):
        def read(self, batch: PackedBatch, rows_R: Tensor, *, layers: Sequence[int] = ()) -> Signal:
            signal = super().read(batch, rows_R)
            return Signal(parts=signal.parts + signal.parts)

    with pytest.raises(CompatibilityError, match="same row"):
        DistilObjective(Twice([tiny_decoder(seed=7)], [0]), MIX)(
            tiny_decoder(), pack_documents(counting_documents(3)), 1.0
        )


def test_a_complete_sample_equals_the_live_teacher() -> None:
    batch = pack_documents(counting_documents(4))
    teacher, mix = tiny_decoder(seed=7), LossMix(forward_kl=0.7, ce=0.3)
    exact, estimated = tiny_decoder(), tiny_decoder()
    expected = live(mix, teacher)(exact, batch, 30.0)
    result = DistilObjective(Split([teacher], [0], sampled=True), mix)(estimated, batch, 30.0)
    assert float(result.loss) == pytest.approx(float(expected.loss), rel=1e-4)
    for mine, other in zip(estimated.parameters(), exact.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=2e-6)


class StreamMatch:
    """Half the squared distance of the streams, annealed to nothing at half the run."""

    student_layers = (1, 0)
    teacher_layers = (2, 1)

    def __init__(self) -> None:
        self.weight = 0.5

    def at_step(self, step: int, num_steps: int) -> None:
        self.weight = 0.5 if step < num_steps // 2 else 0.0

    def describe(self) -> dict[str, Any]:
        return {"weight": 0.5}

    def match(self, student_RH: Sequence[Tensor], teacher_RG: Sequence[Tensor], weights_R: Tensor) -> HiddenResult:
        gaps = [student - teacher for student, teacher in zip(student_RH, teacher_RG, strict=True)]
        errors = torch.stack([gap.square().sum(1) / 2 for gap in gaps]).sum(0)
        return HiddenResult(
            loss=self.weight * (errors * weights_R).sum(),
            grads_RH=tuple(self.weight * gap * weights_R[:, None] for gap in gaps),
            sums={"hidden_error": (errors.sum(), errors.numel())},
        )


def test_hidden_states_join_the_one_backward_until_their_weight_is_gone() -> None:
    batch = pack_documents(counting_documents(5))
    teacher, ours, theirs = tiny_decoder(seed=7, layers=3), tiny_decoder(), tiny_decoder()
    match: Any = StreamMatch()
    objective = live(MIX, teacher, hidden=match)
    objective.at_step(0, 10)
    result = objective(ours, batch, 40.0)

    plain = live(MIX, teacher)(theirs, batch, 40.0)
    rows = torch.nonzero(batch.weights_N > 0).squeeze(1)
    _, streams = theirs.forward_with_layers(batch, (1, 0))
    with torch.no_grad():
        _, wanted = teacher.forward_with_layers(batch, (2, 1))
    errors = torch.stack([(s[rows] - w[rows]).square().sum(1) / 2 for s, w in zip(streams, wanted, strict=True)]).sum(0)
    extra = 0.5 * (errors * batch.weights_N[rows] / 40.0).sum()
    extra.backward()
    assert float(result.loss) == pytest.approx(float(plain.loss + extra.detach()), rel=1e-4)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=5e-4, atol=2e-6)
    assert float(result.means["hidden_error"][0]) == pytest.approx(float(errors.sum().detach()), rel=1e-4)

    objective.at_step(5, 10)
    assert "hidden_error" not in objective(ours, batch, 40.0).means
    assert objective.describe() != live(MIX, teacher).describe()


def test_description_names_the_teacher_and_the_formula() -> None:
    plain = live(LossMix(forward_kl=1.0), tiny_decoder())
    assert plain.describe() == live(LossMix(forward_kl=1.0), tiny_decoder(), logits_bytes=1).describe()
    json.dumps(plain.describe())
    others = [
        live(LossMix(forward_kl=1.0), tiny_decoder(seed=1)),
        live(LossMix(forward_kl=1.0, temperature=2.0), tiny_decoder()),
        live(LossMix(forward_kl=1.0, ce=0.1), tiny_decoder()),
        live(LossMix(jsd=1.0), tiny_decoder()),
        live(LossMix(jsd=1.0, jsd_beta=0.1), tiny_decoder()),
        live(LossMix(skew_forward_kl=1.0), tiny_decoder()),
        live(LossMix(skew_forward_kl=1.0, skew_alpha=0.2), tiny_decoder()),
    ]
    descriptions = [json.dumps(objective.describe()) for objective in (plain, *others)]
    assert len(set(descriptions)) == len(descriptions)


def test_a_nan_in_the_teacher_stops_the_run_with_the_batch_saved(tmp_path: Path) -> None:
    teacher = tiny_decoder(seed=7)
    with torch.no_grad():
        teacher.embedding.weight[3, 0] = torch.nan
    student = tiny_decoder()
    before = [p.detach().clone() for p in student.parameters()]
    config = TrainConfig(
        learning_rate=1e-2, tokens_per_step=100, micro_batch_tokens=100, max_steps=2, compute_dtype="float32"
    )
    with pytest.raises(NumericalError):
        train(student, counting_documents(20), live(MIX, teacher), config, directory=tmp_path)
    record = json.loads((tmp_path / "bad-step-000001.json").read_text("utf-8"))
    assert any(micro["loss"] == "nan" for micro in record["micro_batches"])
    assert all(torch.equal(p, q) for p, q in zip(student.parameters(), before, strict=True))


def test_a_batch_without_targets_is_refused() -> None:
    batch = pack_documents([Document(token_ids=(5, 6, 7), supervised=(True, False, False))])
    with pytest.raises(CompatibilityError, match="supervises no token"):
        live(MIX, tiny_decoder())(tiny_decoder(), batch, 1.0)
