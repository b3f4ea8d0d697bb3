from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_training import counting_documents, tiny_decoder

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.core.seeds import derive_seed
from spiritsafe.models.interface.batch import Document, DrawnCompletion
from spiritsafe.training.config import TrainConfig
from spiritsafe.training.data.packing import (
    StepPlan,
    check_documents,
    num_supervised,
    pack_micro_batch,
    plan_epoch,
    share_documents,
    split_micro_batches,
    split_step,
)

LENGTHS = st.lists(st.integers(1, 300), min_size=1, max_size=80)


def make(**changes: object) -> TrainConfig:
    return TrainConfig.model_validate(
        {"learning_rate": 1.0, "tokens_per_step": 100, "micro_batch_tokens": 100} | changes
    )


@given(LENGTHS, st.integers(1, 2000), st.integers(0, 5), st.integers(0, 3))
@settings(max_examples=60)
def test_each_document_is_in_exactly_one_step_of_an_epoch(
    lengths: list[int], tokens_per_step: int, seed: int, epoch: int
) -> None:
    steps = plan_epoch(lengths, tokens_per_step=tokens_per_step, seed=seed, epoch=epoch)
    assert Counter(index for step in steps for index in step) == Counter(range(len(lengths)))
    assert all(steps)
    assert steps == plan_epoch(lengths, tokens_per_step=tokens_per_step, seed=seed, epoch=epoch)


@given(LENGTHS, st.integers(1, 2000), st.integers(0, 5), st.integers(0, 3))
@settings(max_examples=60)
def test_steps_are_those_that_a_loop_in_python_would_make(
    lengths: list[int], tokens_per_step: int, seed: int, epoch: int
) -> None:
    order = list(range(len(lengths)))
    random.Random(derive_seed(seed, "epoch", epoch)).shuffle(order)
    num_steps = max(1, round(sum(lengths) / tokens_per_step))
    wanted: list[list[int]] = [[] for _ in range(num_steps)]
    before = 0
    for index in order:
        place = int((before + lengths[index] / 2) * num_steps / sum(lengths))
        wanted[min(num_steps - 1, place)].append(index)
        before += lengths[index]
    steps = plan_epoch(np.array(lengths), tokens_per_step=tokens_per_step, seed=seed, epoch=epoch)
    assert steps == [tuple(step) for step in wanted if step]
    assert all(type(index) is int for step in steps for index in step)


@given(LENGTHS, st.integers(1, 2000))
@settings(max_examples=60)
def test_steps_are_even(lengths: list[int], tokens_per_step: int) -> None:
    steps = plan_epoch(lengths, tokens_per_step=tokens_per_step, seed=0, epoch=0)
    aim = sum(lengths) / max(1, round(sum(lengths) / tokens_per_step))
    for step in steps:
        assert sum(lengths[index] for index in step) <= aim + max(lengths)


@given(LENGTHS, st.integers(300, 2000))
@settings(max_examples=60)
def test_micro_batches_hold_each_document_once_within_the_budget_longest_first(lengths: list[int], budget: int) -> None:
    batches = split_micro_batches(range(len(lengths)), lengths, micro_batch_tokens=budget)
    flat = [index for batch in batches for index in batch]
    assert sorted(flat) == list(range(len(lengths)))
    assert all(sum(lengths[index] for index in batch) <= budget for batch in batches)
    assert [lengths[index] for index in flat] == sorted(lengths, reverse=True)


def test_epochs_and_seeds_shuffle_differently() -> None:
    lengths = [10] * 40
    orders = {
        tuple(plan_epoch(lengths, tokens_per_step=10, seed=seed, epoch=epoch)) for seed in (0, 1) for epoch in (0, 1)
    }
    assert len(orders) == 4


def test_steps_do_not_depend_on_the_micro_batch_budget() -> None:
    lengths = [len(d.token_ids) for d in counting_documents(30)]
    small, large = (StepPlan(lengths, make(max_epochs=2, micro_batch_tokens=b)) for b in (30, 1000))
    assert [small.documents_of(s) for s in range(small.num_steps)] == [
        large.documents_of(s) for s in range(large.num_steps)
    ]


def test_plan_ends_at_the_nearest_limit() -> None:
    lengths = [25] * 16  # an epoch is four steps of a hundred tokens
    assert StepPlan(lengths, make(max_epochs=3)).num_steps == 12
    assert StepPlan(lengths, make(max_epochs=3, max_steps=5)).num_steps == 5
    by_tokens = StepPlan(lengths, make(max_epochs=3, max_tokens=650))
    assert (by_tokens.num_steps, by_tokens.num_tokens) == (7, 700)


def test_plan_walks_through_the_epochs_in_any_order() -> None:
    lengths = [25] * 16
    plan = StepPlan(lengths, make(max_steps=10))
    forward = [plan.documents_of(step) for step in range(10)]
    assert [plan.documents_of(step) for step in reversed(range(10))] == forward[::-1]
    assert [plan.epoch_of(step) for step in range(10)] == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    for epoch in (0, 1):
        assert sorted(i for step in forward[4 * epoch : 4 * epoch + 4] for i in step) == list(range(16))


def test_num_supervised_leaves_the_first_token_out() -> None:
    assert num_supervised(Document(token_ids=(1, 2, 3), supervised=(True, False, True))) == 1


@pytest.mark.parametrize(
    ("document", "error", "words"),
    [
        (None, RecipeError, "no document"),
        (Document(token_ids=(1, 2), supervised=(True, False)), RecipeError, "nothing to learn"),
        (Document(token_ids=(), supervised=()), RecipeError, "nothing to learn"),
        (
            Document(token_ids=(1,) * 101, supervised=(True,) * 101),
            RecipeError,
            "101 tokens; micro_batch_tokens is 100",
        ),
        (Document(token_ids=(1, 61), supervised=(True, True)), CompatibilityError, "vocabulary of 61"),
        (Document(token_ids=(1, -1), supervised=(True, True)), CompatibilityError, "vocabulary of 61"),
    ],
)
def test_documents_that_cannot_be_trained_on_whole_are_refused(
    document: Document | None, error: type[Exception], words: str
) -> None:
    documents = [] if document is None else [document]
    with pytest.raises(error, match=words):
        check_documents(documents, make(max_steps=1), tiny_decoder())


def test_document_beyond_the_context_is_refused() -> None:
    document = Document(token_ids=(1,) * 129, supervised=(True,) * 129)
    with pytest.raises(CompatibilityError, match="context is 128"):
        check_documents([document], make(max_steps=1, micro_batch_tokens=500), tiny_decoder())


def test_a_common_prefix_is_held_once_where_allowed_and_worth_it() -> None:
    def document(prompt: int, own: int) -> Document:
        tokens = (*range(prompt), own, own + 1)
        return Document(token_ids=tokens, supervised=(*(False for _ in range(prompt + 1)), True))

    documents = [document(10, 20), document(10, 30), document(10, 40)]
    shared = pack_micro_batch(documents, share_prefix=True)
    assert shared.prefix_length == 10
    assert shared.num_tokens == 10 + 3 * 2
    assert pack_micro_batch(documents, share_prefix=False).num_tokens == 36
    long = [Document(token_ids=(1, *range(2, 60)), supervised=(False, False, *(True,) * 57)) for _ in range(3)]
    assert pack_micro_batch(long, share_prefix=True).prefix_length == 0


@given(lengths=st.lists(st.integers(1, 60), min_size=1, max_size=8), num_processes=st.integers(1, 3))
@settings(max_examples=60)
def test_documents_are_dealt_out_whole_and_evenly(lengths: list[int], num_processes: int) -> None:
    shares = share_documents(lengths, num_processes)
    assert len(shares) == num_processes
    assert sorted(index for share in shares for index in share) == list(range(len(lengths)))
    assert all(list(share) == sorted(share) for share in shares)
    assert share_documents(lengths, num_processes) == shares
    # the best share there is, by trying them all
    best = min(
        max(sum(n for n, who in zip(lengths, owners, strict=True) if who == p) for p in range(num_processes))
        for owners in itertools.product(range(num_processes), repeat=len(lengths))
    )
    most = max(sum(lengths[index] for index in share) for share in shares)
    assert 3 * num_processes * most <= (4 * num_processes - 1) * best


def test_more_processes_than_documents_leave_some_idle_and_one_process_takes_all() -> None:
    assert share_documents([5, 9], 3) == [(1,), (0,), ()]
    assert share_documents([5, 9, 2], 1) == [(0, 1, 2)]


def test_a_step_is_split_by_groups_only_where_a_policy_drew_it_and_prefixes_can_be_shared() -> None:
    documents = counting_documents(9)
    lengths = [len(document.token_ids) for document in documents]
    expected = [split_micro_batches(share, lengths, micro_batch_tokens=60) for share in share_documents(lengths, 2)]
    drawn = [replace(d, drawn=DrawnCompletion(advantage=1.0, group=i // 3)) for i, d in enumerate(documents)]
    for chosen, share_prefix in ((documents, True), (documents, False), (drawn, False)):
        found = split_step(chosen, num_processes=2, micro_batch_tokens=60, share_prefix=share_prefix)
        assert found == expected
    grouped = split_step(drawn, num_processes=2, micro_batch_tokens=60, share_prefix=True)
    assert grouped != expected
    assert sorted(place for micros in grouped for micro in micros for place in micro) == list(range(9))
