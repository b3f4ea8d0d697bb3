"""A router that is asked like a model: each answer is the picked model's own, and one model is open at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from routing_parts import asked, routed_directory

from spiritsafe.core.errors import CompatibilityError, EndpointError
from spiritsafe.core.generator import Generator, GeneratorInfo
from spiritsafe.core.process.platforms import Platform
from spiritsafe.core.records import Attempt, Message, Prompt, Sampling
from spiritsafe.rollouts import FakeGenerator
from spiritsafe.serve.routing.generator import RoutedGenerator
from spiritsafe.serve.routing.system import RoutedSystem, read_routed

SAMPLING = Sampling(temperature=0.7, max_tokens=50)
SHORT, LONG = "2 + 2?", "word " * 100


def prompt(name: str, text: str, **keys: int) -> Prompt:
    return Prompt(problem_id=name, messages=asked(text), seed=3, **keys)


class Recorded:
    """A fake that writes down when it was opened, asked and closed."""

    def __init__(self, name: str, heard: list[str]) -> None:
        self.name, self.heard = name, heard
        self.inner = FakeGenerator(lambda problem, sample: f"{name} says {problem} {sample}", name=name)
        heard.append(f"open {name}")

    def describe(self) -> GeneratorInfo:
        return self.inner.describe()

    def platform(self) -> Platform:
        return Platform(device=self.name, torch="2")

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        self.heard.append(f"{self.name}: {' '.join(one.problem_id for one in prompts)}")
        return self.inner.generate(prompts, sampling)

    def score(
        self, conversations: Sequence[tuple[Message, ...]], completions: Sequence[str]
    ) -> list[tuple[float, ...]]:
        raise AssertionError

    def close(self) -> None:
        self.heard.append(f"close {self.name}")


@pytest.fixture
def system(tmp_path: Path) -> RoutedSystem:
    return read_routed(routed_directory(tmp_path / "run"))


def test_each_answer_is_that_of_the_picked_model(system: RoutedSystem) -> None:
    heard: list[str] = []
    places: dict[str, Path] = {}

    def open_model(name: str, place: Path) -> Generator:
        places[name] = place
        return Recorded(name, heard)

    generator = RoutedGenerator(system, open_model)
    assert generator.describe() == GeneratorInfo(name="run-routed", digest=system.checkpoint.digest, kind="local")
    assert heard == []  # nobody is opened to be described
    prompts = [
        prompt("a", SHORT, num_samples=2, first_sample=1),
        prompt("b", LONG),
        prompt("c", SHORT),
        prompt("d", LONG, num_samples=3),
    ]
    found = {(one.problem_id, one.sample_index): one for one in generator.generate(prompts, SAMPLING)}
    expected = {}
    for name, mine in (("small", prompts[::2]), ("large", prompts[1::2])):
        for attempt in Recorded(name, []).generate(mine, SAMPLING):
            expected[attempt.problem_id, attempt.sample_index] = attempt
    assert {key: one.model_copy(update={"model": ""}) for key, one in found.items()} == {
        key: one.model_copy(update={"model": ""}) for key, one in expected.items()
    }
    assert {one.model for one in found.values()} == {system.checkpoint.digest}
    assert found["a", 2].text == "small says a 2"
    assert places == dict(zip(("small", "large"), system.directories, strict=True))
    assert heard == ["open small", "small: a c", "close small", "open large", "large: b d"]
    # the one that is open is asked first, and nobody is opened for nothing
    list(generator.generate([prompt("e", SHORT), prompt("f", LONG)], SAMPLING))
    list(generator.generate([prompt("g", SHORT)], SAMPLING))
    assert heard[5:] == ["large: f", "close large", "open small", "small: e", "small: g"]
    assert list(generator.generate([], SAMPLING)) == []
    generator.close()
    generator.close()
    assert heard[10:] == ["close small"]
    assert [one.text for one in generator.generate([prompt("h", LONG)], SAMPLING)] == ["large says h 0"]


def test_what_goes_before_the_last_question_counts_as_the_router_sees_it(system: RoutedSystem) -> None:
    generator = RoutedGenerator(system, lambda name, _: Recorded(name, []))
    told = Prompt(problem_id="a", messages=(Message(role="user", content=LONG), *asked(SHORT)), seed=3)
    (answer,) = generator.generate([told], SAMPLING)
    assert answer.text == f"{('small', 'large')[system.router.pick(told.messages)]} says a 0"


def test_a_model_that_cannot_be_opened_or_fails_says_so(system: RoutedSystem) -> None:
    def open_model(name: str, place: Path) -> Generator:
        if name == "large":
            raise EndpointError("The worker died.", hint="Look.")
        return Recorded(name, heard)

    heard: list[str] = []
    generator = RoutedGenerator(system, open_model)
    drawn = generator.generate([prompt("a", SHORT), prompt("b", LONG)], SAMPLING)
    assert next(drawn).text == "small says a 0"
    with pytest.raises(EndpointError, match="died"):
        next(drawn)
    assert heard[-1] == "close small"
    assert [one.text for one in generator.generate([prompt("c", SHORT)], SAMPLING)] == ["small says c 0"]


def test_it_cannot_score_and_says_where_it_computes(system: RoutedSystem) -> None:
    heard: list[str] = []
    generator = RoutedGenerator(system, lambda name, _: Recorded(name, heard))
    with pytest.raises(CompatibilityError, match="run-routed asks several models") as caught:
        generator.score([asked("x")], ["y"])
    assert "small, large" in caught.value.hint
    assert heard == []
    platform = generator.platform()
    assert platform is not None
    assert platform.device == "small"
    list(generator.generate([prompt("b", LONG)], SAMPLING))
    assert generator.platform() == platform  # whoever was asked last
    fake = RoutedGenerator(system, lambda name, _: FakeGenerator(lambda *_: "", name=name))
    assert fake.platform() is None
