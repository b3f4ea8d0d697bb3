from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from cache_parts import open_cache, tiny_documents, tiny_teacher
from tiny_training import tiny_decoder

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.distil.cache import CacheCandidate, CaptureConfig, cached_candidate, capture, gradient_error
from spiritsafe.distil.cache.writer import supervised_positions
from spiritsafe.models.interface.batch import pack_documents


def test_errors_are_those_of_autograd(tmp_path: Path) -> None:
    teacher, student, documents = tiny_teacher().model, tiny_decoder(vocab=260, seed=5), tiny_documents(6)

    def even(document: object, positions: object, probs: torch.Tensor) -> torch.Tensor:
        return 0.5 * probs + 0.5 / probs.shape[1]

    (line,) = gradient_error(
        student,
        teacher,
        documents,
        [CacheCandidate(name="even", bytes_per_row=1.0, estimate=even)],
        logits_bytes=260 * 4 * 99,
    )
    gradients = []
    for mixture in (False, True):
        parts = []
        for document in documents:
            rows, batch = torch.from_numpy(supervised_positions(document)), pack_documents([document])
            with torch.no_grad():
                p = torch.softmax(teacher(batch)[rows] @ teacher.head().weight_VH.t(), 1)
                hidden = student(batch)[rows]
            hidden.requires_grad_(True)
            q = torch.log_softmax(hidden @ student.head().weight_VH.detach().t(), 1)
            target = 0.5 * p + 0.5 / 260 if mixture else p
            parts.append(torch.autograd.grad(-(target * q).sum(), hidden)[0].double())
        gradients.append(torch.cat(parts))
    exact, other = gradients
    assert line.num_rows == len(exact)
    assert line.token_error == pytest.approx(float((other - exact).norm() / exact.norm()), rel=1e-3)
    assert line.mean_error == pytest.approx(float((other - exact).mean(0).norm() / exact.mean(0).norm()), rel=1e-3)


def test_more_entries_give_less_error_for_more_bytes(tmp_path: Path) -> None:
    documents, candidates = tiny_documents(20), []
    for name, config in {
        "coarse": CaptureConfig(threshold=0.2),
        "fine": CaptureConfig(threshold=0.01),
        "whole": CaptureConfig(num_head=260, num_draws=1),
    }.items():
        report = capture(tiny_teacher(), documents, config, tmp_path / name)
        candidates.append(cached_candidate(name, open_cache(tmp_path / name), bytes_per_row=report.bytes_per_row))
    student = tiny_decoder(vocab=260, seed=5)
    coarse, fine, whole = gradient_error(student, tiny_teacher().model, documents, candidates)
    assert coarse.token_error > 3 * fine.token_error > 3 * whole.token_error
    assert coarse.bytes_per_row < fine.bytes_per_row < whole.bytes_per_row
    assert whole.mean_error < 0.01
    wider = [replace(d, supervised=(True,) * len(d.supervised)) for d in documents]
    with pytest.raises(CompatibilityError, match="were not captured"):
        gradient_error(student, tiny_teacher().model, wider, candidates)
    with pytest.raises(CompatibilityError, match="vocabulary"):
        gradient_error(tiny_decoder(), tiny_teacher().model, documents, candidates)


def test_one_bucket_is_the_kl_over_listed_ids_and_the_rest() -> None:
    logits = torch.randn(5, 12, generator=torch.Generator().manual_seed(1), dtype=torch.float64).requires_grad_(True)
    p = torch.softmax(torch.randn(5, 12, generator=torch.Generator().manual_seed(2), dtype=torch.float64), 1)
    values, ids = p.topk(3, 1)
    kept = torch.zeros_like(p).scatter_(1, ids, values)
    listed = kept > 0
    q = torch.softmax(logits, 1)
    rest_p, rest_q = 1 - values.sum(1), q.masked_fill(listed, 0.0).sum(1)
    loss = -(values * q.gather(1, ids).log()).sum() - (rest_p * rest_q.log()).sum()
    (expected,) = torch.autograd.grad(loss, logits)
    bucket = CacheCandidate(name="b", bytes_per_row=1.0, estimate=lambda *_: kept, one_bucket=True)
    found = q - bucket.target(tiny_documents(1)[0], torch.arange(5).numpy(), p, q)
    torch.testing.assert_close(found, expected)
