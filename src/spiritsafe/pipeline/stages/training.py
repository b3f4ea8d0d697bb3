"""Steps that train a low-rank correction: adapters on before training, folded into the weights after.

In: a loaded model. Out: the same model, with adapters and again without; in the stage ``adapter``, in peft's layout.
What goes on and sits the exam is a plain model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from spiritsafe.core.errors import RecipeError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import write_json
from spiritsafe.core.records import Prompt
from spiritsafe.models import (
    ChatFormat,
    Decoder,
    Document,
    GridType,
    HasWeights,
    LanguageModel,
    LoadedModel,
    LoraConfig,
    MergedLora,
    add_lora,
    make_generator,
    merge_lora,
    save_lora,
)
from spiritsafe.pipeline.context import RunContext, Trace, Traces, in_vocabulary
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.recipe.training import TrainedRecipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.sets import task_of
from spiritsafe.training import (
    DocumentStore,
    Evaluate,
    Feed,
    Objective,
    TrainConfig,
    TrainResult,
    discard_state,
    train,
    write_documents,
)


def begin_lora(config: LoraConfig | None, context: RunContext, loaded: LoadedModel, *, name: str) -> None:
    """Freeze the weights and put adapters on; None leaves the model as it is.

    Args:
        context: The run, whose seed decides how they begin.
        loaded: What will be trained.

    Raises:
        CompatibilityError: None of the model's linear layers is known, or peft is needed and not installed.
    """
    if config is not None:
        add_lora(loaded.model, config.model_copy(update={"seed": context.seed("lora", name)}))


def end_lora(
    config: LoraConfig | None, context: RunContext, stage: StageDirectory, loaded: LoadedModel, *, name: str
) -> HasWeights:
    """Keep the adapters, and fold them into float32 weights: half precision would swallow what they learnt.

    A Decoder's quantised base is not made whole for it: its weights are folded one by one while they are written.

    Args:
        config: None: there are none.
        stage: Where they are kept.
        loaded: What was trained.

    Returns:
        What the step's checkpoint is written of.
    """
    if config is None:
        return loaded.model
    save_lora(
        stage.path / "adapter",
        loaded.model,
        base=loaded.checkpoint,
        name=f"{context.recipe.name}-{name}-adapter",
        license=loaded.checkpoint.license,
        recipe=context.run.hash,
    )
    if isinstance(loaded.model, Decoder) and loaded.model.weight_format is not None:
        return MergedLora(loaded.model)
    loaded.model.to(torch.float32)
    merge_lora(loaded.model)
    return loaded.model


def make_documents(chat: ChatFormat, traces: Iterable[Trace]) -> Iterator[Document]:
    """Training documents in the model's chat format; a model's own attempts keep their very tokens."""
    for trace in traces:
        if trace.token_ids:
            yield chat.document_from_tokens(trace.problem.messages, trace.token_ids)
        else:
            yield chat.document(trace.problem.messages, trace.text, turns=trace.turns)


def documents_of(loaded: LoadedModel, traces: Iterable[Trace], path: Path | None = None) -> DocumentStore:
    """The same, kept: in a file, where they may be many, or in memory."""
    documents = make_documents(loaded.chat, traces)
    return DocumentStore.of(documents) if path is None else write_documents(path, documents)


def within_context(
    chat: ChatFormat, most: int, sets: Mapping[str, Traces], events: EventSink, *, name: str
) -> dict[str, Traces]:
    """Sets without the traces that a model could not read to their end; these are counted and told.

    Args:
        chat: In whose tokens documents are made.
        most: Tokens that the model's context holds.
        name: Of the model that would learn them.
    """
    kept = {}
    for one, traces in sets.items():
        documents = make_documents(chat, in_vocabulary(traces, chat.vocab_fingerprint))
        kept[one] = traces.where([len(document.token_ids) <= most for document in documents])
        num_long = len(traces) - len(kept[one])
        if num_long:
            said = f"{num_long} of {len(traces)} answers of {one} are longer than the {most} tokens that {name} reads"
            events.metrics("warning", {"message": f"{said}: they are left out."})
    return kept


def documents_path(stage: StageDirectory) -> Path:
    """Where a stage keeps what it trains on while it runs; other documents of it lie beside."""
    return stage.path / "training" / "documents.bin"


def discard_training(stage: StageDirectory) -> None:
    """Delete what a finished stage trained on and from: documents and optimiser state, no longer needed and large."""
    for path in documents_path(stage).parent.glob("*.bin"):
        path.unlink()
    discard_state(stage.path / "training")


def dev_set(step: TrainedRecipe, recipe: Recipe) -> str:
    """The data set whose dev problems are asked: named, or the first that the step asks or learns from."""
    if step.dev is not None and step.dev.on is not None:
        return step.dev.on
    name = (*step.needs.problems, *step.needs.sets)[0]
    while name not in recipe.data:  # answers are of the data that were asked
        name = recipe.node(name).recipe.needs.problems[0]
    return name


def dev_evaluation(context: RunContext, loaded: LoadedModel, step: TrainedRecipe) -> Evaluate | None:
    """A function that scores the model, as it is at that moment, on problems of the dev bucket; None: not wanted.

    Args:
        context: The run.
        loaded: How the model's chats are written.
        step: Says how many problems, and of which data.

    Raises:
        RecipeError: There is nothing that could tell right from wrong.
    """
    dev = step.dev
    if dev is None:
        return None
    task = task_of(context, (dev_set(step, context.recipe),))
    if not task.verifies:
        raise RecipeError(
            f"{task.name} has no verifier, so it gives no points of accuracy.",
            hint="Leave dev out; `measure` steps tell the loss on what was held out.",
        )
    problems = {p.id: p for p in task.problems("dev", seed=context.seed("dev"), count=dev.problems)}
    prompts = [Prompt(problem_id=p.id, messages=p.messages) for p in problems.values()]
    engine = context.recipe.engine
    generator = make_generator(loaded, max_batch=engine.max_batch, max_context=engine.max_context)

    def evaluate(model: LanguageModel, step: int) -> dict[str, float]:
        right = sum(
            task.grade(problems[attempt.problem_id], attempt.text).status == "correct"
            for attempt in generator.generate(prompts, dev.sampling)
        )
        return {"dev_right": float(right), "dev_problems": float(len(problems))}

    return evaluate


def train_model(
    context: RunContext,
    stage: StageDirectory,
    loaded: LoadedModel,
    documents: Sequence[Document] | Feed,
    objective: Objective,
    config: TrainConfig,
    events: EventSink,
    *,
    evaluate: Evaluate | None,
    grid: Mapping[str, GridType] | None = None,
) -> TrainResult:
    """Train, with an evaluation if there is one, and write the curve beside other files.

    Args:
        grid: How a file would hold the matrices that the passes see; None: as they are.
    """
    result = train(
        loaded.model,
        documents,
        objective,
        config.model_copy(update={"seed": context.seed("train", stage.name)}),
        directory=stage.shared / "training",
        events=events,
        evaluate=evaluate,
        grid=grid,
    )
    write_json(stage.path / "curve.json", [{**point} for point in result.curve])
    return result
