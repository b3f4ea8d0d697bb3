from __future__ import annotations

from exam_parts import ToyModel
from item_parts import past_sittings

from spiritsafe.exam import ShorterTerms, learn_items
from spiritsafe.exam.designs.adaptive import Adaptive
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.stats import next_place


def test_each_problem_follows_from_the_answers(tmp_path) -> None:
    stage, certificates = past_sittings(tmp_path, count=40)
    terms = ShorterTerms(items=learn_items(certificates), num_fixed=12, adaptive=True)
    registration = stage.register(ToyModel(name="adaptive"), shorter=terms)
    design = design_of(registration, stage.paper.header)
    assert isinstance(design, Adaptive)
    assert (design.order(), design.num_expected) == ((), 6)
    asked: list[int] = []
    while not isinstance(following := design.following(asked, dict.fromkeys(asked, 1), lambda _: False), str):
        assert following == [(next_place(registration.chosen, dict.fromkeys(asked, 1), trials=1),)]
        asked += following[0]
    assert following == "chosen problems asked"
    assert len(set(asked)) == len(asked) > 1
    # answers to what it has not asked have no say
    assert design.following(asked[:1], {asked[0]: 1, asked[1]: 0}, lambda _: False) == [(asked[1],)]
    assert "until they tell as much as 12 at random" in design.check_registered()
    assert "one after the other" in design.outlook()
    assert design.chosen_words.startswith("; sealed problems chosen by the answers and by 20 past sittings")
