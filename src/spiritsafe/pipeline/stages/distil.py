"""Stages that distil: a model follows a teacher's distributions on sets, or on what it writes itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, final

import torch

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError, RecipeError
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
    TeachersByDocument,
    TeacherSignal,
    TokenBytes,
    document_key,
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
    predict_footprint,
    read_cut_plan,
    read_model_config,
    renumbered,
    require_same_vocabulary,
    save_checkpoint,
    with_vocabulary,
)
from spiritsafe.pipeline.compute import Compute
from spiritsafe.pipeline.context import RunContext, Trace, Traces, as_text, in_vocabulary
from spiritsafe.pipeline.equal_compute import within_budget
from spiritsafe.pipeline.plan.memory import CACHED_ENTRIES, Beside, engine_beside
from spiritsafe.pipeline.recipe.cut import CutRecipe
from spiritsafe.pipeline.recipe.distil import DistilRecipe, HiddenRecipe
from spiritsafe.pipeline.recipe.graph import weights_of
from spiritsafe.pipeline.recipe.schema import Recipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.capture import open_signal, signal_traces, teacher_of_signal
from spiritsafe.pipeline.stages.checks import audit_stage, fit_memory
from spiritsafe.pipeline.stages.sets import chosen_traces, task_of
from spiritsafe.pipeline.stages.source import (
    answerers,
    lineage_of,
    load_learner,
    load_reader,
    model_directory,
    parents_of,
    speaker_of,
)
from spiritsafe.pipeline.stages.training import (
    begin_lora,
    dev_evaluation,
    discard_training,
    documents_of,
    documents_path,
    end_lora,
    make_documents,
    train_model,
    within_context,
)
from spiritsafe.training import (
    DocumentStore,
    Feed,
    Objective,
    TrainConfig,
    document_digests,
    document_lengths,
    write_documents,
)


@final
@dataclass(frozen=True, kw_only=True)
class _Teacher:
    """A teacher, live or captured.

    Attributes:
        loaded: None where its captured signal is read.
    """

    name: str
    chat: ChatFormat
    checkpoint: Checkpoint
    loaded: LoadedModel | None

    @property
    def model(self) -> LanguageModel:
        """Live."""
        if self.loaded is None:
            raise TypeError("this objective keeps the teacher live")
        return self.loaded.model


@final
@dataclass(frozen=True, kw_only=True)
class _Parts:
    """What a student's training is put together from.

    Attributes:
        teachers: The first is the only one, but for divergences over sets with teachers of their own.
        student: What will be trained.
        plan: The cut that the student's weights come from; None: none does.
        speaker: The first teacher in the student's vocabulary.
        sets: Traces by the set that they are of.
        traces: All of them.
        documents: The same in the student's tokens; the order is that of the traces.
    """

    teachers: Sequence[_Teacher]
    student: LoadedModel
    plan: CutPlan | None
    speaker: LanguageModel | None
    sets: Mapping[str, Traces]
    traces: Sequence[Trace]
    documents: Sequence[Document]

    @property
    def teacher(self) -> _Teacher:
        """The first."""
        return self.teachers[0]

    @property
    def num_reading(self) -> int:
        """Active parameters of a teacher that reads along; 0: none does. Of several the mean over documents."""
        return max((teacher.loaded.num_active for teacher in self.teachers if teacher.loaded is not None), default=0)

    @property
    def is_renumbered(self) -> bool:
        """Whether the student has a part of the teacher's vocabulary."""
        return self.plan is not None and self.plan.kept_ids is not None


def distil_model(step: DistilRecipe, context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Distil one student: 1. what goes in, 2. checks, 3. training, 4. the checkpoint.

    Raises:
        CompatibilityError: Teacher and student do not read the documents alike.
        BudgetError: It does not fit into this machine's memory.
    """
    parts = _parts(step, context, stage, events)  # 1.
    objective: Objective
    if step.objective == "across":
        documents, objective = across_objective(
            stage,
            parts.teacher.model,
            parts.teacher.chat,
            parts.student,
            parts.traces,
            ce_share=step.ce_share,
            directory=documents_path(stage).parent,
        )
        parts = replace(parts, documents=documents)
    else:
        objective = _objective(step, context, stage, parts)
    wish = step.train.config(
        parts.student.num_active,
        epoch_tokens=int(document_lengths(parts.documents).sum()),
        way=step.way,
        max_steps=None if step.on_policy is None else step.on_policy.num_steps,
    )
    audit_stage(  # 2.
        stage,
        parts.student,
        parts.documents,
        _audited(step, parts),
        wish,
        events,
        teacher=None if parts.is_renumbered else parts.teacher.chat,
        same_tokens=step.objective != "across",
    )
    is_frozen = step.lora is not None
    train = within_budget(
        context,
        wish,
        step.budget,
        (*parts.sets, *step.needs.signals),
        num_parameters=parts.student.num_active,
        teacher_parameters=parts.num_reading,
        frozen=is_frozen,
    )
    config = fit_memory(
        stage,
        parts.student,
        parts.documents,
        train,
        events,
        device=context.device,
        beside=_beside(step, context, parts, train),
    )
    begin_lora(step.lora, context, parts.student, name=step.name)  # 3.
    feed = _feed(step, context, stage, parts, config, events)
    evaluate = dev_evaluation(context, parts.student, step)
    learnt = feed or parts.documents
    result = train_model(context, stage, parts.student, learnt, objective, config, events, evaluate=evaluate)
    end_lora(step.lora, context, stage, parts.student, name=step.name)
    start = lineage_of(context, step.origin)
    checkpoint = save_checkpoint(  # 4.
        stage.path / "model",
        parts.student.model,
        parts.student.chat,
        name=f"{context.recipe.name}-{step.name}",
        license=start.license,
        parents=_parents(step, context, parts, start),
        recipe=context.run.hash,
    )
    discard_training(stage)
    said = f"{result.tokens:,} tokens, loss {result.final_loss:.3f}"
    teacher_bytes = parts.teacher.checkpoint.weight_bytes
    if teacher_bytes:
        said = f"{checkpoint.weight_bytes / teacher_bytes:.1%} of the teacher's bytes, {said}"
    return {
        "digest": checkpoint.digest,
        "steps": result.steps,
        "tokens": result.tokens,
        "compute": _compute(step, stage, parts, result.tokens).to_json(),
        "documents": {name: len(traces) for name, traces in parts.sets.items()},
        "summary": said,
    }


def _beside(step: DistilRecipe, context: RunContext, parts: _Parts, train: TrainConfig) -> Beside:
    """What is in memory beside the student."""
    live = [read_model_config(teacher.loaded.directory) for teacher in parts.teachers if teacher.loaded is not None]
    student = read_model_config(parts.student.directory)
    beside = student_beside(step, context.recipe, student, context.device, train, teachers=live, dtype=_dtype(parts))
    if step.on_policy is None:
        return beside
    policy = step.on_policy
    prompts = (len(parts.student.chat.prompt_ids(trace.problem.messages)) for trace in parts.traces)
    return replace(
        beside,
        longest_answer=max(prompts) + policy.sampling.max_tokens,
        documents_per_step=math.ceil(policy.num_drawn / policy.steps_per_round / policy.share),
    )


def _dtype(parts: _Parts) -> Literal["fp32", "bf16"]:
    """How a live teacher is held."""
    model = None if parts.teacher.loaded is None else parts.teacher.loaded.model
    return "fp32" if model is None or next(model.parameters()).dtype == torch.float32 else "bf16"


def student_beside(
    step: DistilRecipe,
    recipe: Recipe,
    config: Mapping[str, Any],
    device: torch.device,
    train: TrainConfig,
    *,
    teachers: Sequence[Mapping[str, Any]],
    dtype: Literal["fp32", "bf16"] = "fp32",
) -> Beside:
    """What stands in memory beside a student in training, as the recipe says: a plan and its stage both ask this.

    Args:
        config: ``config.json`` of the student.
        teachers: The same of live teachers.
        dtype: How these are held.
    """
    engine = 0 if step.on_policy is None and step.dev is None else engine_beside(recipe, config, device, train)
    others = sum(predict_footprint(other, dtype).weight_bytes for other in teachers[1:])
    return Beside(
        teacher=teachers[0] if teachers else None,
        teacher_dtype=dtype,
        matched_layers=0 if step.hidden is None else step.hidden.pairs,
        cached_entries=CACHED_ENTRIES if step.signal is not None else 0,
        lora=step.lora,
        other_bytes=engine + others,
    )


def _parents(step: DistilRecipe, context: RunContext, parts: _Parts, start: Checkpoint) -> tuple[Parent, ...]:
    used = ["logits"] + (["hidden_states"] if step.hidden is not None else [])
    return parents_of(
        [
            (start, () if _is_random(context, step.origin) else ("weights",)),
            *((teacher.checkpoint, used) for teacher in parts.teachers),
            *((writer, ("outputs",)) for writer in answerers(context, parts.sets)),
        ]
    )


def _is_random(context: RunContext, name: str) -> bool:
    """Whether nothing was ever learnt by a model's weights."""
    recipe = context.recipe.node(name).recipe
    return isinstance(recipe, CutRecipe) and recipe.start == "random"


def _compute(step: DistilRecipe, stage: StageDirectory, parts: _Parts, num_tokens: int) -> Compute:
    """What was trained on, what a live teacher read of it, and what the student wrote itself."""
    size = parts.student.num_active
    compute = Compute.training(num_tokens, size, frozen=step.lora is not None)
    if parts.num_reading:
        compute += Compute.reading(num_tokens, parts.num_reading)
    rounds = stage.path / "rounds" / ROUNDS_FILE
    drawn = read_json_lines(rounds) if rounds.is_file() else []
    return compute + Compute.generating(round(sum(row["num_answers"] * row["mean_tokens"] for row in drawn)), size)


def _audited(step: DistilRecipe, parts: _Parts) -> Sequence[Trace]:
    """What each document was made of, in the student's tokens."""
    chat = parts.student.chat
    if parts.plan is not None and parts.plan.kept_ids is not None:
        new = {old: index for index, old in enumerate(parts.plan.kept_ids)}
        return MappedSequence(
            parts.traces, lambda _, trace: replace(trace, token_ids=tuple(new[token] for token in trace.token_ids))
        )
    if step.objective == "across":  # not every trace could be paired
        traces = MappedSequence(parts.traces, lambda _, trace: replace(as_text(trace), turns=()))
        texts = (chat.document(trace.problem.messages, trace.text, use="align") for trace in traces)
        places = {bytes(name): place for place, name in enumerate(document_digests(texts))}
        wanted = [places[bytes(name)] for name in document_digests(parts.documents)]
        return MappedSequence(wanted, lambda _, place: traces[place])
    return in_vocabulary(parts.traces, chat.vocab_fingerprint)


def _parts(step: DistilRecipe, context: RunContext, stage: StageDirectory, events: EventSink) -> _Parts:
    sets = _sets(step, context)
    if not any(sets.values()):
        raise RecipeError(
            f"There is no answer to distil {step.name} on: {', '.join(sets)} hold none.",
            hint="Add data with solutions, or let the model that samples learn longer.",
        )
    teachers = _teachers(step, context)
    teacher = teachers[0]
    student = load_learner(context, step.origin)
    plan = _cut_plan(context, step.origin, teacher)
    is_part = plan is not None and plan.kept_ids is not None
    live = [one.loaded.model.max_context for one in teachers if one.loaded is not None and step.objective != "across"]
    most = min([student.model.max_context, *live])
    sets = within_context(teacher.chat if is_part else student.chat, most, sets, events, name=step.name)
    if not any(sets.values()):
        raise RecipeError(
            f"Every answer is longer than the {most} tokens that {step.origin} and its teacher read.",
            hint="Lower max_tokens of the step that samples, or take models with a longer context.",
        )
    traces: Sequence[Trace] = Traces.joined(list(sets.values()))
    speaker = None if teacher.loaded is None else teacher.loaded.model
    if plan is not None and plan.kept_ids is not None:
        if not isinstance(speaker, Decoder) or len(teachers) > 1:
            raise CompatibilityError(
                f"{step.origin} has a part of {teacher.name}'s vocabulary: it follows that one live teacher alone.",
                hint='Name it as teacher, without signal; or cut with vocabulary = "full".',
            )
        traces = in_vocabulary(traces, teacher.chat.vocab_fingerprint)
        made = renumbered(make_documents(teacher.chat, traces), plan.kept_ids)
        documents, speaker = write_documents(documents_path(stage), made), with_vocabulary(speaker, plan.kept_ids)
    elif step.objective == "across":
        documents = DocumentStore.of([])  # they are made in pairs
    else:
        for one in teachers:
            require_same_vocabulary(one.chat, student.chat)
        documents = documents_of(student, in_vocabulary(traces, student.chat.vocab_fingerprint), documents_path(stage))
    return _Parts(
        teachers=teachers,
        student=student,
        plan=plan,
        speaker=speaker,
        sets=sets,
        traces=traces,
        documents=documents,
    )


def _sets(step: DistilRecipe, context: RunContext) -> dict[str, Traces]:
    """What it learns from; of a signal of answers, these in the tokens that were captured."""
    sets = chosen_traces(context, step.learns)
    answers = None if step.signal is None else signal_traces(context, step.signal)
    return sets if answers is None else {name: answers[: len(traces)] for name, traces in sets.items()}


def _teachers(step: DistilRecipe, context: RunContext) -> list[_Teacher]:
    if step.signal is not None:
        name = teacher_of_signal(context, step.signal)
        chat = ChatFormat(model_directory(context, name))
        return [_Teacher(name=name, chat=chat, checkpoint=speaker_of(context, name), loaded=None)]
    found = []
    for name in step.teachers:
        loaded = load_reader(context, name)
        found.append(_Teacher(name=name, chat=loaded.chat, checkpoint=lineage_of(context, name), loaded=loaded))
    return found


def _cut_plan(context: RunContext, start: str, teacher: _Teacher) -> CutPlan | None:
    """The plan of the cut that a student's weights come from, where its whole had the teacher's vocabulary."""
    for name in weights_of(context.recipe.nodes, start):
        recipe = context.recipe.node(name).recipe
        if isinstance(recipe, CutRecipe):
            whole = ChatFormat(model_directory(context, recipe.origin))
            folder = context.stage(name).path
            plan = read_cut_plan(folder if recipe.start == "random" else folder / "model")
            return plan if whole.vocab_fingerprint == teacher.chat.vocab_fingerprint else None
    return None


def _feed(
    step: DistilRecipe,
    context: RunContext,
    stage: StageDirectory,
    parts: _Parts,
    config: TrainConfig,
    events: EventSink,
) -> Feed | None:
    """The student's own answers to the problems of its traces, mixed with the traces; None trains on these alone."""
    if step.on_policy is None:
        return None
    problems = list({trace.problem.id: trace.problem for trace in parts.traces}.values())
    own = step.on_policy.model_copy(update={"seed": context.seed("on policy", step.name)})
    return OnPolicyFeed(
        parts.student,
        problems,
        own,
        config,
        directory=stage.path / "rounds",
        off_policy=parts.documents if own.share < 1.0 else (),
        task=task_of(context, _data_of(context, tuple(parts.sets))),
        events=events,
        max_batch=context.recipe.engine.max_batch,
    )


def _data_of(context: RunContext, sets: Sequence[str]) -> tuple[str, ...]:
    """The data sets whose problems some sets answer."""
    found: dict[str, None] = {}
    for name in sets:
        recipe = context.recipe.node(name).recipe
        found.update(dict.fromkeys((name,) if recipe.makes == "problems" else recipe.needs.problems))
    return tuple(found)


def _objective(step: DistilRecipe, context: RunContext, stage: StageDirectory, parts: _Parts) -> Objective:
    signal: TeacherSignal
    if step.signal is not None:
        signal = open_signal(context, step.signal, parts.teacher.checkpoint, parts.teacher.chat)
    elif parts.speaker is not None and len(parts.teachers) == 1:
        signal = LiveTeacher(parts.speaker)
    else:
        signal = _by_set(step, parts)
    hidden = None if step.hidden is None else _hidden(step, step.hidden, context, stage, parts)
    return DistilObjective(signal, step.mix, same_tokenizer=True, hidden=hidden)


def _by_set(step: DistilRecipe, parts: _Parts) -> TeacherSignal:
    """Each document is read by the teacher of its set."""
    owners = dict(step.teacher) if isinstance(step.teacher, dict) else {}
    named = [owners[name] for name, traces in parts.sets.items() for _ in range(len(traces))]
    return TeachersByDocument(
        {teacher.name: LiveTeacher(teacher.model) for teacher in parts.teachers},
        {document_key(d.token_ids): owner for d, owner in zip(parts.documents, named, strict=True)},
        same_tokenizer=True,
    )


def _hidden(
    step: DistilRecipe, hidden: HiddenRecipe, context: RunContext, stage: StageDirectory, parts: _Parts
) -> HiddenMatch:
    """The match, fitted once: a resumed run reads it, for a fit on another machine may differ in its last bits."""
    path = stage.path / "training" / "hidden.safetensors"
    if path.is_file():
        return load_hidden_match(path, device=context.device)
    # A random model shares no layer and no channel with the teacher, whatever its shape; nor does another's cut.
    start = context.recipe.node(step.origin).recipe
    is_own_cut = isinstance(start, CutRecipe) and start.start == "weights" and start.origin == parts.teacher.name
    plan = parts.plan if is_own_cut else None
    if plan is None and hidden.method == "index":
        raise RecipeError(
            f"{step.origin} was not cut from {parts.teacher.name}, so there is no index map between them.",
            hint='Set hidden.method to "procrustes", or leave it out.',
        )
    match = make_hidden_match(
        parts.student.model,
        parts.speaker or parts.teacher.model,
        parts.documents[: hidden.calibration],
        num_pairs=hidden.pairs,
        kept_layers=None if plan is None else plan.kept_layers,
        kept_channels=None if plan is None else plan.kept_channels,
        weight=hidden.weight,
        until=hidden.until,
        share_of_tokens=hidden.share_of_tokens,
        seed=context.seed("hidden", step.name),
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
