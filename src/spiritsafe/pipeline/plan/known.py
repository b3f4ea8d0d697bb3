"""What is known of a run before it: sizes of models, rows of data; and what of it cannot work.

In: a recipe, and a cache or the stages that are done. Out: a :class:`~spiritsafe.pipeline.step.Forecast`, whose
faults are told all at once. A plan and a run ask the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, final

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import RecipeError, SpiritsafeError, TaskError
from spiritsafe.core.events import EventSink
from spiritsafe.core.records import UNKNOWN_LICENCE, Checkpoint, Problem, Verdict
from spiritsafe.core.seeds import derive_seed
from spiritsafe.models import ChatFormat, choose_code, source_config
from spiritsafe.pipeline.context import RunContext, read_problems
from spiritsafe.pipeline.plan.duties import duty_faults
from spiritsafe.pipeline.plan.lineage import given_lineage
from spiritsafe.pipeline.plan.memory import planned_device
from spiritsafe.pipeline.plan.stage_cost import document_size
from spiritsafe.pipeline.recipe.data import DataRecipe, fresh_problems, text_key
from spiritsafe.pipeline.recipe.given import GivenRecipe
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.step import Config, DataFacts, Forecast, step_of
from spiritsafe.tasks import Task, build_task

_COUNTED = 128
"""Problems of a task without an end that are really drawn for a plan; of more it is taken for granted."""

_MEASURED = 24
_FEWEST_UNSCORED = 3
"""Solutions in a row without a verdict, from the first on, after which none is to be hoped for."""


@final
@dataclass(frozen=True, kw_only=True)
class GivenFacts:
    """A given model, as far as it is known without fetching it.

    Attributes:
        checkpoint: What lineages will say of it, but for its digest; None: nothing is known.
        config: Its ``config.json``.
        chat: How its chats become tokens.
        num_parameters: 0: not known.
        notes: What a user should know.
    """

    checkpoint: Checkpoint | None = None
    config: Config | None = None
    chat: ChatFormat | None = None
    num_parameters: int = 0
    notes: tuple[str, ...] = ()

    @property
    def licence(self) -> str:
        """SPDX id, or a ``LicenseRef-``."""
        return UNKNOWN_LICENCE if self.checkpoint is None else self.checkpoint.license


def given_facts(given: GivenRecipe, *, cache: Path) -> GivenFacts:
    """What is known of a given model.

    Raises:
        SourceError: Its source is none, or out of reach.
        CompatibilityError: Its chat template refuses what it is told, or its adapters do not fit.
    """
    if given.source is None:
        return GivenFacts(checkpoint=given.served_checkpoint())
    known = source_config(given.source, cache=cache, **given.told)
    notes = () if known.directory is None else choose_code(known.directory).notes
    if known.download_bytes:
        notes = (
            *notes,
            f"{known.download_bytes / 1e9:.1f} GB are to be fetched: spiritsafe models fetch {given.source}",
        )
    return GivenFacts(
        config=known.config,
        chat=None if known.directory is None else known.chat_format(),
        checkpoint=given.stated(
            Checkpoint(
                name=known.name,
                digest=f"planned:{given.source}",
                license=known.license,
                num_parameters=known.num_parameters,
                weight_bytes=known.weight_bytes,
                parents=known.parents,
            )
        ),
        num_parameters=known.num_parameters,
        notes=notes,
    )


def data_facts(
    data: DataRecipe, taken: set[bytes], chat: ChatFormat | None, *, seed: int, max_tokens: int
) -> tuple[DataFacts, set[bytes]]:
    """What a set will hold, and what tells its problems from those of later sets.

    Raises:
        TaskError: It holds fewer problems than were asked for, or its verifier cannot judge them.
        SourceError: A file cannot be read.
    """
    task = build_task(data.spec())
    is_counted = data.problems is None or data.problems <= _COUNTED or task.finite
    drawn = fresh_problems(
        task, data if is_counted else data.model_copy(update={"problems": _COUNTED}), taken, seed=seed
    )
    problems = list(drawn)
    count = len(problems) if is_counted else int(data.problems or 0)
    share = _accepted(task, problems)
    facts = DataFacts(
        task=task.name,
        num_problems=count,
        num_documents=round(share * count),
        verifies=task.verifies,
        size=document_size(problems[:_MEASURED], chat, max_tokens=max_tokens),
    )
    return facts, {text_key(problem) for problem in problems}


def _accepted(task: Task, problems: Sequence[Problem]) -> float:
    """Share of problems with a solution, as far as the first of these are accepted.

    Raises:
        TaskError: The verifier cannot say anything, of the first ones at least.
    """
    if not problems:
        return 0.0
    solved = [problem for problem in problems if problem.solution is not None]
    if not task.verifies:
        return len(solved) / len(problems)
    task.verifier.check_machine()
    verdicts: list[Verdict] = []
    for problem in solved[:_MEASURED]:
        verdicts.append(task.grade(problem, str(problem.solution)))
        if len(verdicts) == _FEWEST_UNSCORED and all(one.status == "unscored" for one in verdicts):
            raise TaskError(
                f"Its verifier could not judge a single solution: {verdicts[0].reason}",
                hint="Where it asks a server, start that first.",
            )
    right = sum(one.status == "correct" for one in verdicts)
    return len(solved) / len(problems) * (right / len(verdicts) if verdicts else 0.0)


def forecast_of(recipe: Recipe, *, cache: Path) -> tuple[Forecast, dict[str, GivenFacts], list[str]]:
    """What is known before a run.

    Returns:
        The forecast, what is known of given models, and faults.
    """
    faults: list[str] = []
    given: dict[str, GivenFacts] = {}
    for name, table in recipe.models.items():
        if isinstance(table, GivenRecipe):
            try:
                given[name] = given_facts(table, cache=cache)
            except SpiritsafeError as error:
                faults.append(f"{name}: {error.diagnostics()}")
                given[name] = GivenFacts()
    chats = {name: facts.chat for name, facts in given.items() if facts.chat is not None}
    chat = next(iter(chats.values()), None)  # to count tokens with
    sets: dict[str, DataFacts] = {}
    taken: set[bytes] = set()
    for name, data in recipe.data.items():
        if isinstance(data, DataRecipe):
            try:
                most = longest_answer(recipe, name)
                sets[name], more = data_facts(
                    data, taken, chat, seed=derive_seed(recipe.seed, "train"), max_tokens=most
                )
                taken |= more
            except SpiritsafeError as error:
                faults.append(f"{name}: {error.diagnostics()}")
    configs = {name: facts.config for name, facts in given.items() if facts.config is not None}
    checkpoints = {name: facts.checkpoint for name, facts in given.items() if facts.checkpoint is not None}
    forecast = forecast_with(recipe, configs, chats, sets, given=checkpoints)
    return forecast, given, faults + faults_of(forecast)


def forecast_of_run(context: RunContext) -> Forecast:
    """The same, where models are fetched and data are drawn."""
    recipe = context.recipe
    models = {
        name: source_config(str(place), cache=context.cache)
        for name in recipe.models
        if (place := context.stage(name).result().get("directory")) is not None
    }
    chats = {name: model.chat_format() for name, model in models.items()}
    chat = next(iter(chats.values()), None)
    sets = {}
    for name in recipe.data:
        result: dict[str, Any] = context.stage(name).result()
        problems = list(islice(read_problems(context, name), _MEASURED))
        sets[name] = DataFacts(
            task=result["task"],
            num_problems=result["problems"],
            num_documents=result["verified"],
            verifies=result["verifies"],
            size=document_size(problems, chat, max_tokens=longest_answer(recipe, name)),
        )
    configs = {name: model.config for name, model in models.items()}
    given = {name: given_lineage(context, name) for name in recipe.models}
    return forecast_with(recipe, configs, chats, sets, given=given)


def forecast_with(
    recipe: Recipe,
    configs: Mapping[str, Config],
    chats: Mapping[str, ChatFormat],
    sets: Mapping[str, DataFacts],
    *,
    given: Mapping[str, Checkpoint] | None = None,
) -> Forecast:
    """With what is made of what is given."""
    all_configs, all_sets = dict(configs), dict(sets)
    forecast = Forecast(
        recipe=recipe, configs=all_configs, device=planned_device(recipe), chats=chats, sets=all_sets, given=given or {}
    )
    for node in recipe.made:
        step = step_of(node)
        if node.makes_model and (config := step.config_of(all_configs)) is not None:
            all_configs[node.name] = config
        if (facts := step.facts_of(node, forecast)) is not None:
            all_sets[node.name] = facts
    return forecast


def faults_of(forecast: Forecast) -> list[str]:
    """Everything that cannot work, as far as it is known."""
    recipe = forecast.recipe
    found = [fault for node in recipe.nodes for fault in step_of(node).faults(node, forecast)]
    found += [
        f"{node.name} needs {name} itself, which is behind an endpoint alone: add source to [models.{name}], or learn "
        'from its answers (kind = "sample")'
        for node in recipe.made
        for name in dict.fromkeys(node.recipe.needs.reads)
        if name not in node.recipe.needs.asks and _is_only_served(recipe, name)
    ]
    found += duty_faults(forecast)
    for exam in recipe.exams:
        try:
            task = build_task(exam.task)
        except SpiritsafeError as error:
            found.append(f"exam {exam.name!r}: {error.diagnostics()}")
            continue
        if not task.verifies:
            found.append(
                f'exam {exam.name!r}: {task.name} has no verifier; measure what was held out (kind = "measure")'
            )
    return list(dict.fromkeys(found))


def _is_only_served(recipe: Recipe, name: str) -> bool:
    given = recipe.models.get(name)
    return isinstance(given, GivenRecipe) and given.source is None


def refuse(faults: Sequence[str]) -> None:
    """Refuse what cannot work.

    Raises:
        RecipeError: There is a fault; the message tells all.
    """
    if len(faults) == 1:
        raise RecipeError(f"{faults[0].rstrip('.')}.", hint="Nothing was sealed or trained.")
    if faults:
        lines = "\n".join(f"  {fault}" for fault in faults)
        raise RecipeError(f"{len(faults)} things cannot work:\n{lines}\n", hint="Nothing was sealed or trained.")


def check_recipe(context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Refuse what cannot work before anything is sealed or trained.

    Raises:
        RecipeError: There is a fault; the message tells all.
    """
    refuse(faults_of(forecast_of_run(context)))
    return {"summary": "nothing stands in the way"}


def longest_answer(recipe: Recipe, data: str) -> int:
    """Most tokens of an answer to a problem of a data set."""
    asked = [node.recipe for node in recipe.made if data in node.recipe.needs.problems]
    found = [sampling.max_tokens for one in asked if (sampling := getattr(one, "sampling", None)) is not None]
    return max(found, default=256)
