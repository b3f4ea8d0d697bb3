from __future__ import annotations

import hashlib
import math

import pytest
from exam_parts import make_stage

from spiritsafe.exam.paper.split import (
    asking_order,
    halves,
    look_ends,
    num_places,
    public_indices,
    public_places,
    public_sizes,
    stratum_ranges,
)
from spiritsafe.exam.records.paper import Stratum
from spiritsafe.stats.sequential.design import BettingRule, StopRule


@pytest.fixture
def header(stage):
    return stage.paper.header


def with_strata(header, *sizes, twins=False):
    public = public_sizes(sizes)
    strata = tuple(
        Stratum(name=f"s{k}", task="t", num_problems=size, num_public=public[k]) for k, size in enumerate(sizes)
    )
    total = sum(sizes)
    return header.model_copy(
        update={
            "strata": strata,
            "num_problems": total,
            "num_public": sum(public),
            "num_sealed": total - sum(public),
            "num_twins": total if twins else 0,
        }
    )


@pytest.mark.parametrize(
    ("sizes", "public"),
    [((4, 4), [2, 2]), ((3, 3), [1, 2]), ((1, 1, 1, 1), [0, 1, 0, 1]), ((5,), [2]), ((7, 2, 5), [3, 1, 3])],
)
def test_odd_strata_take_turns_and_sum_to_half(sizes, public):
    assert public_sizes(sizes) == public
    assert sum(public) == sum(sizes) // 2


def test_a_bank_without_strata_is_cut_as_ever(header):
    assert public_places(header) == public_indices(header.bank_root, 20, 10)
    ranked = sorted(range(20), key=lambda i: hashlib.sha256(f"split/{header.bank_root}/{i}".encode()).digest())
    assert set(public_places(header)) == set(ranked[:10])


def test_each_stratum_is_cut_by_itself(header):
    cut = with_strata(header, 7, 2, 5)
    chosen = public_places(cut)
    assert [places for _, places in stratum_ranges(cut)] == [range(7), range(7, 9), range(9, 14)]
    for stratum, places in stratum_ranges(cut):
        assert len([place for place in chosen if place in places]) == stratum.num_public
    assert chosen == tuple(sorted(chosen))


def test_halves_name_every_place(header):
    cut = with_strata(header, 3, 4, twins=True)
    kinds = halves(cut)
    assert len(kinds) == num_places(cut) == 14
    assert {place for place, kind in enumerate(kinds) if kind == "public"} == set(public_places(cut))
    assert kinds[7:] == ("twin",) * 7


def test_asking_order_is_random_but_nobodys_choice(header):
    orders = {asking_order(header.model_copy(update={"bank_root": f"{n:064x}"})) for n in range(50)}
    assert len(orders) == 50
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert asking_order(header) == asking_order(header)
    # first halves of many banks hold about as many public problems as a random half would
    hits = []
    for n in range(400):
        cut = header.model_copy(update={"bank_root": f"{n:064x}"})
        hits.append(len(set(asking_order(cut)[:10]) & set(public_places(cut))))
    mean = sum(hits) / len(hits)
    assert abs(mean - 5) < 4 * math.sqrt(25 / 19 / 400)  # hypergeometric(20, 10, 10): mean 5, variance 25/19


def test_a_twin_is_asked_right_behind_its_original(header):
    order = asking_order(with_strata(header, 3, 4, twins=True))
    assert all(twin == own + 7 for own, twin in zip(order[::2], order[1::2], strict=True))


def test_a_stage_uses_them(tmp_path):
    stage = make_stage(tmp_path, count=9)
    assert tuple(p.index for p in stage.paper.problems) == public_places(stage.paper.header)


@pytest.mark.parametrize("num_looks", [1, 3, 5, 10])
def test_each_look_has_its_share_of_both_halves(header, num_looks):
    stop = StopRule(num_problems=10, num_looks=num_looks)
    order, kinds, ends = asking_order(header, stop), halves(header), look_ends(header, stop)
    assert sorted(order) == list(range(20))
    assert ends[-1] == 20
    for look, end in enumerate(ends, start=1):
        asked = [kinds[place] for place in order[:end]]
        assert asked.count("sealed") == stop.looks[look - 1]
        assert asked.count("public") == round(10 * look / num_looks)
    assert look_ends(header, BettingRule(num_problems=10, num_looks=5)) == (4, 8, 12, 16, 20)


def test_at_a_look_every_cut_of_what_was_asked_is_as_likely(header):
    """So the public-sealed test is exact there: over many banks, each asked place is public as often as not."""
    stop = StopRule(num_problems=10, num_looks=5)
    counts = {place: [0, 0] for place in range(20)}
    for n in range(3000):
        cut = header.model_copy(update={"bank_root": f"{n:064x}"})
        kinds = halves(cut)
        for place in asking_order(cut, stop)[:4]:
            counts[place][kinds[place] == "public"] += 1
    for sealed, public in counts.values():  # 4 of 20 places: each is asked about 600 times
        total = sealed + public
        assert abs(total - 600) < 5 * math.sqrt(600 * 0.8)
        assert abs(public - total / 2) < 4.5 * math.sqrt(total / 4)
