from __future__ import annotations

import itertools
import random
from collections.abc import Sequence

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spiritsafe.models.interface.batch import Document, DrawnCompletion, shared_prefix
from spiritsafe.training.data.groups import paying_prefix, share_groups, split_groups
from spiritsafe.training.data.packing import pack_micro_batch


def group(number: int, prompt: Sequence[int], lengths: Sequence[int]) -> list[Document]:
    return [
        Document(
            token_ids=(*prompt, *(1000 + n for n in range(length))),
            supervised=(False,) * len(prompt) + (True,) * length,
            drawn=DrawnCompletion(advantage=1.0, group=number),
        )
        for length in lengths
    ]


@st.composite
def steps(draw: st.DrawFn) -> list[Document]:
    """Groups whose prompts have a common beginning, mixed up."""
    header = [0] * draw(st.integers(0, 12))
    documents = []
    for number in range(draw(st.integers(1, 5))):
        prompt = [*header, number + 1, *([7] * draw(st.integers(1, 12)))]
        documents += group(number, prompt, draw(st.lists(st.integers(1, 15), min_size=1, max_size=5)))
    draw(st.randoms(use_true_random=False)).shuffle(documents)
    return documents


def computed(documents: Sequence[Document]) -> int:
    """Tokens of the very batch that is packed."""
    return pack_micro_batch(documents, share_prefix=True).num_tokens


@given(steps(), st.integers(50, 400))
@settings(max_examples=100)
def test_each_document_is_in_one_micro_batch_within_the_budget_the_largest_first(
    documents: list[Document], budget: int
) -> None:
    places = list(range(len(documents)))
    found = split_groups(documents, places, micro_batch_tokens=budget)
    assert sorted(place for micro in found for place in micro) == places
    sizes = [computed([documents[place] for place in micro]) for micro in found]
    assert max(sizes) <= budget
    assert sizes == sorted(sizes, reverse=True)
    assert split_groups(documents, places, micro_batch_tokens=budget) == found


@given(steps(), st.integers(80, 400))
@settings(max_examples=60)
def test_of_all_ways_to_cut_the_line_of_groups_the_cheapest_is_taken(documents: list[Document], budget: int) -> None:
    by_prompt: dict[tuple[int, ...], list[int]] = {}
    for place, document in enumerate(documents):
        by_prompt.setdefault(document.token_ids[: document.supervised.index(True)], []).append(place)
    line = [places for _, places in sorted(by_prompt.items())]
    assume(all(computed([documents[p] for p in places]) <= budget for places in line))
    costs = []
    for cuts in itertools.product((True, False), repeat=len(line) - 1):
        joined = [list(line[0])]
        for is_cut, places in zip(cuts, line[1:], strict=True):
            if is_cut:
                joined.append(list(places))
            else:
                joined[-1] += places
        sizes = [computed([documents[p] for p in places]) for places in joined]
        if max(sizes) <= budget:
            costs.append(sum(sizes) + len(sizes) * (budget // 16))
    found = split_groups(documents, range(len(documents)), micro_batch_tokens=budget)
    assert sum(computed([documents[p] for p in micro]) + budget // 16 for micro in found) == min(costs)


def test_a_long_prompt_keeps_its_completions_together_and_short_ones_are_joined() -> None:
    long = [d for n in range(3) for d in group(n, [n] * 100, [5] * 8)]
    found = split_groups(long, range(24), micro_batch_tokens=1024)
    assert sorted(sorted(micro) for micro in found) == [list(range(8 * n, 8 * n + 8)) for n in range(3)]
    short = [d for n in range(3) for d in group(n, [n] * 3, [20] * 8)]
    assert len(split_groups(short, range(24), micro_batch_tokens=1024)) == 1


def test_groups_whose_prompts_begin_alike_share_what_they_have_in_common() -> None:
    example = [*range(200)]
    first, second = (group(n, [*example, n], [4] * 2) for n in (0, 1))
    other = group(2, [*range(500, 700)], [4] * 2)
    documents = [first[0], other[0], second[0], other[1], first[1], second[1]]
    found = split_groups(documents, range(6), micro_batch_tokens=250)
    assert sorted(sorted(micro) for micro in found) == [[0, 2, 4, 5], [1, 3]]


def test_a_group_beyond_the_budget_is_cut_into_even_pieces_that_share_its_prompt() -> None:
    documents = group(0, [1] * 40, [10, 20, 10, 20])
    found = split_groups(documents, range(4), micro_batch_tokens=80)
    assert sorted(sorted(micro) for micro in found) == [[0, 1], [2, 3]]
    assert [computed([documents[p] for p in micro]) for micro in found] == [71, 71]
    # a document that alone is more than the budget is there all the same: nothing is dropped silently
    assert len(split_groups(documents, range(4), micro_batch_tokens=30)) == 4


@given(steps(), st.integers(1, 4))
@settings(max_examples=100)
def test_processes_get_all_documents_and_even_work(documents: list[Document], num_processes: int) -> None:
    shares = share_groups(documents, num_processes)
    assert len(shares) == num_processes
    assert sorted(place for share in shares for place in share) == list(range(len(documents)))
    assert all(list(share) == sorted(share) for share in shares)
    assert share_groups(documents, num_processes) == shares


def test_whole_groups_go_to_one_process_and_a_lone_group_is_dealt_out() -> None:
    documents = [d for n in range(4) for d in group(n, [n] * 30, [10] * 4)]
    random.Random(0).shuffle(documents)
    for share in share_groups(documents, 2):
        numbers = [documents[place].drawn.group for place in share]  # type: ignore[union-attr]
        assert len(share) == 8
        assert len(set(numbers)) == 2
    alone = group(0, [1] * 30, [10] * 6)
    assert [len(share) for share in share_groups(alone, 3)] == [2, 2, 2]
    assert sorted(map(len, share_groups(alone[:2], 3))) == [0, 1, 1]


def test_a_prefix_is_shared_only_where_it_pays() -> None:
    documents = group(0, [1] * 10, [4, 4])
    assert paying_prefix(documents) == shared_prefix(documents) == 9
    assert paying_prefix(documents[:1]) == 0
    assert paying_prefix(group(0, [1] * 4, [60] * 3)) == 0


def test_documents_that_nobody_drew_have_no_group() -> None:
    plain = Document(token_ids=(1, 2), supervised=(False, True))
    with pytest.raises(ValueError, match="document 2 was not drawn"):
        split_groups([*group(0, [1], [1, 1]), plain], range(3), micro_batch_tokens=50)
