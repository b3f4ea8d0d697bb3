"""What a student follows: a teacher's distributions, live or captured, by set, across tokenizers, hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.core.files.atomic import ensure_directory, write_json
from spiritsafe.distil import (
    AcrossMix,
    AcrossTokenizersObjective,
    DistilObjective,
    HiddenMatch,
    LiveChunkTeacher,
    LiveTeacher,
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
    Document,
    LanguageModel,
    LoadedModel,
)
from spiritsafe.pipeline.context import RunContext, Trace
from spiritsafe.pipeline.recipe.cut import CutRecipe
from spiritsafe.pipeline.recipe.distil import DistilRecipe, HiddenRecipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.capture import open_signal
from spiritsafe.pipeline.stages.distil.parts import DistilParts
from spiritsafe.training import Objective, current_parallel


def distil_objective(step: DistilRecipe, context: RunContext, stage: StageDirectory, parts: DistilParts) -> Objective:
    """What is followed where both read the same tokens; across tokenizers, see :func:`across_objective`.

    Raises:
        RecipeError: Hidden states are to be matched by index, and the student is no cut of its teacher; or the student
            writes answers to problems of two teachers.
    """
    signal: TeacherSignal
    if step.signal is not None:
        signal = open_signal(context, step.signal, parts.teacher.checkpoint, parts.teacher.chat)
    elif parts.speaker is not None and len(parts.teachers) == 1:
        signal = LiveTeacher(parts.speaker)
    else:
        signal = _by_set(step, parts)
    hidden = None if step.hidden is None else _hidden(step, step.hidden, context, stage, parts)
    return DistilObjective(signal, step.mix, same_tokenizer=True, hidden=hidden)


def _by_set(step: DistilRecipe, parts: DistilParts) -> TeacherSignal:
    """Each document is read by the teacher of its set; one that the student writes by that of the problem's set.

    Raises:
        RecipeError: The student writes answers to a problem that is in sets of two teachers.
    """
    owners = dict(step.teacher) if isinstance(step.teacher, dict) else {}
    named = [owners[name] for name, traces in parts.sets.items() for _ in range(len(traces))]
    prompts: dict[str, str] = {}
    for trace, owner in zip(parts.traces, named, strict=True) if step.on_policy is not None else ():
        prompt = document_key(parts.student.chat.prompt_ids(trace.problem.messages))
        if prompts.setdefault(prompt, owner) != owner:
            raise RecipeError(
                f"{step.name} writes answers to problems that are in sets of two teachers, {prompts[prompt]} and "
                f"{owner}: nobody could say whom to follow.",
                hint="Give each teacher problems of its own, or leave on_policy out.",
            )
    return TeachersByDocument(
        {teacher.name: LiveTeacher(teacher.model) for teacher in parts.teachers},
        {document_key(d.token_ids): owner for d, owner in zip(parts.documents, named, strict=True)},
        prompts=prompts,
        same_tokenizer=True,
    )


def _hidden(
    step: DistilRecipe, hidden: HiddenRecipe, context: RunContext, stage: StageDirectory, parts: DistilParts
) -> HiddenMatch:
    """The match, fitted once: another process and a resumed run read it, for their fit may differ in its last bits."""
    path = stage.shared / "training" / "hidden.safetensors"
    current_parallel().on_main(lambda: None if path.is_file() else _fit_hidden(step, hidden, context, path, parts))
    return load_hidden_match(path, device=context.device)


def _fit_hidden(step: DistilRecipe, hidden: HiddenRecipe, context: RunContext, path: Path, parts: DistilParts) -> None:
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
