from __future__ import annotations

from spiritsafe.models.running.engine.prompt_lookup import PromptLookup


def test_what_followed_last_time_is_guessed() -> None:
    lookup = PromptLookup([1, 2, 3, 4, 5, 9, 2, 3, 7, 8])
    assert lookup.guess(3) == []
    lookup.extend([2, 3])
    assert lookup.guess(3) == [7, 8, 2]
    lookup.extend([4])
    assert lookup.guess(2) == [5, 9], "three tokens that agree are better than two"
    lookup.extend([6])
    assert lookup.guess(2) == []


def test_who_guesses_wrong_is_left_alone_for_longer_and_longer() -> None:
    lookup = PromptLookup([1, 2, 3] * 4)
    rests = []
    for _ in range(4):
        assert lookup.guess(2) == [1, 2]
        lookup.learn(0)
        count = 0
        while not lookup.guess(2):
            count += 1
        rests.append(count)
    assert rests == [1, 2, 4, 8]
    lookup.learn(2)
    assert lookup.guess(1) == [1]
