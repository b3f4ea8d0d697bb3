"""The table of families: every refusal has a reason and a description."""

from spiritsafe.tasks.gym_families import FAMILIES, REFUSED


def test_refusals_are_known_families_with_reasons() -> None:
    assert set(REFUSED) <= set(FAMILIES)
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
    }
    assert known <= set(REFUSED)
