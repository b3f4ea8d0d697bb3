from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.distill import ForwardKLObjective, TracesObjective
from spiritsafe.models.batch import IGNORED, Document, pack_documents
from spiritsafe.training import TrainConfig, train
from tiny_training import VOCAB, counting_documents, one_thread, tiny_decoder


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.mark.parametrize(("temperature", "ce_share"), [(1.0, 0.0), (2.0, 0.25)])
def test_gradients_equal_the_naive_loss_over_all_logits(temperature: float, ce_share: float) -> None:
    documents = [*counting_documents(5), Document(token_ids=(1, 2, 3), supervised=(False, True, True), weight=0.25)]
    batch = pack_documents(documents)
    teacher = tiny_decoder(seed=7, hidden=48, layers=3)
    ours, theirs = tiny_decoder(), tiny_decoder()
    objective = ForwardKLObjective(teacher, temperature=temperature, ce_share=ce_share, logits_bytes=12 * VOCAB * 7)
    result = objective(ours, batch, 40.0)

    logits = theirs.logits(theirs(batch))
    with torch.no_grad():
        log_p = torch.log_softmax(teacher.logits(teacher(batch)) / temperature, 1)
    kl_N = (log_p.exp() * (log_p - torch.log_softmax(logits / temperature, 1))).sum(1) * (batch.targets_N != IGNORED)
    ce_N = functional.cross_entropy(logits, batch.targets_N, ignore_index=IGNORED, reduction="none")
    loss = ((1 - ce_share) * temperature**2 * kl_N + ce_share * ce_N) @ batch.weights_N / 40.0
    loss.backward()
    assert float(result.loss) == pytest.approx(float(loss.detach()), rel=1e-4)
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=5e-4, atol=2e-6, msg=lambda m, n=name: f"{n}: {m}")
    total, count = result.means["kl"]
    assert count == batch.num_supervised
    assert float(total) == pytest.approx(float(kl_N.sum().detach()), rel=1e-4)
    assert all(p.grad is None for p in teacher.parameters())


def test_the_student_approaches_its_teacher(tmp_path: Path) -> None:
    documents = counting_documents(60)
    teacher = tiny_decoder(seed=7)
    config = TrainConfig(
        learning_rate=1e-2, tokens_per_step=400, micro_batch_tokens=400, max_steps=40, compute_dtype="float32"
    )
    train(teacher, documents, TracesObjective(), config, directory=tmp_path / "teacher")
    before = [p.detach().clone() for p in teacher.parameters()]
    objective = ForwardKLObjective(teacher)
    result = train(tiny_decoder(layers=1), documents, objective, config, directory=tmp_path / "student")
    first, last = result.curve[0], result.curve[-1]
    assert last["kl"] < 0.25 * first["kl"]
    assert last["agreement"] > 2 * first["agreement"]
    assert 0 < last["teacher_entropy"] < 3.0
    assert last["ce"] < first["ce"]
    assert all(torch.equal(p, q) for p, q in zip(teacher.parameters(), before, strict=True))


@pytest.mark.parametrize(("student_vocab", "teacher_vocab"), [(VOCAB, VOCAB + 3), (VOCAB + 3, VOCAB)])
def test_vocabularies_of_other_sizes_need_the_callers_word(student_vocab: int, teacher_vocab: int) -> None:
    batch = pack_documents(counting_documents(3))
    student, teacher = tiny_decoder(vocab=student_vocab), tiny_decoder(vocab=teacher_vocab)
    with pytest.raises(CompatibilityError, match="vocabulary"):
        ForwardKLObjective(teacher)(student, batch, 1.0)
    assert float(ForwardKLObjective(teacher, same_tokenizer=True)(student, batch, 1.0).loss) > 0


def test_padding_of_the_students_vocabulary_is_pushed_down() -> None:
    student, teacher = tiny_decoder(vocab=VOCAB + 3, tie_word_embeddings=False), tiny_decoder()
    batch = pack_documents(counting_documents(3))
    with torch.no_grad():
        before = student.logits(student(batch))[:, VOCAB:].logsumexp(1).mean()
    ForwardKLObjective(teacher, same_tokenizer=True)(student, batch, float(batch.num_supervised))
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
    objective = ForwardKLObjective(teacher, ce_share=0.5)
    assert objective.shares_prefixes
    plain, shared = tiny_decoder(), tiny_decoder()
    expected = objective(plain, pack_documents(documents), 50.0)
    result = objective(shared, pack_documents(documents, prefix_length=8), 50.0)
    assert float(result.loss) == pytest.approx(float(expected.loss), rel=1e-5)
    for mine, other in zip(shared.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=1e-3, atol=1e-6)
    monkeypatch.setattr(type(teacher), "shares_prefixes", False)
    assert not ForwardKLObjective(teacher).shares_prefixes


def test_description_names_the_teacher_and_the_formula() -> None:
    plain = ForwardKLObjective(tiny_decoder())
    assert plain.describe() == ForwardKLObjective(tiny_decoder(), logits_bytes=1).describe()
    others = [
        ForwardKLObjective(tiny_decoder(seed=1)),
        ForwardKLObjective(tiny_decoder(), temperature=2.0),
        ForwardKLObjective(tiny_decoder(), ce_share=0.1),
    ]
    assert all(other.describe() != plain.describe() for other in others)


@pytest.mark.parametrize(
    "wrong", [{"temperature": 0.0}, {"temperature": float("nan")}, {"ce_share": 1.0}, {"ce_share": -0.1}]
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(RecipeError):
        ForwardKLObjective(tiny_decoder(), **wrong)  # type: ignore[arg-type]  # one float keyword


def test_a_batch_without_targets_is_refused() -> None:
    batch = pack_documents([Document(token_ids=(5, 6, 7), supervised=(True, False, False))])
    with pytest.raises(CompatibilityError, match="supervises no token"):
        ForwardKLObjective(tiny_decoder())(tiny_decoder(), batch, 1.0)
