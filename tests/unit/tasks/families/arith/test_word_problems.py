"""Stories: the canonical text is the arithmetic, and every story can be drawn."""

from random import Random

from spiritsafe.tasks.families.arith.word_problems import WordsKnobs, words


def test_names_and_things_do_not_change_the_canonical_text() -> None:
    rng = Random(0)
    stories: dict[str, set[str]] = {}
    for _ in range(6_000):
        item = words(rng, WordsKnobs(digits=(1, 1)))
        if item:
            stories.setdefault(item.canonical_text, set()).add(item.question)
    assert max(len(texts) for texts in stories.values()) > 8


def test_every_story_appears_and_none_gives_its_answer_away() -> None:
    rng = Random(0)
    seen = set()
    for _ in range(2_000):
        item = words(rng, WordsKnobs())
        if item:
            assert item.answer not in item.question.replace(".", " ").replace(",", " ").split()
            shape = tuple(
                w
                for w in item.question.split()
                if w in ("more.", "away", "fewer.", "boxes", "shares", "then", "together?", "costs")
            )
            seen.add((shape, len(item.steps())))
    assert {steps for _, steps in seen} == {1, 2}
    assert len(seen) >= 9


def test_steps_knob() -> None:
    rng = Random(0)
    for steps in (1, 2):
        drawn = [words(rng, WordsKnobs(steps=(steps, steps))) for _ in range(200)]
        assert {len(item.steps()) for item in drawn if item} == {steps}
