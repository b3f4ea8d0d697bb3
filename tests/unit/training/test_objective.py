from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from stranger_models import write_stranger
from tiny_training import counting_documents, tiny_decoder
from torch.nn import functional

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.interface.batch import IGNORED, Document, pack_documents
from spiritsafe.models.interface.language_model import LanguageModel
from spiritsafe.models.transformers_backend.model import TransformersModel
from spiritsafe.training.objective import SupervisedRows, TracesObjective, learn_micro_batch


@pytest.mark.parametrize("more", [{}, {"tie_word_embeddings": False}, {"logits_scaling": 8.0}])
def test_traces_give_the_gradients_of_plain_cross_entropy(more: dict[str, object]) -> None:
    documents = [*counting_documents(5), Document(token_ids=(1, 2, 3), supervised=(False, True, True), weight=0.25)]
    batch = pack_documents(documents)
    ours, theirs = tiny_decoder(**more), tiny_decoder(**more)
    result = TracesObjective(logits_bytes=4 * 61 * 7)(ours, batch, 40.0)
    logits = theirs.logits(theirs(batch))
    loss_N = functional.cross_entropy(logits, batch.targets_N, ignore_index=IGNORED, reduction="none")
    loss = (loss_N * batch.weights_N).sum() / 40.0
    loss.backward()
    assert float(result.loss) == pytest.approx(float(loss.detach()), rel=1e-5)
    for (name, mine), other in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, other.grad, rtol=2e-4, atol=1e-6, msg=lambda m, n=name: f"{n}: {m}")
    total, count = result.means["ce"]
    assert count == batch.num_supervised
    assert float(total) == pytest.approx(float(loss_N.sum().detach()), rel=1e-5)


def test_rows_go_out_and_back() -> None:
    batch = pack_documents(
        [
            Document(token_ids=(5, 6, 7), supervised=(False, False, True)),
            Document(token_ids=(8, 9), supervised=(True, True), weight=3.0),
        ]
    )
    rows = SupervisedRows.of(batch, 2.0)
    assert rows.rows_R.tolist() == [1, 3]
    assert rows.targets_R.tolist() == [7, 9]
    assert rows.weights_R.tolist() == [0.5, 1.5]
    assert rows.scatter(torch.tensor([[1.0], [2.0]])).squeeze(1).tolist() == [0.0, 1.0, 0.0, 2.0, 0.0]


def test_a_batch_without_targets_is_refused() -> None:
    batch = pack_documents([Document(token_ids=(5, 6, 7), supervised=(True, False, False))])
    with pytest.raises(CompatibilityError, match="supervises no token"):
        TracesObjective()(tiny_decoder(), batch, 1.0)


EXPERTS: dict[str, dict[str, Any]] = {
    "mixtral": {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen3_moe": {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "head_dim": 16},
    "olmoe": {"num_experts": 4, "num_experts_per_tok": 1},
}


def mixed_documents(*lengths: int) -> list[Document]:
    """Of such lengths; the first third of each is a prompt."""
    rng = torch.Generator().manual_seed(5)
    return [
        Document(
            token_ids=tuple(torch.randint(0, 250, (length,), generator=rng).tolist()),
            supervised=tuple(place >= length // 3 for place in range(length)),
        )
        for length in lengths
    ]


def by_transformers(model: Any, documents: list[Document]) -> tuple[torch.Tensor, torch.Tensor]:
    """The loss and the auxiliary loss of its own forward, padded to one rectangle."""
    longest = max(len(document.token_ids) for document in documents)
    ids, labels, mask = (torch.full((len(documents), longest), fill) for fill in (0, -100, 0))
    for row, document in enumerate(documents):
        length = len(document.token_ids)
        ids[row, :length], mask[row, :length] = torch.tensor(document.token_ids), 1
        learnt = torch.tensor(document.supervised)
        labels[row, :length] = torch.where(learnt, ids[row, :length], -100)
    output = model(input_ids=ids, attention_mask=mask, labels=labels, output_router_logits=True, use_cache=False)
    return output.loss, output.aux_loss


def gradients_of(model: LanguageModel) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("kind", list(EXPERTS))
def test_experts_are_balanced_as_transformers_balances_them(kind: str, checkpointing: bool, tmp_path: Path) -> None:
    directory = write_stranger(tmp_path, kind, router_aux_loss_coef=3.0, initializer_range=0.2, **EXPERTS[kind])
    model = TransformersModel(directory, dtype=torch.float32, device="cpu").train()
    model.activation_checkpointing = checkpointing
    documents = mixed_documents(90, 11, 12, 200)  # several rectangles
    micros = [documents[:3], documents[3:]]
    batches = [pack_documents(micro) for micro in micros]
    total = float(sum(batch.num_supervised for batch in batches))
    results = [learn_micro_batch(TracesObjective(), model, batch, total) for batch in batches]
    ours = gradients_of(model)
    model.zero_grad()
    balance = 0.0
    expected = torch.zeros(())
    for micro, batch in zip(micros, batches, strict=True):
        share = batch.num_supervised / total
        loss, auxiliary = by_transformers(model.model, micro)
        (loss * share).backward()
        expected, balance = expected + loss.detach() * share, balance + float(auxiliary.detach()) * share
    theirs = gradients_of(model)
    assert float(sum(result.loss for result in results)) == pytest.approx(float(expected), rel=1e-5)
    sums = [result.means["balance_loss"] for result in results]
    told = sum(float(loss) for loss, _ in sums) / sum(count for _, count in sums)
    assert told == pytest.approx(balance, rel=1e-5)
    assert ours.keys() == theirs.keys()
    for name, mine in ours.items():
        torch.testing.assert_close(mine, theirs[name], rtol=1e-4, atol=2e-5, msg=lambda said, n=name: f"{n}: {said}")
    routers = [name for name in ours if name.endswith(("gate.weight", "router.weight"))]
    assert len(routers) == 2


def test_passes_that_weigh_nothing_are_not_balanced(tmp_path: Path) -> None:
    directory = write_stranger(tmp_path, "mixtral", **EXPERTS["mixtral"])
    model = TransformersModel(directory, dtype=torch.float32, device="cpu").train()
    idle = [Document(token_ids=(1, 2, 3), supervised=(False, True, True), weight=0.0)]
    result = learn_micro_batch(TracesObjective(), model, pack_documents(idle), 10.0)
    assert "balance_loss" not in result.means
    assert all(float(gradient.abs().max()) == 0.0 for gradient in gradients_of(model).values())
    with torch.no_grad():
        model(pack_documents(mixed_documents(9)))
    assert not model.balance.is_wanted
