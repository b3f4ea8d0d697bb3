from __future__ import annotations

import pytest
import torch
from tiny_training import counting_documents, tiny_decoder
from torch.nn import functional

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.batch import IGNORED, Document, pack_documents
from spiritsafe.training.objective import SupervisedRows, TracesObjective


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
