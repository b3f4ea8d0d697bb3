"""A mixture of losses written plainly with autograd over all logits, in float64."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spiritsafe.distil.losses.divergences import LossMix
from spiritsafe.distil.signal import TeacherRows

R, H, G, V = 37, 11, 7, 53


@dataclass(frozen=True, kw_only=True)
class Problem:
    hidden: Tensor
    weight: Tensor
    teacher: TeacherRows
    targets: Tensor
    weights: Tensor


def problem(
    dtype: torch.dtype, *, vocab: int = V, teacher_vocab: int = V, rows: int = R, device: str = "cpu"
) -> Problem:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(device, dtype)

    targets = torch.randint(min(vocab, teacher_vocab), (rows,), generator=generator).to(device)
    return Problem(
        hidden=draw(rows, H),
        weight=draw(vocab, H),
        teacher=TeacherRows(hidden_RG=draw(rows, G), weight_UG=draw(teacher_vocab, G), scale=1.25),
        targets=targets,
        weights=torch.rand(rows, generator=generator, dtype=torch.float64).to(device),
    )


def kl(log_p: Tensor, log_q: Tensor) -> Tensor:
    """KL of each row; where p is 0 a term is 0."""
    return torch.where(log_p == -torch.inf, 0.0, log_p.exp() * (log_p - log_q)).sum(1)


def row_losses(logits: Tensor, teacher_logits: Tensor, targets: Tensor, mix: LossMix) -> dict[str, Tensor]:
    """Every divergence of each row from logits over the student's and the teacher's whole vocabularies."""
    common = min(logits.shape[1], teacher_logits.shape[1])
    log_p = torch.log_softmax(teacher_logits[:, :common] / mix.temperature, 1)
    log_q = torch.log_softmax(logits / mix.temperature, 1)
    rest = logits.new_full((logits.shape[0], logits.shape[1] - common), -torch.inf)
    p, q = torch.cat((log_p, rest), 1).exp(), log_q.exp()
    short_log_q = torch.log_softmax(logits[:, :common] / mix.temperature, 1)

    def to_mixture(m: Tensor) -> tuple[Tensor, Tensor]:
        return kl(torch.cat((log_p, rest), 1), m.log()), kl(log_q, m.log())

    p_jsd, q_jsd = to_mixture(mix.jsd_beta * p + (1 - mix.jsd_beta) * q)
    return {
        "ce": -torch.log_softmax(logits, 1).gather(1, targets[:, None]).squeeze(1),
        "kl": kl(log_p, log_q[:, :common]),
        "reverse_kl": kl(short_log_q, log_p),
        "jsd": mix.jsd_beta * p_jsd + (1 - mix.jsd_beta) * q_jsd,
        "skew_kl": to_mixture(mix.skew_alpha * p + (1 - mix.skew_alpha) * q)[0],
        "skew_reverse_kl": to_mixture((1 - mix.skew_alpha) * p + mix.skew_alpha * q)[1],
    }


def mixed(rows: dict[str, Tensor], weights: Tensor, mix: LossMix) -> Tensor:
    """The loss."""
    divergences = (
        mix.weight("forward_kl") * rows["kl"]
        + mix.weight("reverse_kl") * rows["reverse_kl"]
        + mix.weight("jsd") * rows["jsd"]
        + mix.weight("skew_forward_kl") * rows["skew_kl"]
        + mix.weight("skew_reverse_kl") * rows["skew_reverse_kl"]
    )
    return (weights * (mix.temperature**2 * divergences + mix.ce * rows["ce"])).sum()


def reference(case: Problem, mix: LossMix, scale: float) -> tuple[Tensor, Tensor, Tensor, dict[str, Tensor]]:
    """The loss, its gradients by hidden states and head, and each row's losses."""
    hidden, weight = case.hidden.double().requires_grad_(), case.weight.double().requires_grad_()
    teacher = case.teacher
    teacher_logits = teacher.hidden_RG.double() @ teacher.weight_UG.double().T * teacher.scale
    rows = row_losses(hidden @ weight.T * scale, teacher_logits, case.targets, mix)
    loss = mixed(rows, case.weights, mix)
    loss.backward()
    assert hidden.grad is not None
    assert weight.grad is not None
    return loss.detach(), hidden.grad, weight.grad, {name: values.detach() for name, values in rows.items()}
