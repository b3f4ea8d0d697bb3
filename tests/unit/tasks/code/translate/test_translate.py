from __future__ import annotations

import random

import pytest
from code_corpus import functions, inputs_of
from code_parts import tried
from random_programs import ProgramMaker

from spiritsafe.tasks.code.languages.signature import CodeSignature, CodeValue, ValueType
from spiritsafe.tasks.code.translate.reading.subset import SubsetError
from spiritsafe.tasks.code.translate.translate import TRANSLATED, translate
from spiritsafe.tasks.sandbox.job import Limits

LIMITS = Limits(cpu_s=20.0, wall_s=120.0, output_bytes=8 << 20)
SHORT = ("floors", "guarded", "after_loop", "same_texts", "helpers", "sieve")


def differences(
    language: str, source: str, signature: CodeSignature, inputs: list[list[CodeValue]], expected: object
) -> object:
    found = tried(language, translate(source, signature, language), signature, inputs, LIMITS)
    triples = zip(inputs, expected, found, strict=True)  # type: ignore[call-overload]
    return [one for one in triples if type(one[1]) is not type(one[2]) or one[1] != one[2]][:2]


@pytest.mark.parametrize("language", ["fortran", "cobol"])
@pytest.mark.parametrize(
    "name", [name if name in SHORT else pytest.param(name, marks=pytest.mark.slow) for name in sorted(functions())]
)
def test_translations_give_what_python_gives(name: str, language: str) -> None:
    source, signature, function = functions()[name]
    inputs, expected = inputs_of(signature, function, seed=0, count=60)
    assert len(inputs) >= 30
    assert differences(language, source, signature, inputs, expected) == []


@pytest.mark.parametrize("language", ["fortran", "cobol"])
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))])
def test_random_programs_give_what_python_gives(seed: int, language: str) -> None:
    source, result = ProgramMaker(seed).make()
    kinds: dict[str, ValueType] = {"int": "int", "bool": "bool", "str": "str", "list[int]": "ints"}
    parameters: tuple[tuple[str, ValueType], ...] = (
        *(("n", "int"), ("m", "int"), ("ok", "bool"), ("s", "str"), ("t", "str")),
        *(("xs", "ints"), ("ys", "ints")),
    )
    signature = CodeSignature("made", parameters, kinds[result])
    space: dict[str, object] = {}
    exec(source, space)
    inputs, expected = inputs_of(signature, space["made"], seed, count=30)  # type: ignore[arg-type]
    assert len(inputs) >= 20
    assert differences(language, source, signature, inputs, expected) == []


def test_translation_is_the_same_each_time() -> None:
    for source, signature, _ in random.Random(0).sample(list(functions().values()), 10):
        for language in TRANSLATED:
            assert translate(source, signature, language) == translate(source, signature, language)


def test_python_is_only_read() -> None:
    source, signature, _ = functions()["runs"]
    assert translate(source, signature, "python") == source
    with pytest.raises(SubsetError, match="another signature"):
        translate(source, CodeSignature("runs", (("s", "str"),), "int"), "python")
    with pytest.raises(SubsetError, match="another signature"):
        translate(source, CodeSignature("runs", (("t", "str"),), "str"), "cobol")


@pytest.mark.parametrize("language", ["fortran", "cobol"])
def test_what_is_deep_inside_is_not_worked_out_again_for_each_level(language: str) -> None:
    """Else this would take hours."""
    value, condition = "n", "n > 0"
    for depth in range(14):
        value = f"({depth} if {condition} else {value})"
        condition = f"(n > {depth} and (xs[{depth % 3}] > 1 or {condition}))"
    source = f"def f(n: int, xs: list[int]) -> int:\n    return 1 + {value}\n"
    signature = CodeSignature("f", (("n", "int"), ("xs", "ints")), "int")
    assert translate(source, signature, language)
