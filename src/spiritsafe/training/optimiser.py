"""AdamW with float32 masters, and what an update did to the weights.

In: a model and its gradients. Out: changed parameters. The model's parameters are the compute copy, so a sampler that
shares them is always in sync. In float32 the parameter is its own master; in bfloat16 a float32 master is kept beside
it, and the parameter's gradient is accumulated in float32 (``Tensor.grad_dtype``). Gradient buffers live as long as
the optimiser: fresh memory for each step costs more than the update itself on a CPU.

Moments may be kept in 8 bits (:mod:`spiritsafe.training.moments`); the update is the same.

The compute copy may be what a quantised file would hold of the masters: the passes, draws and evaluations then see the
file's numbers, and a gradient by them moves the masters (straight through). Weights are quantised once an update.

With several processes each keeps and updates what it holds: all of a whole parameter (every process makes the same
update), its own rows of a sharded one.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal, final

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim.adamw import adamw

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models import GridType, bitsandbytes_functions, round_to_grid, takes_8_bits
from spiritsafe.training.config import TrainConfig
from spiritsafe.training.distributed.fsdp import attach_gradient, first_row, local_rows, own_rows
from spiritsafe.training.distributed.processes import Parallel
from spiritsafe.training.moments import num_blocks, update_by_slabs

StateKind = Literal["masters", "moments", "second_moments", "moment_scales", "second_moment_scales"]
STATE_KINDS: tuple[StateKind, ...] = ("masters", "moments", "second_moments")
_SCALES: tuple[StateKind, ...] = ("moment_scales", "second_moment_scales")
"""Beside 8-bit moments."""

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
    return torch.cat([tensor.detach().reshape(-1)[::stride] for tensor in tensors]) if tensors else torch.empty(0)


def _norm(tensors: list[Tensor]) -> Tensor:
    if tensors[0].is_cuda:
        norms = torch.stack(torch._foreach_norm(tensors))
    else:
        # A CPU norm over 28 million entries adds them one by one in float32 and loses the fourth digit; row by row it
        # takes the same time and is exact to the last.
        norms = torch.cat([torch.linalg.vector_norm(t.view(-1, t.shape[-1]), dim=1) for t in tensors])
    norm: Tensor = torch.linalg.vector_norm(norms)
    return norm


@final
@dataclass(frozen=True, kw_only=True, eq=False)
class StateRows:
    """Rows of a tensor of a checkpoint that one process holds.

    Attributes:
        name: Of the tensor.
        rows: They.
        first: The number of the first of them.
        shape: Of the whole tensor.
    """

    name: str
    rows: Tensor
    first: int
    shape: tuple[int, ...]


@final
@dataclass(frozen=True, slots=True, eq=False)
class _Frozen:
    """A parameter that does not learn, and how it gets its own numbers back.

    Attributes:
        dtype: In which it came.
        original: Its numbers, in main memory, where the compute dtype cannot hold them exactly.
    """

    parameter: nn.Parameter
    dtype: torch.dtype
    original: Tensor | None

    @classmethod
    def rounded(cls, parameter: nn.Parameter, dtype: torch.dtype) -> _Frozen:
        """Convert a parameter in place."""
        original = parameter.data
        parameter.data = original.to(dtype)
        is_exact = torch.equal(parameter.data.to(original.dtype), original)  # as checkpoints in bfloat16 are
        return cls(parameter, original.dtype, None if is_exact else original.cpu())

    def restore(self, dtype: torch.dtype) -> None:
        """Give it its own numbers back, in a format that holds them."""
        source = self.parameter.data if self.original is None else self.original
        self.parameter.data = source.to(device=self.parameter.device, dtype=dtype)


def _take_float32_gradient(parameter: nn.Parameter) -> None:
    try:
        parameter.grad_dtype = torch.float32
    except (AttributeError, RuntimeError) as error:
        raise CompatibilityError(
            f"torch {torch.__version__} cannot accumulate a bfloat16 parameter's gradient in float32.",
            hint='Install torch 2.10 or newer, or set compute_dtype to "float32".',
        ) from error


@final
class AdamW:
    """AdamW (arXiv 1711.05101) over a model's trainable parameters.

    Matrices decay; norms and biases do not. Making one converts the model's parameters to ``compute_dtype`` in place
    and gives each that learns a zeroed float32 gradient, which :meth:`zero_gradients` clears and nothing replaces.
    :meth:`close` leaves float32 weights, frozen ones as they were.

    Args:
        model: Whole, or a :class:`~spiritsafe.training.distributed.fsdp.ShardedModel`'s module.
        compute_dtype: Of the weights that compute.
        parallel: This process among those that train the model.
        grid: Parameters whose compute copy is what a file of a block type would hold of them.

    Raises:
        CompatibilityError: The model has no trainable parameter, or lacks one of the grid, or this torch cannot keep
            float32 gradients of bfloat16 parameters, or the library that makes 8-bit moments is not installed.
    """

    def __init__(
        self,
        model: nn.Module,
        config: TrainConfig,
        compute_dtype: torch.dtype,
        parallel: Parallel | None = None,
        grid: Mapping[str, GridType] | None = None,
    ) -> None:
        named = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        if not named:
            raise CompatibilityError("The model has no trainable parameter.", hint="Set requires_grad on its weights.")
        self._config = config
        self.parallel = parallel or Parallel()
        self.names = tuple(name for name, _ in named)
        self._parameters = [p for _, p in named]
        self._is_sharded = [isinstance(p, DTensor) for p in self._parameters]
        self._grid = self._grid_types(grid or {})
        # A sharded parameter is its own master: its rows stay float32, FSDP2 casts what it gathers.
        copies = [compute_dtype != torch.float32 and not sharded for sharded in self._is_sharded]
        # What came in float32 becomes the master as it lies there: a copy would double the weights for a moment.
        self.masters = [
            local_rows(p).to(torch.float32, copy=sharded and index in self._grid)
            for index, (p, sharded) in enumerate(zip(self._parameters, self._is_sharded, strict=True))
        ]
        self.gradients = [torch.zeros_like(master) for master in self.masters]
        self._is_8_bit = [config.moments == "8bit" and takes_8_bits(p.shape) for p in self._parameters]
        self.moments, self.moment_scales = self._no_moments()
        self.second_moments, self.second_moment_scales = self._no_moments()
        self._steps = [torch.zeros((), device=master.device) for master in self.masters]
        frozen = [p for p in model.parameters() if not (p.requires_grad or isinstance(p, DTensor))]
        frozen = [p for p in frozen if p.is_floating_point()]  # the codes of a quantised base stay as they are
        self._frozen = [_Frozen.rounded(p, compute_dtype) for p in frozen]
        # Adapters beside a base that is in half precision itself must stay in its format to compute with it.
        is_half = bool(frozen) and all(one.dtype == compute_dtype for one in self._frozen)
        self.final_dtype = compute_dtype if is_half else torch.float32
        for index, (p, master, gradient) in enumerate(zip(self._parameters, self.masters, self.gradients, strict=True)):
            p.grad = None
            if index in self._grid and not isinstance(p, DTensor):
                p.data = round_to_grid(master, self._grid[index], out_OI=torch.empty_like(master, dtype=compute_dtype))
            elif index in self._grid:
                round_to_grid(master, self._grid[index], out_OI=local_rows(p))
            elif not isinstance(p, DTensor):
                p.data = master.to(compute_dtype) if copies[index] else master
            if copies[index]:
                _take_float32_gradient(p)
            attach_gradient(p, gradient)
        self._copies = [index for index, copy in enumerate(copies) if copy and index not in self._grid]
        self._compute_dtype = compute_dtype
        held = [index for index, master in enumerate(self.masters) if master.numel()]  # a process may have no row
        decayed = [index for index in held if self._parameters[index].dim() >= 2]
        kept = [index for index in held if self._parameters[index].dim() < 2]
        self._groups = [(decayed, config.weight_decay), (kept, 0.0)]
        total = sum(p.numel() for p in self._parameters)
        # An odd stride walks over all columns of matrices of even width.
        self._stride = 1 if total <= _EXACT_WEIGHTS else (total // _SAMPLED_WEIGHTS) | 1

    def _grid_types(self, grid: Mapping[str, GridType]) -> dict[int, GridType]:
        unknown = sorted(set(grid) - set(self.names))
        if unknown:
            raise CompatibilityError(
                f"{unknown[0]} ({len(unknown)} in all) cannot be kept on a file's grid, for it does not learn.",
                hint="Train all weights, without adapters; what is frozen is quantised when the file is written.",
            )
        return {self.names.index(name): kind for name, kind in grid.items()}

    def _no_moments(self) -> tuple[list[Tensor], list[Tensor]]:
        """Zeroed moments, and their scales: none in float32, and none a row of what stays float32 beside 8 bits."""
        if self._config.moments == "float32":
            return [torch.zeros_like(master) for master in self.masters], []
        bitsandbytes_functions()  # before anything is allocated
        moments, scales = [], []
        for master, is_8_bit in zip(self.masters, self._is_8_bit, strict=True):
            blocks = num_blocks(math.prod(master.shape[1:])) if is_8_bit else 0
            moments.append(torch.zeros_like(master, dtype=torch.uint8 if is_8_bit else torch.float32))
            scales.append(master.new_zeros(*master.shape[:1], blocks))
        return moments, scales

    @property
    def state_kinds(self) -> tuple[StateKind, ...]:
        """What a checkpoint holds of each parameter."""
        return STATE_KINDS + (_SCALES if self.moment_scales else ())

    @torch.no_grad()
    def zero_gradients(self) -> None:
        """Clear the gradient buffers."""
        torch._foreach_zero_(self.gradients)

    def sum_gradients(self) -> None:
        """Add the processes' gradients of whole parameters up; those of sharded ones were added in backward."""
        self.parallel.sum_all_(self._whole(self.gradients))

    @torch.no_grad()
    def gradient_norm(self) -> Tensor:
        """Norm of the whole gradient, a scalar on the parameters' device; NaN or infinite when any entry is."""
        whole = self._whole(self.gradients)
        if not self.is_sharded:
            return _norm(whole)
        rows = self._sharded(self.gradients)
        nothing = self.gradients[0].new_zeros(())  # all may be sharded, and a process may have no row
        squares = self.parallel.sum_(_norm(rows).square() if rows else nothing.clone())
        return ((_norm(whole).square() if whole else nothing) + squares).sqrt()

    def _whole(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [tensor for tensor, sharded in zip(tensors, self._is_sharded, strict=True) if not sharded]

    def _sharded(self, tensors: Sequence[Tensor]) -> list[Tensor]:
        return [t for t, sharded in zip(tensors, self._is_sharded, strict=True) if sharded and t.numel()]

    def names_of_bad_gradients(self) -> list[str]:
        """Parameters whose gradient holds NaN or infinity."""
        return [n for n, g in zip(self.names, self.gradients, strict=True) if not bool(torch.isfinite(g).all())]

    @torch.no_grad()
    def update(self, learning_rate: float, gradient_norm: float) -> UpdateEffect:
        """Apply one update and leave the gradients for :meth:`zero_gradients` to clear.

        Args:
            gradient_norm: What :meth:`gradient_norm` said; clipping is folded into the update, so it needs no pass of
                its own.
        """
        before = [_joined(part, self._stride) for part in self._parts()]
        limit = self._config.max_grad_norm
        divisor = None
        if limit is not None and gradient_norm > limit:
            divisor = torch.tensor(gradient_norm / limit, dtype=torch.float32, device=self.masters[0].device)
            if divisor.device.type == "mps":  # its fused update is not known to divide
                torch._foreach_div_(self.gradients, divisor)
                divisor = None
        for indices, weight_decay in self._groups:
            make: Callable[..., None] = partial(
                adamw,
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
            if whole := [i for i in indices if not self._is_8_bit[i]]:
                every = (self.masters, self.gradients, self.moments, self.second_moments)
                make(*([tensors[i] for i in whole] for tensors in every), [], [self._steps[i] for i in whole])
            for i in indices:
                if self._is_8_bit[i]:
                    self._update_8_bit(i, make)
        self.publish_masters()
        after = [_joined(part, self._stride) for part in self._parts()]
        return self._effect(before, after)

    def _update_8_bit(self, index: int, make: Callable[..., None]) -> None:
        step = self._steps[index]

        def update(*rows: Tensor) -> None:
            make(*([part] for part in rows), [], [step.clone()])  # each slab is at the same step

        first = (self.moments[index], self.moment_scales[index])
        second = (self.second_moments[index], self.second_moment_scales[index])
        update_by_slabs(self.masters[index], self.gradients[index], first, second, update)
        step += 1

    def _parts(self) -> list[list[Tensor]]:
        """Masters that every process holds; then, if there are any, this process's rows of the others."""
        return [self._whole(self.masters), *([self._sharded(self.masters)] if self.is_sharded else [])]

    def _effect(self, before: list[Tensor], after: list[Tensor]) -> UpdateEffect:
        if len(before) == 1:
            was, now = before[0], after[0]
            changed = (was.to(self._compute_dtype) != now.to(self._compute_dtype)).float().mean()
            ratio = torch.linalg.vector_norm(now - was) / torch.linalg.vector_norm(was).clamp_min(1e-30)
            changed_share, update_ratio = torch.stack((changed, ratio)).tolist()
            return UpdateEffect(changed_share=changed_share, update_ratio=update_ratio)
        whole, sharded = (self._sums(was, now) for was, now in zip(before, after, strict=True))
        num, num_changed, moved, weight = (whole + self.parallel.sum_(sharded)).tolist()
        return UpdateEffect(changed_share=num_changed / num, update_ratio=math.sqrt(moved / max(weight, 1e-60)))

    def _sums(self, before: Tensor, after: Tensor) -> Tensor:
        """Entries, changed entries, squared norm of the update, squared norm before it; float64."""
        changed = (before.to(self._compute_dtype) != after.to(self._compute_dtype)).sum()
        squares = [part.double().square().sum() for part in (after - before, before)]
        num = torch.full((), before.numel(), device=before.device)
        return torch.stack([num.double(), changed.double(), *squares]).to(self.masters[0].device)

    @torch.no_grad()
    def publish_masters(self) -> None:
        """Write the masters into the model's parameters (nothing to do in float32: they are the same)."""
        if self._copies:
            copies = [self._parameters[index].detach() for index in self._copies]
            torch._foreach_copy_(copies, [self.masters[index] for index in self._copies])
        for index, kind in self._grid.items():
            round_to_grid(self.masters[index], kind, out_OI=local_rows(self._parameters[index]))

    @torch.no_grad()
    def leave_grid(self) -> None:
        """Let this process's rows of sharded parameters be their own masters again; nothing is published after it."""
        for index in self._grid:
            if self._is_sharded[index]:
                local_rows(self._parameters[index]).copy_(self.masters[index])

    @property
    def is_sharded(self) -> bool:
        """Whether processes hold rows of their own."""
        return any(self._is_sharded)

    @torch.no_grad()
    def whole_state(self, kind: StateKind, *, copied: bool = False) -> list[Tensor]:
        """Tensors of one kind, for a checkpoint of a model that no process holds rows of alone.

        Args:
            copied: In memory of their own, on the CPU, so that later updates do not reach them.
        """
        return [tensor.to("cpu", copy=True) if copied else tensor for tensor in getattr(self, kind)]

    @torch.no_grad()
    def pieces(self, *, shared: bool = False, copied: bool = False) -> list[StateRows]:
        """The rows that this process holds of all that a checkpoint does.

        Args:
            shared: Of what every process holds whole only this one's share, so that all of them together write it once.
            copied: In memory of their own, on the CPU, so that later updates do not reach them.
        """
        found = []
        for kind in self.state_kinds:
            for name, tensor, p in zip(self.names, getattr(self, kind), self._parameters, strict=True):
                rows = tensor.view(-1) if tensor.dim() == 0 else tensor
                first, shape = first_row(p), rows.shape
                if isinstance(p, DTensor):
                    shape = torch.Size((p.shape[0], *rows.shape[1:]))
                elif shared:
                    step = -(-rows.shape[0] // self.parallel.size)
                    first = min(rows.shape[0], self.parallel.rank * step)
                    rows = rows[first : first + step]
                if copied:
                    rows = rows.to("cpu", copy=True)
                found.append(StateRows(name=f"{kind}/{name}", rows=rows, first=first, shape=tuple(shape)))
        return found

    @property
    def state_bytes(self) -> int:
        """Of this process's part of what a checkpoint holds."""
        return sum(tensor.nbytes for kind in self.state_kinds for tensor in getattr(self, kind))

    def is_state(self, kind: StateKind, whole: object) -> bool:
        """Whether something is a checkpoint's tensors of one kind, for these parameters."""
        return (
            isinstance(whole, list)
            and len(whole) == len(self._parameters)
            and all(isinstance(one, Tensor) for one in whole)
            and all(
                one.shape == (*p.shape[:1], *own.shape[1:])
                for one, own, p in zip(whole, getattr(self, kind), self._parameters, strict=True)
            )
        )

    @torch.no_grad()
    def restore_state(self, kind: StateKind, whole: Sequence[Tensor]) -> None:
        """Take this process's part of a checkpoint's tensors of one kind."""
        for ours, theirs, p in zip(getattr(self, kind), whole, self._parameters, strict=True):
            ours.copy_(own_rows(theirs, p))

    def close(self) -> None:
        """Give the memory of gradients and moments back; the model keeps its weights.

        What learnt takes the masters: rounded to half precision it would lose what many small updates added up. What
        was frozen is again what it was, to the last bit. Only beside frozen weights that came in the compute dtype does
        all stay in it.
        """
        for p in self._parameters:
            p.grad = None
        if self.masters:
            for index in (*self._copies, *self._grid):
                if not self._is_sharded[index]:
                    self._parameters[index].data = self.masters[index].to(self.final_dtype)
        for one in self._frozen:
            one.restore(self.final_dtype)
        self._frozen.clear()
        for tensors in (self.gradients, *(getattr(self, kind) for kind in (*STATE_KINDS, *_SCALES))):
            tensors.clear()

    @property
    def num_updates(self) -> int:
        """Updates that the moments hold."""
        return int(max(self._steps))

    def set_num_updates(self, count: int) -> None:
        """Tell the bias correction how many updates the moments hold (when they come from a checkpoint)."""
        for step in self._steps:
            step.fill_(count)
