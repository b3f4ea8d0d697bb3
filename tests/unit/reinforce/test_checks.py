from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from reinforce_parts import CONFIG, config, train_config
from tiny_student import sums_problems, sums_task, tiny_student

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.core.records import Sampling
from spiritsafe.models.transformers_backend.loading import LoadedModel
from spiritsafe.reinforce.checks import check_pool, check_run, check_source
from spiritsafe.reinforce.loss.policy_loss import PolicyLoss
from spiritsafe.rollouts import FakeGenerator, RemoteConfig, RemoteGenerator

TRUNCATED = PolicyLoss(method="dapo", truncation=2.0)
FAKE = FakeGenerator(lambda problem_id, sample: "abc")


def remote(*, logprobs: bool = False) -> RemoteGenerator:
    return RemoteGenerator("http://127.0.0.1:1", "m", config=RemoteConfig(logprobs=logprobs))


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny_student(tmp_path_factory.mktemp("models"))


def test_steps_are_those_of_the_rounds() -> None:
    check_run(CONFIG, train_config())
    for changes in ({"max_steps": 5}, {"max_epochs": 1}, {"max_tokens": 100}):
        with pytest.raises(RecipeError, match="The rounds make 6 steps"):
            check_run(CONFIG, train_config(**changes))


def test_corrections_and_hooks_need_something_to_work_on() -> None:
    refused: list[tuple[Callable[[], None], str]] = [
        (lambda: check_source(CONFIG, None, has_publish=True), "nothing to publish"),
        (
            lambda: check_source(config(loss=TRUNCATED, steps_per_round=1), None, has_publish=False),
            "weights in training",
        ),
        (lambda: check_source(config(loss=TRUNCATED), remote(), has_publish=False), "does not give them"),
        (lambda: check_source(config(sampling=Sampling(stop=("x",))), remote(), has_publish=False), "stop string"),
    ]
    for check, message in refused:
        with pytest.raises(RecipeError, match=message):
            check()
    check_source(config(loss=TRUNCATED), None, has_publish=False)  # the second step of a round is off-policy
    check_source(config(loss=TRUNCATED), remote(logprobs=True), has_publish=True)
    check_source(config(loss=TRUNCATED, sampling=Sampling(stop=("x",))), FAKE, has_publish=False)
    check_source(config(sampling=Sampling(stop=("x",))), None, has_publish=False)


def test_prompts_are_rendered_as_the_model_reads_them(student: LoadedModel) -> None:
    problems = sums_problems()
    prompts = check_pool(student, problems, CONFIG, train_config(), {problems[0].id: 0.5})
    assert prompts == {p.id: tuple(student.chat.prompt_ids(p.messages)) for p in problems}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"problems": sums_problems(3)}, "A round asks 4 problems; the pool has 3"),
        ({"problems": sums_problems(4) * 2}, "in the pool twice"),
        ({"problems": list(sums_task().problems("dev", seed=0, count=4))}, "of the dev bucket"),
        ({"measured": {"sha256:other": 0.5}}, "not in the pool"),
        ({"measured": {sums_problems()[0].id: 1.5}}, "not between 0 and 1"),
        ({"max_tokens": 650}, "micro_batch_tokens is 700"),
        ({"max_tokens": 300}, "the model's context is 256"),
    ],
)
def test_a_pool_that_does_not_fit_is_refused(student: LoadedModel, given: dict[str, Any], message: str) -> None:
    of = config(sampling=Sampling(max_tokens=given.get("max_tokens", 14)))
    with pytest.raises((RecipeError, CompatibilityError), match=message):
        check_pool(student, given.get("problems", sums_problems()), of, train_config(), given.get("measured", {}))
