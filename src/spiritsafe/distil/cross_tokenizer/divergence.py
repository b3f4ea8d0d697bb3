"""How far apart two models' likelihoods of one chunk of text are (ALM, arXiv 2503.20083 §3).

In: log-likelihoods of chunks under teacher and student. Out: a binarised f-divergence of each chunk and its derivative
by the student's log-likelihood, in float64. A chunk either is what the model says next or is not; with p and q the
teacher's and the student's likelihood of it, each raised to 1/τ, the divergence is that of two coins:

    forward:  τ · [ p log(p/q) + (1 - p) log((1 - p)/(1 - q)) ]
    reverse:  τ · [ q log(q/p) + (1 - q) log((1 - q)/(1 - p)) ]

τ > 1 keeps the coin of a long, unlikely chunk from being all but surely "not it"; ALM uses τ = 100. The factor τ in
front is ours: without it the gradient would shrink as 1/τ and the share of cross-entropy mixed in would mean something
else at each τ. As τ → ∞ the forward form becomes a log(a/b) - a + b, with a and b the surprisals of teacher and
student in nats, and its derivative by the student's log-likelihood a/b - 1.

Shapes: K chunks.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

ChunkDistance = Literal["forward_kl", "reverse_kl"]

_LEAST_SURPRISAL = 1e-5
"""Nats added to both surprisals, so that a chunk that a model is sure of has a finite derivative."""


def log1mexp(x: Tensor) -> Tensor:
    """``log(1 - exp(x))`` for x < 0 without cancellation (Mächler 2012: change of form at -log 2)."""
    near = torch.log(-torch.expm1(x))
    far = torch.log1p(-torch.exp(x))
    return torch.where(x > -0.6931471805599453, near, far)


def chunk_divergence(
    student_K: Tensor, teacher_K: Tensor, *, temperature: float, divergence: ChunkDistance
) -> tuple[Tensor, Tensor]:
    """The module's formula and its derivative by ``student_K``.

    Args:
        student_K: Log-likelihoods, in nats; rounding above 0 is taken as 0.
        teacher_K: The same of the teacher.
        temperature: τ.
        divergence: Which of the two forms.

    Returns:
        Both float64, one value a chunk.
    """
    log_q = (student_K.double().clamp(max=0.0) - _LEAST_SURPRISAL) / temperature
    log_p = (teacher_K.double().clamp(max=0.0) - _LEAST_SURPRISAL) / temperature
    not_q, not_p = torch.expm1(log_q), torch.expm1(log_p)  # minus the coin's other side
    log_ratio, log_other = log_p - log_q, log1mexp(log_p) - log1mexp(log_q)
    if divergence == "forward_kl":
        value = log_p.exp() * log_ratio - not_p * log_other
        slope = not_p / not_q - 1.0
    else:
        value = not_q * log_other - log_q.exp() * log_ratio
        slope = log_q.exp() * (log_other - log_ratio)
    return temperature * value, slope
