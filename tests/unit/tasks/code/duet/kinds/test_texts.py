from __future__ import annotations

from random import Random

import pytest

from spiritsafe.tasks.code.duet.kinds.texts import Texts

NESTED = ["(()()) ((()))", "() (()) ((()))", "(()(()))"]


@pytest.mark.parametrize(
    ("seen", "allowed", "refused"),
    [
        (["abc", "xyz"], ["cab", "qq", "abcde"], ["", "a", "aB", "a b", "a1", "abcdef"]),
        (["", "Ab"], ["", "b", "Zq"], ["a1", "a-b"]),
        (["x y", "some more words"], ["a b"], ["a  b", " a", "a "]),
        (["a  b", "c d"], ["c  d"], []),
        (NESTED, ["()", "() ()", "((()()))"], ["(", ")(", "())", "()  ()", "[]", "( )"]),
        (["( )", "(( )) ()", "()()"], ["(() ) ()"], [") ("]),
        (["(()", "())", "()()"], ["((", ")("], ["[]"]),  # not all of them closed
        (["0101", "111000", "10"], ["11", "000"], ["21", "0a"]),
        (["5 apples and 6 pears", "2 apples and 3 pears", "1 apples and 9 pears", "4 apples and 4 pears"],
         ["7 apples and 2 pears"], ["7 pears and 2 apples", "07 apples and 2 pears", "99 apples and 1 pears"]),
        (["one two one", "two one two one", "one two"], ["two two"], ["two three"]),
        (["10", "14.5", "-15.5", "0"], ["3.5", "-2"], ["", "abc", "1.25", "100", "--1", "5."]),
        (["level", "noon", "kayak", "abba"], ["otto"], ["left"]),
        (["ab", "cd", "xy", "zz"], ["aa"], ["a", "abc"]),  # of one length
        (["Anna", "Bob", "Carla", "Dave"], ["Eve"], ["eve", "EVE"]),
    ],
)  # fmt: skip
def test_texts_alike(seen: list[str], allowed: list[str], refused: list[str]) -> None:
    kind = Texts.of(seen)
    assert [each for each in [*seen, *allowed] if not kind.allows(each)] == []
    assert [each for each in refused if kind.allows(each)] == []


@pytest.mark.parametrize(
    "seen",
    [
        NESTED,
        ["<>", "<<>>", "<><><><<>>"],
        ["10", "14.5", "-15.5"],
        ["three five nine", "five zero four seven nine eight", "six five four three two one zero"],
        ["5 apples", "6 apples", "17 apples", "20 apples"],
        ["o o| .| o", ".| o| o o", "o| o| .| .|"],
    ],
)
def test_most_of_what_is_made_is_allowed_and_new(seen: list[str]) -> None:
    kind, rng = Texts.of(seen), Random(0)
    made = [kind.draw(rng) for _ in range(200)]
    allowed = [text for text in made if kind.allows(text)]
    assert len(allowed) > 100
    assert len(set(allowed) - set(seen)) > 10


def test_some_texts_that_are_made_are_mirrored_and_some_repeat_themselves() -> None:
    kind, rng = Texts.of(["jerry", "xyz", "a"]), Random(0)
    made = [kind.draw(rng) for _ in range(300)]
    assert sum(text == text[::-1] and len(set(text)) > 1 for text in made) > 10
    assert sum(len(set(text)) < len(text) for text in made) > 50
