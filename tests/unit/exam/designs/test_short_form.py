"""Both sittings of chosen problems; :mod:`test_adaptive` has what the second does otherwise."""

from __future__ import annotations

from typing import Any

import pytest
from exam_parts import ToyModel
from item_parts import past_sittings

from spiritsafe.exam import ShorterTerms, learn_items
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.designs.short_form import ShortForm, sealed_places


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Any:
    stage, certificates = past_sittings(tmp_path_factory.mktemp("past"), count=40)
    return stage, learn_items(certificates)


def test_chosen_problems_are_asked_as_registered_and_end_there(past: Any) -> None:
    stage, items = past
    registration = stage.register(ToyModel(name="short"), shorter=ShorterTerms(items=items, num_fixed=12))
    design = design_of(registration, stage.paper.header)
    assert type(design) is ShortForm
    places = registration.chosen.places
    assert design.order() == places
    assert design.following((), {}, lambda _: False) == [(place,) for place in places]
    assert design.following(places, {}, lambda _: False) == "chosen problems asked"
    assert set(places) < set(sealed_places(stage.paper.header))
    assert f"{len(places)} of 20 sealed problems" in design.check_registered()
    assert design.outlook().startswith(f"A shorter sitting: {len(places)} chosen problems of 20 sealed ones")
    assert f"; {len(places)} sealed problems chosen by 20 past sittings" in design.chosen_words
    assert design.num_expected == len(places)
    assert not design.is_whole
    assert design.needs_items
