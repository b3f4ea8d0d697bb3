from __future__ import annotations

import pytest
import torch

from spiritsafe.models.batch import IGNORED, Document, pack_documents, shared_prefix


def document(ids: tuple[int, ...], prompt: int, weight: float = 1.0) -> Document:
    return Document(token_ids=ids, supervised=tuple(i >= prompt for i in range(len(ids))), weight=weight)


def test_targets_are_successors_in_the_same_document() -> None:
    batch = pack_documents([document((5, 6, 7), 1), document((8, 9), 1, weight=0.5)])
    assert batch.token_ids_N.tolist() == [5, 6, 7, 8, 9]
    assert batch.position_ids_N.tolist() == [0, 1, 2, 0, 1]
    assert batch.targets_N.tolist() == [6, 7, IGNORED, 9, IGNORED]
    assert batch.weights_N.tolist() == [1.0, 1.0, 0.0, 0.5, 0.0]
    assert batch.lengths == (3, 2)
    assert (batch.num_tokens, batch.num_supervised) == (5, 3)


def test_prompts_are_not_targets() -> None:
    batch = pack_documents([document((1, 2, 3, 4), 3)])
    assert batch.targets_N.tolist() == [IGNORED, IGNORED, 4, IGNORED]


def test_a_shared_prefix_is_held_once() -> None:
    documents = [document((1, 2, 3, 4, 5), 3), document((1, 2, 9, 8), 3)]
    assert shared_prefix(documents) == 2
    batch = pack_documents(documents, prefix_length=2)
    assert batch.token_ids_N.tolist() == [1, 2, 3, 4, 5, 9, 8]
    assert batch.position_ids_N.tolist() == [0, 1, 2, 3, 4, 2, 3]
    assert batch.targets_N.tolist() == [IGNORED, IGNORED, 4, 5, IGNORED, 8, IGNORED]
    assert (batch.lengths, batch.prefix_length) == ((2, 3, 2), 2)
    with pytest.raises(ValueError, match="do not share"):
        pack_documents(documents, prefix_length=3)


def test_one_document_shares_nothing() -> None:
    assert shared_prefix([document((1, 2, 3), 2)]) == 0


def test_all_move_together() -> None:
    batch = pack_documents([document((1, 2), 1)]).to("meta")
    tensors = (batch.token_ids_N, batch.position_ids_N, batch.targets_N, batch.weights_N)
    assert {tensor.device for tensor in tensors} == {torch.device("meta")}


@pytest.mark.parametrize(
    "documents", [[], [Document(token_ids=(), supervised=())], [Document(token_ids=(1, 2), supervised=(True,))]]
)
def test_nonsense_is_refused(documents: list[Document]) -> None:
    with pytest.raises(ValueError, match="document"):
        pack_documents(documents)
