"""What holds for all templates: they are many, different, complete, and within what every language can hold."""

from __future__ import annotations

import math
from collections import Counter
from random import Random
from typing import Any

import pytest
from code_parts import tried

from spiritsafe.tasks.code.languages.signature import CodeValue, is_value
from spiritsafe.tasks.code.templates.catalogue import templates
from spiritsafe.tasks.code.templates.inputs import Arguments
from spiritsafe.tasks.code.templates.template import Exercise, Template
from spiritsafe.tasks.code.translate.translate import TRANSLATED, translate
from spiritsafe.tasks.sandbox.job import Limits

_NAMES = sorted(templates())
_QUICK = ("best_few", "chosen_words", "in_band", "invoice", "stack")
_LIMITS = Limits(cpu_s=20.0, wall_s=120.0)


def _others(made: Template, settings: dict[str, Any], rng: Random) -> list[dict[str, Any]]:
    """Settings that differ from these in one knob, by a step or more, where that is another problem."""
    found = []
    for name, values in made.knobs.items():
        place = values.index(settings[name]) if settings[name] in values else 0
        for value in (values[(place + 1) % len(values)], values[place - 1], rng.choice(values)):
            other = made.settle(settings | {name: value})
            if other is not None and made.canonical_text(other) != made.canonical_text(settings):
                found.append(other)
    return found


def test_there_are_many_of_every_level() -> None:
    levels = Counter(made.level for made in templates().values())
    assert sum(levels.values()) >= 70
    assert set(levels) == {1, 2, 3, 4, 5}
    assert min(levels.values()) >= 8
    assert [made.level for made in templates().values()] == sorted(made.level for made in templates().values())
    assert all(name == made.name for name, made in templates().items())


@pytest.mark.parametrize("name", _NAMES)
def test_golds_run_on_all_inputs_and_stay_within_every_language(name: str) -> None:
    made, rng = templates()[name], Random(name)
    for _ in range(12):
        exercise = made.exercise(made.draw(rng))
        signature = exercise.signature
        inputs = exercise.inputs(rng, 100)
        assert len(inputs) >= 40
        results = [exercise.answer(arguments) for arguments in inputs]
        assert all(signature.accepts(arguments) for arguments in inputs)
        assert all(is_value(result, signature.result) for result in results)
        assert len(set(map(repr, results))) > 1, "one answer for all inputs: nothing to compute"


@pytest.mark.parametrize("name", _NAMES)
def test_settings_are_settled_and_their_number_is_known(name: str) -> None:
    made, rng = templates()[name], Random(name)
    drawn = [made.draw(rng) for _ in range(1_500)]
    assert all(made.settle(dict(settings)) == settings for settings in drawn)
    size = made.space_size()
    assert size >= 900
    # settings that stand for several others are drawn more often, so that fewer are different than by equal chances
    expected = size * -math.expm1(-len(drawn) / size)
    assert 0.6 * expected <= len({made.canonical_text(settings) for settings in drawn}) <= 1.05 * expected


@pytest.mark.parametrize("name", _NAMES)
def test_every_wording_says_every_setting(name: str) -> None:
    made, rng = templates()[name], Random(name)
    for _ in range(8):
        settings = made.draw(rng)
        exercise = made.exercise(settings)
        assert len(exercise.wordings) >= 2
        assert not any("  " in wording or "{" + "}" in wording for wording in exercise.wordings)
        for other in _others(made, settings, rng):
            others = made.exercise(other)
            for number in range(len(exercise.wordings)):
                assert exercise.statement(number) != others.statement(number), (settings, other)


def _given(exercise: Exercise, inputs: list[Arguments]) -> list[object]:
    """Answers; an input that belongs to other settings may be none that this gold can take."""
    found: list[object] = []
    for arguments in inputs:
        try:
            found.append(repr(exercise.answer(arguments)))
        except (IndexError, ValueError):
            found.append(None)
    return found


def test_other_settings_are_other_functions() -> None:
    num_pairs, equal = 0, []
    for name, made in templates().items():
        rng = Random(name)
        for _ in range(2):
            settings = made.draw(rng)
            exercise = made.exercise(settings)
            inputs = exercise.inputs(rng, 50)
            answers = _given(exercise, inputs)
            for other in _others(made, settings, rng):
                num_pairs += 1
                if _given(made.exercise(other), inputs) == answers:
                    more = [*exercise.inputs(rng, 800), *made.exercise(other).inputs(rng, 800)]
                    if _given(exercise, more) == _given(made.exercise(other), more):
                        equal.append((made.canonical_text(settings), made.canonical_text(other)))
    assert num_pairs > 1_500
    # a few differ only for inputs that are seldom drawn, such as two equally long runs of rare numbers
    assert len(equal) <= num_pairs // 200, equal


def test_thousands_of_problems_come_from_one_seed() -> None:
    rng = Random(7)
    texts: dict[str, str] = {}
    for made in templates().values():
        for _ in range(32):
            settings = made.draw(rng)
            texts[made.canonical_text(settings)] = made.exercise(settings).statement(0)
    assert len(texts) >= 2_000
    assert len(set(texts.values())) == len(texts)


@pytest.mark.parametrize("name", _NAMES)
def test_golds_are_of_the_subset_that_is_translated(name: str) -> None:
    made, rng = templates()[name], Random(name)
    for _ in range(3):
        exercise = made.exercise(made.draw(rng))
        assert all(translate(exercise.gold, exercise.signature, language) for language in TRANSLATED)


@pytest.mark.parametrize("language", ["fortran", "cobol"])
@pytest.mark.parametrize(
    "name", [name if name in _QUICK else pytest.param(name, marks=pytest.mark.slow) for name in _NAMES]
)
def test_translated_golds_agree(name: str, language: str) -> None:
    made, rng = templates()[name], Random(f"{name} in other languages")
    exercise = made.exercise(made.draw(rng))
    inputs: list[list[CodeValue]] = [list(arguments) for arguments in exercise.inputs(rng, 40)]
    source = translate(exercise.gold, exercise.signature, language)
    found = tried(language, source, exercise.signature, inputs, _LIMITS)
    assert [repr(value) for value in found] == [repr(exercise.answer(tuple(arguments))) for arguments in inputs]
