"""AdamW with float32 masters, and what an update did to the weights.

In: a model and its gradients. Out: changed parameters. The model's parameters are the compute copy, so a sampler that
shares them is always in sync. In float32 the parameter is its own master; in bfloat16 a float32 master is kept beside
it, and the parameter's gradient is accumulated in float32 (``Tensor.grad_dtype``). Gradient buffers live as long as
the optimiser: fresh memory for each step costs more than the update itself on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.training.config import TrainConfig

__all__ = ["AdamW", "UpdateEffect"]

_EXACT_WEIGHTS = 1 << 22
"""Models up to this many weights are compared whole; of larger ones every k-th weight is."""
_SAMPLED_WEIGHTS = 1 << 18


@final
@dataclass(frozen=True, kw_only=True)
class UpdateEffect:
    """What one update did to the compute copy.

    Attributes:
        changed_share: Share of weights whose stored value changed. Far below 1 means updates smaller than the number
            format resolves are lost; that cannot happen to the masters, which are float32.
        update_ratio: Norm of the update over norm of the weights (of the masters).
    """

    changed_share: float
    update_ratio: float


def _joined(tensors: list[Tensor], stride: int) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1)[::stride] for tensor in tensors])


@final
class AdamW:
    """AdamW (arXiv 1711.05101) over a model's trainable parameters.

    Matrices decay; norms and biases do not. Making one converts the model's parameters to ``compute_dtype`` in place
    and gives each a zeroed float32 gradient, which :meth:`zero_gradients` clears and nothing replaces.

    Raises:
        CompatibilityError: The model has no trainable parameter, or this torch cannot keep float32 gradients of
            bfloat16 parameters.
    """

    def __init__(self, model: nn.Module, config: TrainConfig, compute_dtype: torch.dtype) -> None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        if not named:
            raise CompatibilityError("The model has no trainable parameter.", hint="Set requires_grad on its weights.")
        self._config = config
        self.names = tuple(name for name, _ in named)
        self._parameters = [p for _, p in named]
        self.masters = [p.detach().to(torch.float32, copy=compute_dtype != torch.float32) for p in self._parameters]
        self.gradients = [torch.zeros_like(master) for master in self.masters]
        self.moments = [torch.zeros_like(master) for master in self.masters]
        self.second_moments = [torch.zeros_like(master) for master in self.masters]
        self._steps = [torch.zeros((), device=master.device) for master in self.masters]
        self._keeps_copy = compute_dtype != torch.float32
        for frozen in (p for p in model.parameters() if not p.requires_grad):
            frozen.data = frozen.data.to(compute_dtype)
        for p, master, gradient in zip(self._parameters, self.masters, self.gradients, strict=True):
            p.grad = None
            p.data = master.to(compute_dtype) if self._keeps_copy else master
            if self._keeps_copy:
                _take_float32_gradient(p)
            p.grad = gradient
        self._compute_dtype = compute_dtype
        decayed = [index for index, p in enumerate(self._parameters) if p.dim() >= 2]
        kept = [index for index, p in enumerate(self._parameters) if p.dim() < 2]
        self._groups = [(decayed, config.weight_decay), (kept, 0.0)]
        total = sum(p.numel() for p in self._parameters)
        # An odd stride walks over all columns of matrices of even width.
        self._stride = 1 if total <= _EXACT_WEIGHTS else (total // _SAMPLED_WEIGHTS) | 1

    @torch.no_grad()
    def zero_gradients(self) -> None:
        """Clear the gradient buffers."""
        torch._foreach_zero_(self.gradients)

    @torch.no_grad()
    def gradient_norm(self) -> Tensor:
        """Norm of the whole gradient, a scalar on the parameters' device; NaN or infinite when any entry is."""
        if self.gradients[0].is_cuda:
            norms = torch.stack(torch._foreach_norm(self.gradients))
        else:
            # A CPU norm over 28 million entries adds them one by one in float32 and loses the fourth digit; row by
            # row it takes the same time and is exact to the last.
            norms = torch.cat([torch.linalg.vector_norm(g.view(-1, g.shape[-1]), dim=1) for g in self.gradients])
        norm: Tensor = torch.linalg.vector_norm(norms)
        return norm

    def names_of_bad_gradients(self) -> list[str]:
        """Parameters whose gradient holds NaN or infinity."""
        return [n for n, g in zip(self.names, self.gradients, strict=True) if not bool(torch.isfinite(g).all())]

    @torch.no_grad()
    def update(self, learning_rate: float, gradient_norm: float) -> UpdateEffect:
        """Apply one update and leave the gradients for :meth:`zero_gradients` to clear.

        Args:
            learning_rate: Of this step.
            gradient_norm: What :meth:`gradient_norm` said; clipping is folded into the update, so it needs no pass of
                its own.
        """
        before = _joined(self.masters, self._stride)
        limit = self._config.max_grad_norm
        divisor = None
        if limit is not None and gradient_norm > limit:
            divisor = torch.tensor(gradient_norm / limit, dtype=torch.float32, device=before.device)
        for indices, weight_decay in self._groups:
            if not indices:
                continue
            adamw(
                [self.masters[i] for i in indices],
                [self.gradients[i] for i in indices],
                [self.moments[i] for i in indices],
                [self.second_moments[i] for i in indices],
                [],
                [self._steps[i] for i in indices],
                fused=True,
                grad_scale=divisor,
                amsgrad=False,
                beta1=self._config.betas[0],
                beta2=self._config.betas[1],
                lr=learning_rate,
                weight_decay=weight_decay,
                eps=self._config.eps,
                maximize=False,
            )
        self.publish_masters()
        return self._effect(before, _joined(self.masters, self._stride))

    def _effect(self, before: Tensor, after: Tensor) -> UpdateEffect:
        changed = (before.to(self._compute_dtype) != after.to(self._compute_dtype)).float().mean()
        ratio = torch.linalg.vector_norm(after - before) / torch.linalg.vector_norm(before).clamp_min(1e-30)
        changed_share, update_ratio = torch.stack((changed, ratio)).tolist()
        return UpdateEffect(changed_share=changed_share, update_ratio=update_ratio)

    @torch.no_grad()
    def publish_masters(self) -> None:
        """Write the masters into the model's parameters (nothing to do in float32: they are the same)."""
        if self._keeps_copy:
            torch._foreach_copy_([p.detach() for p in self._parameters], self.masters)

    def close(self) -> None:
        """Give the memory of gradients and moments back; the model keeps its weights."""
        for p in self._parameters:
            p.grad = None
        for tensors in (self.masters, self.gradients, self.moments, self.second_moments):
            tensors.clear()

    def set_num_updates(self, count: int) -> None:
        """Tell the bias correction how many updates the moments hold (when they come from a checkpoint)."""
        for step in self._steps:
            step.fill_(count)


def _take_float32_gradient(parameter: nn.Parameter) -> None:
    try:
        parameter.grad_dtype = torch.float32
    except (AttributeError, RuntimeError) as error:
        raise CompatibilityError(
            f"torch {torch.__version__} cannot accumulate a bfloat16 parameter's gradient in float32.",
            hint='Install torch 2.10 or newer, or set compute_dtype to "float32".',
        ) from error
