"""Before on-policy distillation: does this teacher understand what this student writes?

In: a teacher, a student and problems. Out: a :class:`TeacherFit`, measured on answers that the student draws now.
arXiv 2604.13016 (abstract) on when on-policy distillation works: "the student and teacher should share compatible
thinking patterns", and successful runs show "a small shared token set that concentrates most of the probability mass
(97%–99%)". A teacher that finds the student's own text unlikely and would continue it with other tokens teaches noise;
the remedy is to begin with traces or offline distillation.

Shapes: N tokens, R supervised rows, C rows of a chunk, V common vocabulary, K likeliest tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from pydantic import Field
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.core.records import Problem, Prompt, Record, Sampling
from spiritsafe.models import (
    IGNORED,
    LanguageModel,
    LoadedModel,
    PackedBatch,
    head_logits,
    make_generator,
    pack_documents,
)
from spiritsafe.training import split_micro_batches

_ROWS = 512
_BATCH_TOKENS = 8192


@final
class TeacherFit(Record):
    """How a teacher sees the student's own answers; means over their tokens, in nats at temperature 1.

    Attributes:
        num_answers: Answers drawn.
        num_tokens: Their tokens, end tokens included.
        teacher_logprob: Mean of the teacher's log-probability of what the student wrote.
        reverse_kl: Mean of KL(student ‖ teacher), exact over the vocabulary.
        top1_overlap: Share of places where both find the same token likeliest.
        topk: Size of the sets that ``topk_overlap`` and ``shared_mass`` compare.
        topk_overlap: Mean share of the student's ``topk`` likeliest tokens that are among the teacher's.
        shared_mass: Mean probability that the student gives to the tokens in both sets.
    """

    num_answers: int = Field(ge=0)
    num_tokens: int = Field(ge=0)
    teacher_logprob: float
    student_logprob: float
    reverse_kl: float
    top1_overlap: float = Field(ge=0.0, le=1.0)
    topk: int = Field(ge=1)
    topk_overlap: float = Field(ge=0.0, le=1.0)
    shared_mass: float

    def note(self) -> str:
        """One sentence for people."""
        return (
            f"On {self.num_answers} of the student's own answers ({self.num_tokens:,} tokens) the teacher gives "
            f"{self.teacher_logprob:.2f} nats a token (the student {self.student_logprob:.2f}), agrees on the "
            f"likeliest token at {self.top1_overlap:.0%} of places, and shares {self.topk_overlap:.0%} of the "
            f"{self.topk} likeliest, which hold {self.shared_mass:.1%} of the student's probability."
        )


def teacher_fit(
    teacher: LanguageModel,
    student: LoadedModel,
    problems: Sequence[Problem],
    *,
    sampling: Sampling,
    seed: int = 0,
    topk: int = 16,
    max_batch: int = 64,
) -> TeacherFit:
    """Let the student answer each problem once and let the teacher read the answers.

    Args:
        teacher: Of the student's tokenizer (the caller has checked); on the student's device.
        student: As it would start.
        problems: For training.
        sampling: How the student answers.
        seed: Of the answers.
        topk: Size of the sets compared.
        max_batch: Most answers drawn at a time.

    Raises:
        RecipeError: ``topk`` is below 1 or above the size of the vocabulary.
        CompatibilityError: The student could answer no problem, or an answer does not fit the teacher's context.
        NumericalError: The student's logits are not finite.
    """
    common = min(teacher.vocab_size, student.model.vocab_size)
    if not 1 <= topk <= common:
        raise RecipeError(
            f"The {topk} likeliest of {common} tokens cannot be compared.", hint=f"Set topk between 1 and {common}."
        )
    by_id = {problem.id: problem for problem in problems}
    prompts = [Prompt(problem_id=problem.id, messages=problem.messages, seed=seed) for problem in problems]
    student.model.eval()
    generator = make_generator(student, max_batch=max_batch)
    try:
        attempts = sorted(generator.generate(prompts, sampling), key=lambda attempt: attempt.problem_id)
    finally:
        generator.close()
    documents = [
        student.chat.document_from_tokens(by_id[attempt.problem_id].messages, attempt.token_ids)
        for attempt in attempts
        if attempt.token_ids
    ]
    if not documents:
        raise CompatibilityError(
            "The student answered none of the problems.", hint="Give problems whose prompts fit its context."
        )
    totals = torch.zeros(6, dtype=torch.float64)
    num_tokens = 0
    lengths = [len(document.token_ids) for document in documents]
    device = student.model.head().weight_VH.device
    budget = max(_BATCH_TOKENS, *lengths)
    for micro in split_micro_batches(range(len(documents)), lengths, micro_batch_tokens=budget):
        batch = pack_documents([documents[place] for place in micro]).to(device)
        totals += _compare(teacher, student.model, batch, topk)
        num_tokens += batch.num_supervised
    means = (totals / num_tokens).tolist()
    return TeacherFit(
        num_answers=len(documents),
        num_tokens=num_tokens,
        teacher_logprob=means[0],
        student_logprob=means[1],
        reverse_kl=means[2],
        top1_overlap=means[3],
        topk=topk,
        topk_overlap=means[4],
        shared_mass=means[5],
    )


@torch.inference_mode()
def _compare(teacher: LanguageModel, student: LanguageModel, batch: PackedBatch, topk: int) -> Tensor:
    """Sums over the supervised rows of the six quantities, in the order of :class:`TeacherFit`."""
    rows_R = torch.nonzero(batch.targets_N != IGNORED).squeeze(1)
    hidden_teacher_NG, hidden_student_NH = teacher(batch), student(batch)
    common = min(teacher.vocab_size, student.vocab_size)
    totals = torch.zeros(6, dtype=torch.float64)
    for rows_C in torch.split(rows_R, _ROWS):
        log_p_CV = head_logits(teacher.head(), hidden_teacher_NG[rows_C])[:, :common].log_softmax(1)
        log_q_CV = head_logits(student.head(), hidden_student_NH[rows_C])[:, :common].log_softmax(1)
        q_CV, target_C1 = log_q_CV.exp(), batch.targets_N[rows_C, None]
        top_p_CK, top_q_CK = log_p_CV.topk(topk, 1).indices, log_q_CV.topk(topk, 1).indices
        among_CV = torch.zeros_like(q_CV, dtype=torch.bool).scatter_(1, top_p_CK, value=True)
        shared_CK = among_CV.gather(1, top_q_CK)
        sums = (
            log_p_CV.gather(1, target_C1),
            log_q_CV.gather(1, target_C1),
            q_CV * (log_q_CV - log_p_CV),
            top_p_CK[:, 0] == top_q_CK[:, 0],
            shared_CK.double() / topk,
            q_CV.gather(1, top_q_CK) * shared_CK,
        )
        totals += torch.stack([part.sum(dtype=torch.float64) for part in sums]).cpu()
    return totals
