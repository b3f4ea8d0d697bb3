"""A student of another family: its own tokenizer, the teacher's likelihoods of the same text.

In: teacher, student and traces. Out: the student's documents, the objective, and ``coverage.json``: how much of the
text the two tokenizers see alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.files import write_json
from spiritsafe.core.rundir import StageDirectory
from spiritsafe.distill.across import (
    AcrossMix,
    AcrossTokenizersObjective,
    LiveChunkTeacher,
    TokenBytes,
    map_vocabularies,
    measure_coverage,
    pair_conversations,
)
from spiritsafe.models import ChatFormat, Document, LanguageModel, LoadedModel
from spiritsafe.pipeline.context import Trace

__all__ = ["across_objective"]

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
        teacher_chat: Its chats.
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
