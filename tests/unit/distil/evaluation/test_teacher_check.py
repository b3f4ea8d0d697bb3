from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tiny_student import sums_problems, tiny_student
from tiny_training import one_thread

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.core.records import Prompt, Sampling
from spiritsafe.distil.evaluation.teacher_check import TeacherFit, teacher_fit
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import pack_documents
from spiritsafe.models.running.generators.local_generator import LocalGenerator

SAMPLING = Sampling(max_tokens=9, temperature=0.8)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def sharpened(model: Decoder, factor: float) -> Decoder:
    """With opinions: random weights of this size are all but uniform."""
    with torch.no_grad():
        model.embedding.weight.mul_(factor)
    return model


def test_it_measures_what_the_definitions_say(tmp_path: Path) -> None:
    student, problems = tiny_student(tmp_path), sums_problems(5)
    teacher = tiny_student(tmp_path, seed=2).model
    assert isinstance(student.model, Decoder)
    assert isinstance(teacher, Decoder)
    sharpened(student.model, 8.0), sharpened(teacher, 10.0)
    found = teacher_fit(teacher, student, problems, sampling=SAMPLING, seed=4, topk=16, max_batch=2)

    prompts = [Prompt(problem_id=p.id, messages=p.messages, seed=4) for p in problems]
    by_id = {p.id: p for p in problems}
    log_p, log_q, kl, same, overlap, mass, count = 0.0, 0.0, 0.0, 0, 0.0, 0.0, 0
    for attempt in LocalGenerator(student).generate(prompts, SAMPLING):
        document = student.chat.document_from_tokens(by_id[attempt.problem_id].messages, attempt.token_ids)
        batch, start = pack_documents([document]), attempt.num_prompt_tokens - 1
        p = teacher.logits(teacher(batch)).detach().double().log_softmax(1)[start:-1]
        q = student.model.logits(student.model(batch)).detach().double().log_softmax(1)[start:-1]
        for place, token in enumerate(attempt.token_ids):
            log_p += float(p[place, token])
            log_q += float(q[place, token])
            kl += float((q[place].exp() * (q[place] - p[place])).sum())
            same += int(p[place].argmax() == q[place].argmax())
            both = set(p[place].topk(16).indices.tolist()) & set(q[place].topk(16).indices.tolist())
            overlap += len(both) / 16
            mass += float(q[place].exp()[sorted(both)].sum())
            count += 1
    assert (found.num_answers, found.num_tokens, found.topk) == (5, count, 16)
    assert found.teacher_logprob == pytest.approx(log_p / count, rel=1e-5, abs=1e-6)
    assert found.student_logprob == pytest.approx(log_q / count, rel=1e-5, abs=1e-6)
    assert found.reverse_kl == pytest.approx(kl / count, rel=1e-5, abs=1e-6)
    assert found.top1_overlap == pytest.approx(same / count)
    assert found.topk_overlap == pytest.approx(overlap / count)
    assert found.shared_mass == pytest.approx(mass / count, rel=1e-5, abs=1e-6)
    assert 0.0 < found.topk_overlap < 1.0
    assert 0.0 < found.shared_mass < 1.0
    assert found.teacher_logprob < found.student_logprob


def test_a_student_understands_itself(tmp_path: Path) -> None:
    student = tiny_student(tmp_path)
    found = teacher_fit(tiny_student(tmp_path).model, student, sums_problems(3), sampling=SAMPLING)
    assert found.teacher_logprob == found.student_logprob
    assert found.reverse_kl == pytest.approx(0.0, abs=1e-9)
    assert (found.top1_overlap, found.topk_overlap) == (1.0, 1.0)


def test_the_note_names_the_figures() -> None:
    fit = TeacherFit(
        num_answers=40,
        num_tokens=4000,
        teacher_logprob=-1.234,
        student_logprob=-0.5,
        reverse_kl=0.7,
        top1_overlap=0.81,
        topk=16,
        topk_overlap=0.65,
        shared_mass=0.978,
    )
    for part in ("40 of", "4,000 tokens", "-1.23 nats", "-0.50", "81%", "65% of the 16", "97.8%"):
        assert part in fit.note()


def test_without_any_answer_it_says_so(tmp_path: Path) -> None:
    student, problems = tiny_student(tmp_path), sums_problems(1)
    long = problems[0].model_copy(
        update={"messages": tuple(m.model_copy(update={"content": m.content * 20}) for m in problems[0].messages)}
    )
    with pytest.raises(CompatibilityError, match="answered none"):
        teacher_fit(student.model, student, [long], sampling=SAMPLING)


def test_a_set_larger_than_the_vocabulary_is_refused(tmp_path: Path) -> None:
    student = tiny_student(tmp_path)
    for topk in (0, student.model.vocab_size + 1):
        with pytest.raises(RecipeError, match="cannot be compared"):
            teacher_fit(student.model, student, sums_problems(1), sampling=SAMPLING, topk=topk)
