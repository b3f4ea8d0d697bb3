"""The table of families: every refusal has a reason and a description."""

import time

from spiritsafe.tasks.families.gym.catalogue import EVALUATING, GYM_FAMILIES, REFUSED


def test_refusals_are_known_families_with_reasons() -> None:
    assert set(REFUSED) <= set(GYM_FAMILIES)
    assert all(len(reason) > 20 and not reason.endswith(".") for reason in REFUSED.values())


def test_the_known_bad_ones_are_refused() -> None:
    known = {
        "game_of_life_halting",
        "coin_flip",
        "boxnet",
        "graph_color",
        "propositional_logic",
        "rubiks_cube",
        "rush_hour",
        "number_sorting",
        "puzzle24",
    }
    assert known <= set(REFUSED)


def test_guards_take_bounded_time() -> None:
    for pattern in set(EVALUATING.values()):
        for text in ("1" * 1000 + "!", " " * 1000 + "!", "x+" * 500 + "!", "1.1" * 300 + "!", "sin(" * 250 + "!"):
            started = time.process_time()
            assert not pattern.fullmatch(text)
            assert time.process_time() - started < 0.1
