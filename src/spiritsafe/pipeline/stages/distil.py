"""Student stages: a model cut from its teacher, a random one of its shape, or one of its own, is distilled."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, final

import torch

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import ensure_directory, write_json
from spiritsafe.core.files.json_lines import read_json_lines
from spiritsafe.core.mapped import MappedSequence
from spiritsafe.core.records import Checkpoint, Parent
from spiritsafe.distil import (
    ROUNDS_FILE,
    AcrossMix,
    AcrossTokenizersObjective,
    DistilObjective,
    HiddenMatch,
    LiveChunkTeacher,
    LiveTeacher,
    OnPolicyFeed,
    TeacherSignal,
    TokenBytes,
    load_hidden_match,
    make_hidden_match,
    map_vocabularies,
    measure_coverage,
    pair_conversations,
    save_hidden_match,
)
from spiritsafe.models import (
    ChatFormat,
    CutPlan,
    Decoder,
    Document,
    LanguageModel,
    LoadedModel,
    load_model,
    randomise,
    read_cut_plan,
    read_model_config,
    renumbered,
    require_same_vocabulary,
    resolve_source,
    save_checkpoint,
    with_vocabulary,
)
from spiritsafe.pipeline.compute import Compute
from spiritsafe.pipeline.context import RunContext, Trace, as_text, in_vocabulary
from spiritsafe.pipeline.equal_compute import within_budget
from spiritsafe.pipeline.plan.memory import CACHED_ENTRIES, Beside, dev_engine_bytes, engine_beside
from spiritsafe.pipeline.recipe.graph import GIVEN_MODELS
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.recipe.students import HiddenRecipe, StudentRecipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.capture import open_cache
from spiritsafe.pipeline.stages.checks import audit_stage, fit_memory
from spiritsafe.pipeline.stages.cut import cut_stage
from spiritsafe.pipeline.stages.source import answerers, model_directory, parents_of
from spiritsafe.pipeline.stages.traces import student_traces
from spiritsafe.pipeline.stages.training import (
    discard_training,
    documents_of,
    documents_path,
    make_documents,
    train_model,
)
from spiritsafe.tasks import load_task
from spiritsafe.training import (
    DocumentStore,
    Feed,
    Objective,
    TracesObjective,
    TrainConfig,
    document_digests,
    write_documents,
)


@final
@dataclass(frozen=True, kw_only=True)
class _Parts:
    """What a student's training is put together from.

    Attributes:
        teacher: The teacher's record.
        config: The teacher's ``config.json``.
        num_reading: The teacher's active parameters.
        speaker: The teacher in the student's vocabulary; None where nothing needs it live.
        student: What will be trained.
        traces: What it learns from.
        documents: The same in the student's tokens; the order is that of the traces.
    """

    chat: ChatFormat
    teacher: Checkpoint
    config: Mapping[str, Any]
    num_reading: int
    speaker: LanguageModel | None
    student: LoadedModel
    plan: CutPlan | None
    traces: Sequence[Trace]
    documents: Sequence[Document]

    @property
    def num_reading_parameters(self) -> int:
        """Active parameters of a teacher that reads along; 0: none does."""
        return 0 if self.speaker is None else self.num_reading

    @property
    def is_renumbered(self) -> bool:
        """Whether the student has a part of the teacher's vocabulary."""
        return self.plan is not None and self.plan.kept_ids is not None


def make_student(
    recipe: StudentRecipe, context: RunContext, stage: StageDirectory, events: EventSink
) -> dict[str, JSON]:
    """Distil one student: 1. what goes in, 2. checks, 3. training, 4. the checkpoint.

    Raises:
        CompatibilityError: Teacher and student do not read the documents alike.
        BudgetError: It does not fit into this machine's memory.
    """
    parts = _parts(recipe, context, stage, events)  # 1.
    objective: Objective
    if recipe.objective == "across":
        documents, objective = across_objective(
            stage,
            _live(parts),
            parts.chat,
            parts.student,
            parts.traces,
            ce_share=recipe.ce_share,
            directory=documents_path(stage).parent,
        )
        parts = replace(parts, documents=documents)
    else:
        objective = _objective(recipe, context, stage, parts)
    audit_stage(  # 2.
        stage,
        parts.student,
        parts.documents,
        _traces_of(recipe, parts),
        recipe.train,
        events,
        teacher=None if recipe.objective == "traces" or parts.is_renumbered else parts.chat,
        same_tokens=recipe.objective != "across",
    )
    train_config = within_budget(
        context,
        recipe.train,
        recipe.budget,
        recipe.traces,
        num_parameters=parts.student.num_active,
        teacher_parameters=parts.num_reading_parameters,
    )
    config = fit_memory(
        stage,
        parts.student,
        parts.documents,
        train_config,
        events,
        device=context.device,
        beside=_beside(recipe, context, parts),
    )
    feed = _feed(recipe, context, stage, parts, config, events)  # 3.
    result = train_model(context, stage, parts.student, feed or parts.documents, objective, config, events)
    checkpoint = save_checkpoint(  # 4.
        stage.path / "model",
        parts.student.model,
        parts.student.chat,
        name=f"{context.recipe.name}-{recipe.name}",
        license=(parts.teacher if recipe.source is None else parts.student.checkpoint).license,
        parents=_parents(recipe, context, parts),
        recipe=context.run.hash,
    )
    discard_training(stage)
    share = checkpoint.weight_bytes / parts.teacher.weight_bytes
    return {
        "digest": checkpoint.digest,
        "steps": result.steps,
        "tokens": result.tokens,
        "share": share,
        "compute": _compute(stage, parts, result.tokens).to_json(),
        "summary": f"{share:.1%} of the teacher's bytes, {result.tokens:,} tokens, loss {result.final_loss:.3f}",
    }


def _beside(recipe: StudentRecipe, context: RunContext, parts: _Parts) -> Beside:
    """What is in memory beside the student."""
    beside = student_beside(
        recipe,
        context.recipe,
        read_model_config(parts.student.directory),
        context.device,
        teacher=None if parts.speaker is None else parts.config,
    )
    if recipe.on_policy is None:
        return beside
    policy = recipe.on_policy
    prompts = (len(parts.student.chat.prompt_ids(trace.problem.messages)) for trace in parts.traces)
    return replace(
        beside,
        longest_answer=max(prompts) + policy.sampling.max_tokens,
        documents_per_step=math.ceil(policy.num_drawn / policy.steps_per_round / policy.share),
    )


def student_beside(
    recipe: StudentRecipe,
    whole: Recipe,
    config: Mapping[str, Any],
    device: torch.device,
    *,
    teacher: Mapping[str, Any] | None,
) -> Beside:
    """What stands in memory beside a student in training, as the recipe says: a plan and its stage both ask this.

    Args:
        config: ``config.json`` of the student.
        teacher: ``config.json`` of its teacher.
    """
    engine = dev_engine_bytes if recipe.on_policy is None else engine_beside
    return Beside(
        teacher=teacher if recipe.has_live_teacher else None,
        matched_layers=0 if recipe.hidden is None else recipe.hidden.pairs,
        cached_entries=CACHED_ENTRIES if recipe.needs.cache else 0,
        other_bytes=engine(whole, config, device, recipe.train),
    )


def _parents(recipe: StudentRecipe, context: RunContext, parts: _Parts) -> tuple[Parent, ...]:
    used = ["weights"] if recipe.start == "teacher" and recipe.source is None else []
    if recipe.objective != "traces":
        used.append("logits")
    if recipe.hidden is not None:
        used.append("hidden_states")
    uses: list[tuple[Checkpoint, Sequence[str]]] = [(parts.teacher, used)]
    uses += [(writer, ("outputs",)) for writer in answerers(context, recipe.traces)]
    if recipe.source is not None:
        uses.append((parts.student.checkpoint, ("weights",)))
    return parents_of(uses)


def _compute(stage: StageDirectory, parts: _Parts, num_tokens: int) -> Compute:
    """What was trained on, what a live teacher read of it, and what the student wrote itself."""
    size = parts.student.num_active
    compute = Compute.training(num_tokens, size)
    if parts.num_reading_parameters:
        compute += Compute.reading(num_tokens, parts.num_reading_parameters)
    rounds = stage.path / "rounds" / ROUNDS_FILE
    drawn = read_json_lines(rounds) if rounds.is_file() else []
    return compute + Compute.generating(round(sum(row["num_answers"] * row["mean_tokens"] for row in drawn)), size)


def _read_by(recipe: StudentRecipe, traces: Sequence[Trace], chat: ChatFormat) -> Sequence[Trace]:
    """Traces as a student reads them: what was drawn in its own vocabulary; of another family's, the text."""
    if recipe.source is not None and recipe.objective in ("across", "traces"):
        return MappedSequence(traces, lambda _, trace: as_text(trace))
    return in_vocabulary(traces, chat.vocab_fingerprint)


def _traces_of(recipe: StudentRecipe, parts: _Parts) -> Sequence[Trace]:
    """What each document was made of, in the student's tokens."""
    chat = parts.student.chat
    if parts.plan is not None and parts.plan.kept_ids is not None:
        new = {old: index for index, old in enumerate(parts.plan.kept_ids)}
        return MappedSequence(
            parts.traces, lambda _, trace: replace(trace, token_ids=tuple(new[token] for token in trace.token_ids))
        )
    traces = _read_by(recipe, parts.traces, chat)
    if recipe.objective == "across":  # not every trace could be paired
        texts = (chat.document(trace.problem.messages, trace.text, use="align") for trace in traces)
        places = {bytes(name): place for place, name in enumerate(document_digests(texts))}
        wanted = [places[bytes(name)] for name in document_digests(parts.documents)]
        return MappedSequence(wanted, lambda _, place: traces[place])
    return traces


def _live(parts: _Parts) -> LanguageModel:
    if parts.speaker is None:
        raise TypeError("this objective keeps the teacher live")
    return parts.speaker


def _parts(recipe: StudentRecipe, context: RunContext, stage: StageDirectory, events: EventSink) -> _Parts:
    teacher = load_model(model_directory(context, recipe.teacher), dtype=torch.float32, device=context.device)
    traces = in_vocabulary(student_traces(context, recipe.traces, recipe.problems), teacher.chat.vocab_fingerprint)
    plan = None
    if recipe.source in {*GIVEN_MODELS, *(node.name for node in context.recipe.models)}:
        directory = model_directory(context, str(recipe.source))
    elif recipe.source is not None:
        directory = resolve_source(recipe.source, cache=context.cache, events=events, **recipe.told)
    else:
        directory = context.stage(cut_stage(recipe, context.recipe.nodes)).path / "model"
        plan = read_cut_plan(directory)
        if recipe.start == "random":
            directory = _random_start(recipe, context, directory, stage.path / "start")
    student = load_model(directory, dtype=torch.float32, device=context.device)
    speaker: LanguageModel | None = teacher.model
    if plan is not None and plan.kept_ids is not None and isinstance(teacher.model, Decoder):
        documents = write_documents(documents_path(stage), renumbered(make_documents(teacher, traces), plan.kept_ids))
        speaker = with_vocabulary(teacher.model, plan.kept_ids)
    elif recipe.objective == "across":
        documents = DocumentStore.of([])  # they are made in pairs
    else:
        documents = documents_of(student, _read_by(recipe, traces, student.chat), documents_path(stage))
        if recipe.objective != "traces":
            require_same_vocabulary(teacher.chat, student.chat)
    if not recipe.has_live_teacher:
        speaker = None
    return _Parts(
        chat=teacher.chat,
        teacher=teacher.checkpoint,
        config=read_model_config(teacher.directory),
        num_reading=teacher.num_active,
        speaker=speaker,
        student=student,
        plan=plan,
        traces=traces,
        documents=documents,
    )


def _random_start(recipe: StudentRecipe, context: RunContext, source: Path, target: Path) -> Path:
    if not target.exists():  # it is whole if it is there
        seed = context.seed("random weights", recipe.name)
        randomise(source, target, seed, name=f"{recipe.name}-start", recipe=context.run.hash)
    return target


def _feed(
    recipe: StudentRecipe,
    context: RunContext,
    stage: StageDirectory,
    parts: _Parts,
    config: TrainConfig,
    events: EventSink,
) -> Feed | None:
    """The student's own answers to the problems of its traces, mixed with the traces; None trains on these alone."""
    if recipe.on_policy is None:
        return None
    problems = list({trace.problem.id: trace.problem for trace in parts.traces}.values())
    own = recipe.on_policy.model_copy(update={"seed": context.seed("on policy", recipe.name)})
    return OnPolicyFeed(
        parts.student,
        problems,
        own,
        config,
        directory=stage.path / "rounds",
        off_policy=parts.documents if own.share < 1.0 else (),
        task=load_task(context.recipe.task.spec),
        events=events,
        max_batch=context.recipe.engine.max_batch,
    )


def _objective(recipe: StudentRecipe, context: RunContext, stage: StageDirectory, parts: _Parts) -> Objective:
    if recipe.objective == "traces":
        return TracesObjective()
    signal: TeacherSignal = (
        open_cache(context, parts.teacher, parts.chat) if recipe.signal == "cached" else LiveTeacher(_live(parts))
    )
    hidden = None if recipe.hidden is None else _hidden(recipe, recipe.hidden, context, stage, parts)
    return DistilObjective(signal, recipe.mix, same_tokenizer=True, hidden=hidden)


def _hidden(
    recipe: StudentRecipe, hidden: HiddenRecipe, context: RunContext, stage: StageDirectory, parts: _Parts
) -> HiddenMatch:
    """The match, fitted once: a resumed run reads it, for a fit on another machine may differ in its last bits."""
    path = stage.path / "training" / "hidden.safetensors"
    if path.is_file():
        return load_hidden_match(path, device=context.device)
    # A random student shares no layer and no channel with the teacher, whatever its shape.
    plan = parts.plan if recipe.start == "teacher" else None
    match = make_hidden_match(
        parts.student.model,
        _live(parts),
        parts.documents[: recipe.calibration],
        num_pairs=hidden.pairs,
        kept_layers=None if plan is None else plan.kept_layers,
        kept_channels=None if plan is None else plan.kept_channels,
        weight=hidden.weight,
        until=hidden.until,
        share_of_tokens=hidden.share_of_tokens,
        seed=context.seed("hidden", recipe.name),
        method=hidden.method,
    )
    ensure_directory(path.parent)
    save_hidden_match(path, match)
    return match


_LEAST_COVERAGE = 0.5
"""Below this share of the completions' bytes the two models do not read the same text."""


def across_objective(
    stage: StageDirectory,
    teacher: LanguageModel,
    teacher_chat: ChatFormat,
    student: LoadedModel,
    traces: Sequence[Trace],
    *,
    ce_share: float,
    directory: Path,
) -> tuple[Sequence[Document], AcrossTokenizersObjective]:
    """Pair the traces for both tokenizers and measure what that covers.

    Args:
        stage: Where ``coverage.json`` goes.
        teacher: Live.
        student: Of another family.
        traces: What it learns from.
        ce_share: Weight of the plain loss on the student's own tokens.
        directory: Where the paired documents are kept while it learns.

    Raises:
        CompatibilityError: A vocabulary cannot be read as bytes, or too little of the text could be aligned.
    """
    ours, theirs = TokenBytes.of_chat(student.chat), TokenBytes.of_chat(teacher_chat)
    table = pair_conversations(
        ((trace.problem.messages, trace.text) for trace in traces),
        student=student.chat,
        teacher=teacher_chat,
        student_bytes=ours,
        teacher_bytes=theirs,
        directory=directory,
    )
    common = map_vocabularies(ours, theirs)
    coverage = measure_coverage(table, ours, theirs, common)
    write_json(stage.path / "coverage.json", coverage.to_json())
    if coverage.covered_share < _LEAST_COVERAGE:
        raise CompatibilityError(
            f"Only {coverage.covered_share:.0%} of the completions could be aligned between the two tokenizers.",
            hint=f"{stage.path / 'coverage.json'} says what was refused; leave such traces out.",
        )
    mix = AcrossMix(chunk=1.0 - ce_share, ce=ce_share)
    return table.documents(), AcrossTokenizersObjective(LiveChunkTeacher(teacher), table, mix)
