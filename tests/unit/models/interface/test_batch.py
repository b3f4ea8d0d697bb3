from __future__ import annotations

import pytest
import torch

from spiritsafe.models.interface.batch import (
    IGNORED,
    Document,
    DrawnCompletion,
    pack_documents,
    shared_prefix,
    with_filler,
)


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
    batch = pack_documents([drawn((1, 2), 1, advantage=1.0)]).to("meta")
    assert batch.drawn is not None
    tensors = [value for holder in (batch, batch.drawn) for value in vars(holder).values() if torch.is_tensor(value)]
    assert len(tensors) == 10
    assert {tensor.device for tensor in tensors} == {torch.device("meta")}


def drawn(ids: tuple[int, ...], prompt: int, *, advantage: float, logprobs: tuple[float, ...] = ()) -> Document:
    flags = tuple(i >= prompt for i in range(len(ids)))
    return Document(
        token_ids=ids, supervised=flags, drawn=DrawnCompletion(logprobs=logprobs, advantage=advantage, group=len(ids))
    )


def test_what_is_known_of_a_draw_stands_where_its_token_is_predicted() -> None:
    documents = [
        drawn((5, 6, 7), 1, advantage=0.5, logprobs=(-1.0, -2.0)),
        drawn((8, 9, 4), 2, advantage=-1.5),
        Document(
            token_ids=(1, 2, 3, 4),
            supervised=(True, True, False, True),  # nothing predicts the first token
            drawn=DrawnCompletion(logprobs=(-3.0, -4.0), advantage=2.0, group=0),
        ),
    ]
    found = pack_documents(documents).drawn
    assert found is not None
    assert found.logprobs_N.tolist() == [-1.0, -2.0, 0.0, 0.0, 0.0, 0.0, -3.0, 0.0, -4.0, 0.0]
    assert found.is_known_N.tolist() == [True, True, False, False, False, False, True, False, True, False]
    assert found.advantages_N.tolist() == [0.5, 0.5, 0.0, 0.0, -1.5, 0.0, 2.0, 0.0, 2.0, 0.0]
    assert found.documents_N.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    assert (found.logprobs_N.dtype, found.advantages_N.dtype) == (torch.float32, torch.float32)


def test_a_shared_prefix_belongs_to_no_document() -> None:
    documents = [
        drawn((1, 2, 3, 4, 5), 3, advantage=1.0, logprobs=(-1.0, -2.0)),
        drawn((1, 2, 3, 8), 3, advantage=-1.0, logprobs=(-3.0,)),
    ]
    batch = pack_documents(documents, prefix_length=2)
    assert batch.drawn is not None
    assert batch.targets_N.tolist() == [IGNORED, IGNORED, 4, 5, IGNORED, 8, IGNORED]
    assert batch.drawn.logprobs_N.tolist() == [0.0, 0.0, -1.0, -2.0, 0.0, -3.0, 0.0]
    assert batch.drawn.is_known_N.tolist() == [False, False, True, True, False, True, False]
    assert batch.drawn.advantages_N.tolist() == [0.0, 0.0, 1.0, 1.0, 0.0, -1.0, 0.0]
    assert batch.drawn.documents_N.tolist() == [-1, -1, 0, 0, 0, 1, 1]


def test_ratios_are_taken_to_the_trainers_own_where_it_has_one() -> None:
    own = DrawnCompletion(logprobs=(-1.0, -2.0), old=(-1.5, -2.5), advantage=1.0, group=0)
    documents = [
        Document(token_ids=(5, 6, 7), supervised=(False, True, True), drawn=own),
        drawn((5, 6, 7), 2, advantage=1.0, logprobs=(-3.0,)),
        drawn((8, 9), 1, advantage=1.0),
    ]
    found = pack_documents(documents).drawn
    assert found is not None
    assert found.logprobs_N.tolist() == [-1.0, -2.0, 0.0, 0.0, -3.0, 0.0, 0.0, 0.0]
    assert found.old_N.tolist() == [-1.5, -2.5, 0.0, 0.0, -3.0, 0.0, 0.0, 0.0]
    assert found.has_old_N.tolist() == [True, True, False, False, True, False, False, False]
    short = DrawnCompletion(old=(-1.5,), advantage=1.0, group=0)
    with pytest.raises(ValueError, match="1 log-probabilities for 2 tokens"):
        pack_documents([Document(token_ids=(5, 6, 7), supervised=(False, True, True), drawn=short)])


def test_documents_that_nobody_drew_say_nothing_of_it() -> None:
    assert pack_documents([document((1, 2), 1)]).drawn is None


def test_drawn_documents_are_all_drawn_and_have_a_number_for_each_token() -> None:
    with pytest.raises(ValueError, match="some were not"):
        pack_documents([drawn((1, 2), 1, advantage=1.0), document((1, 2), 1)])
    with pytest.raises(ValueError, match="1 log-probabilities for 2 tokens"):
        pack_documents([drawn((1, 2, 3), 1, advantage=1.0, logprobs=(-1.0,))])


@pytest.mark.parametrize(
    "documents", [[], [Document(token_ids=(), supervised=())], [Document(token_ids=(1, 2), supervised=(True,))]]
)
def test_nonsense_is_refused(documents: list[Document]) -> None:
    with pytest.raises(ValueError, match="document"):
        pack_documents(documents)


def test_a_filler_predicts_nothing_and_leaves_a_whole_multiple_alone() -> None:
    document = Document(token_ids=(5, 6, 7), supervised=(False, True, True))
    batch = pack_documents([document])
    filled = with_filler(batch, 8)
    assert filled.lengths == (3, 5)
    assert filled.num_tokens == 8
    assert filled.num_supervised == batch.num_supervised
    assert filled.weights_N.tolist() == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert with_filler(filled, 8) is filled
