"""Stage "teach": the base model learns the task from worked solutions, and becomes the teacher."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import torch

from spiritsafe.core.canonical import JSON
from spiritsafe.core.events import EventSink
from spiritsafe.core.files import write_json
from spiritsafe.core.records import Prompt
from spiritsafe.core.rundir import StageDirectory
from spiritsafe.models import (
    Document,
    DocumentStore,
    LanguageModel,
    LoadedModel,
    load_model,
    make_generator,
    parent_of,
    read_model_config,
    save_checkpoint,
    write_documents,
)
from spiritsafe.pipeline.before import audit_stage, fit_memory
from spiritsafe.pipeline.compute import Compute
from spiritsafe.pipeline.context import RunContext, Trace
from spiritsafe.pipeline.memory import beside_of
from spiritsafe.pipeline.source import base_directory
from spiritsafe.pipeline.traces import cut_to_answers, worked_traces
from spiritsafe.tasks import load_task
from spiritsafe.training import (
    Evaluate,
    Feed,
    Objective,
    TracesObjective,
    TrainConfig,
    TrainResult,
    discard_state,
    train,
)

__all__ = [
    "dev_evaluation",
    "discard_training",
    "documents_of",
    "documents_path",
    "make_documents",
    "teach",
    "train_model",
]


def make_documents(loaded: LoadedModel, traces: Iterable[Trace]) -> Iterator[Document]:
    """Training documents in the model's chat format; a model's own attempts keep their very tokens."""
    for trace in traces:
        if trace.token_ids:
            yield loaded.chat.document_from_tokens(trace.problem.messages, trace.token_ids)
        else:
            yield loaded.chat.document(trace.problem.messages, trace.text)


def documents_of(loaded: LoadedModel, traces: Iterable[Trace], path: Path | None = None) -> DocumentStore:
    """The same, kept: in a file, where they may be many, or in memory."""
    documents = make_documents(loaded, traces)
    return DocumentStore.of(documents) if path is None else write_documents(path, documents)


def documents_path(stage: StageDirectory) -> Path:
    """Where a stage keeps what it trains on while it runs; other documents of it lie beside."""
    return stage.path / "training" / "documents.bin"


def discard_training(stage: StageDirectory) -> None:
    """Delete what a finished stage trained on and from: documents and optimiser state, no longer needed and large."""
    for path in documents_path(stage).parent.glob("*.bin"):
        path.unlink()
    discard_state(stage.path / "training")


def dev_evaluation(context: RunContext, loaded: LoadedModel, *, task_spec: str | None = None) -> Evaluate | None:
    """A function that scores the model, as it is at that moment, on problems of the dev bucket.

    Args:
        context: The run; its recipe says how many problems.
        loaded: How the model's chats are written.
        task_spec: Whose problems; None: the recipe's task.
    """
    count = context.recipe.teach.dev_problems
    if not count:
        return None
    task = load_task(task_spec or context.recipe.task.spec)
    problems = {p.id: p for p in task.problems("dev", seed=context.seed("dev"), count=count)}
    prompts = [Prompt(problem_id=p.id, messages=p.messages) for p in problems.values()]
    engine = context.recipe.engine
    generator = make_generator(loaded, max_batch=engine.max_batch, max_context=engine.max_context)

    def evaluate(model: LanguageModel, step: int) -> dict[str, float]:
        right = sum(
            task.grade(problems[attempt.problem_id], attempt.text).status == "correct"
            for attempt in generator.generate(prompts, context.recipe.exam.sampling)
        )
        return {"dev_right": float(right), "dev_problems": float(count)}

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
    task_spec: str | None = None,
) -> TrainResult:
    """Train, with the run's evaluation (on another task if one is given), and write the curve beside other files."""
    result = train(
        loaded.model,
        documents,
        objective,
        config.model_copy(update={"seed": context.seed("train", stage.path.name)}),
        directory=stage.path / "training",
        events=events,
        evaluate=dev_evaluation(context, loaded, task_spec=task_spec),
    )
    write_json(stage.path / "curve.json", [{**point} for point in result.curve])
    return result


def teach(context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Fine-tune the base model on its share of the worked traces."""
    directory: Path = base_directory(context)
    loaded = load_model(directory, dtype=torch.float32, device=context.device)
    traces: Sequence[Trace] = worked_traces(context, "teach")
    share = context.recipe.teach.direct_share
    if share:
        traces = cut_to_answers(load_task(context.recipe.task.spec), traces, share, seed=context.seed("direct"))
    documents = documents_of(loaded, traces, documents_path(stage))
    audit_stage(stage, loaded, documents, traces, context.recipe.teach.train, events)
    config = fit_memory(
        stage,
        loaded,
        documents,
        context.recipe.teach.train,
        events,
        device=context.device,
        beside=beside_of(None, context.recipe, read_model_config(directory), context.device),
    )
    result = train_model(context, stage, loaded, documents, TracesObjective(), config, events)
    parent = loaded.checkpoint
    checkpoint = save_checkpoint(
        stage.path / "model",
        loaded.model,
        loaded.chat,
        name=f"{context.recipe.name}-teacher",
        license=parent.license,
        parents=(parent_of(parent, "weights"),),
        recipe=context.run.hash,
    )
    discard_training(stage)
    return {
        "digest": checkpoint.digest,
        "steps": result.steps,
        "tokens": result.tokens,
        "compute": Compute.training(result.tokens, loaded.num_active).to_json(),
        "summary": f"{result.steps} steps on {result.tokens:,} tokens, loss {result.final_loss:.3f}",
    }
