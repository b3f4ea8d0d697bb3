"""What a distillation is put together from: teachers, student, sets and documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import final

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.core.events import EventSink
from spiritsafe.core.records import Checkpoint
from spiritsafe.models import (
    ChatFormat,
    CutPlan,
    Decoder,
    Document,
    LanguageModel,
    LoadedModel,
    read_cut_plan,
    renumbered,
    require_same_vocabulary,
    with_vocabulary,
)
from spiritsafe.pipeline.context import RunContext, Trace, Traces, in_vocabulary
from spiritsafe.pipeline.recipe.cut import CutRecipe
from spiritsafe.pipeline.recipe.distil import DistilRecipe
from spiritsafe.pipeline.recipe.graph import weights_of
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.capture import signal_traces, teacher_of_signal
from spiritsafe.pipeline.stages.sets import chosen_traces
from spiritsafe.pipeline.stages.source import (
    lineage_of,
    load_learner,
    load_reader,
    model_directory,
    speaker_of,
)
from spiritsafe.pipeline.stages.training import (
    documents_of,
    documents_path,
    make_documents,
    within_context,
)
from spiritsafe.training import (
    DocumentStore,
    write_documents,
)


@final
@dataclass(frozen=True, kw_only=True)
class ReadTeacher:
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
class DistilParts:
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

    teachers: Sequence[ReadTeacher]
    student: LoadedModel
    plan: CutPlan | None
    speaker: LanguageModel | None
    sets: Mapping[str, Traces]
    traces: Sequence[Trace]
    documents: Sequence[Document]

    @property
    def teacher(self) -> ReadTeacher:
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


def gather_parts(step: DistilRecipe, context: RunContext, stage: StageDirectory, events: EventSink) -> DistilParts:
    """Load teachers and student, and write the documents; across tokenizers these are made later, in pairs.

    Raises:
        RecipeError: No answer is there, or none fits into the context.
        CompatibilityError: A teacher reads other tokens than the student.
    """
    sets = _sets(step, context)
    if not any(sets.values()):
        raise RecipeError(
            f"There is no answer to distil {step.name} on: {', '.join(sets)} hold none.",
            hint="Add data with solutions, or let the model that samples learn longer.",
        )
    teachers = _teachers(step, context)
    teacher = teachers[0]
    student = load_learner(context, step.origin, step.base)
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
    return DistilParts(
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


def _teachers(step: DistilRecipe, context: RunContext) -> list[ReadTeacher]:
    if step.signal is not None:
        name = teacher_of_signal(context, step.signal)
        chat = ChatFormat(model_directory(context, name))
        return [ReadTeacher(name=name, chat=chat, checkpoint=speaker_of(context, name), loaded=None)]
    found = []
    for name in step.teachers:
        loaded = load_reader(context, name)
        found.append(ReadTeacher(name=name, chat=loaded.chat, checkpoint=lineage_of(context, name), loaded=loaded))
    return found


def _cut_plan(context: RunContext, start: str, teacher: ReadTeacher) -> CutPlan | None:
    """The plan of the cut that a student's weights come from, where its whole had the teacher's vocabulary."""
    for name in weights_of(context.recipe.nodes, start):
        recipe = context.recipe.node(name).recipe
        if isinstance(recipe, CutRecipe):
            whole = ChatFormat(model_directory(context, recipe.origin))
            folder = context.stage(name).path
            plan = read_cut_plan(folder if recipe.start == "random" else folder / "model")
            return plan if whole.vocab_fingerprint == teacher.chat.vocab_fingerprint else None
    return None
