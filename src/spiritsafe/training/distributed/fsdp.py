"""A model whose blocks are spread over the processes (FSDP2), for models that one device cannot train whole.

In: a model, whole on every process. Out: a :class:`ShardedModel`, of which each process holds its rows of every block
matrix: master weights, gradients and moments are those rows. A block's weights are gathered, in the compute dtype, when
it runs, and its gradients are summed and scattered when it has run backward. Who needs the whole model (a draw, an
evaluation) gets it for as long as that takes.

Embedding, head, final norm and adapters stay whole on every process, and their gradients are summed once a step. The
head's gradient is made by hand, into a buffer that must be as large as the head (training/chunked_head.py), and with
tied weights the embedding's lands in the same buffer: neither passes through the hooks by which FSDP2 learns of a
gradient. Adapters are small, and what is sharded has a message for each of its parameters.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models import LanguageModel, lora_parameters
from spiritsafe.training.distributed.processes import Parallel


def local_rows(parameter: Tensor) -> Tensor:
    """This process's rows of a sharded parameter, sharing its storage; a whole parameter itself. Detached."""
    detached = parameter.detach()
    return detached.to_local() if isinstance(detached, DTensor) else detached


def own_rows(whole: Tensor, like: Tensor) -> Tensor:
    """The rows of a whole tensor that this process holds of the parameter ``like``; all of them if it is whole."""
    if not isinstance(like, DTensor):
        return whole
    num_processes, rank = like.device_mesh.size(), like.device_mesh.get_local_rank()
    num_rows = -(-whole.shape[0] // num_processes)
    return whole[rank * num_rows : (rank + 1) * num_rows]


def first_row(like: Tensor) -> int:
    """The number of the first row that this process holds of a parameter; 0 of a whole one."""
    if not isinstance(like, DTensor):
        return 0
    num_rows = -(-like.shape[0] // like.device_mesh.size())
    return min(int(like.shape[0]), like.device_mesh.get_local_rank() * num_rows)


def gather_rows(rows: Tensor, like: Tensor) -> Tensor:
    """Everybody's rows of a tensor that is sharded as the parameter ``like``; all processes must call it."""
    return _sharded_as(rows, like).full_tensor() if isinstance(like, DTensor) else rows


def attach_gradient(parameter: nn.Parameter, gradient: Tensor) -> None:
    """Make a buffer of this process's rows the parameter's gradient, which backward adds to."""
    parameter.grad = _sharded_as(gradient, parameter) if isinstance(parameter, DTensor) else gradient


def _sharded_as(rows: Tensor, like: DTensor) -> DTensor:
    return DTensor.from_local(
        rows, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )


def _sum_gradients(module: FSDPModule) -> None:
    """FSDP2 averages over processes; our losses are already divided."""
    module.set_gradient_divide_factor(1.0)
    module.set_force_sum_reduction_for_comms(True)


def _blocks_of(model: LanguageModel) -> nn.ModuleList:
    """The model's layers: the outermost list of as many modules as it has layers.

    Raises:
        CompatibilityError: There is no such list, or its layers are compiled.
    """
    lists = (module for module in model.modules() if isinstance(module, nn.ModuleList))
    blocks = next((one for one in lists if len(one) == model.num_layers), None)
    if blocks is None:
        raise CompatibilityError(
            f"{type(model).__name__} cannot be spread over processes: its layers are not known.",
            hint='Set parallel to "ddp", or take a model whose layers are a plain list.',
        )
    if any("project" in vars(block) for block in blocks):
        raise CompatibilityError(
            "A model with compiled blocks cannot be spread over processes.",
            hint='Set parallel to "ddp", or leave the model uncompiled.',
        )
    return blocks


@final
class ShardedModel:
    """A model in training over several processes. While it exists, the model it was made from has no blocks.

    What learns is kept as float32 rows; what is frozen, as rows in its own format. Numbers that are no floats (a
    quantised base) stay whole.

    Args:
        model: Whole, the same on every process.
        compute_dtype: In which blocks run.
        parallel: The processes, more than one.

    Attributes:
        module: What to train: a copy of the model that shares all but the blocks' own parameters with it.

    Raises:
        CompatibilityError: The model's layers are not known, or compiled.
    """

    def __init__(self, model: LanguageModel, compute_dtype: torch.dtype, parallel: Parallel) -> None:
        blocks, adapters = _blocks_of(model), lora_parameters(model)
        self._parallel = parallel
        self._model = model
        self._compute_dtype = compute_dtype
        inside = {p for p in blocks.parameters() if p.is_floating_point()} - adapters
        self._names = [name for name, p in model.named_parameters() if p in inside]
        shared: dict[int, Any] = {id(part): part for part in (*model.parameters(), *model.buffers())}
        for parameter in inside:
            dtype = torch.float32 if parameter.requires_grad else parameter.dtype
            rows = nn.Parameter(parameter.detach().to(dtype), requires_grad=parameter.requires_grad)
            shared[id(parameter)] = rows
            parameter.data = parameter.data.new_empty(0)
        self.module: LanguageModel = copy.deepcopy(model, shared)
        whole = {p for p in model.parameters() if p not in inside}
        policy = MixedPrecisionPolicy(param_dtype=compute_dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
        mesh = init_device_mesh(next(model.parameters()).device.type, (parallel.size,))
        options: dict[str, Any] = {
            "mesh": mesh,
            "mp_policy": policy,
            "reshard_after_forward": True,
            "ignored_params": whole,
        }
        for block in _blocks_of(self.module):
            _sum_gradients(fully_shard(block, **options))
        fully_shard(self.module, **options)
        register_fsdp_forward_method(self.module, "forward_with_layers")

    @contextmanager
    def whole(self, *, everywhere: bool) -> Iterator[LanguageModel]:
        """The model it was made from, with blocks in the compute dtype while the context lasts; all must enter it.

        Args:
            everywhere: On every process; else on the main one, and on the others still without blocks.
        """
        self._gather(self._compute_dtype, keep=everywhere or self._parallel.is_main)
        try:
            yield self._model
        finally:
            for name in self._names:
                parameter = self._model.get_parameter(name)
                parameter.data = parameter.data.new_empty(0)

    def restore(self, dtype: torch.dtype) -> None:
        """Give the model its blocks back, whole on every process, in ``dtype``; all processes must call it."""
        self._gather(dtype, keep=True)

    @torch.no_grad()
    def _gather(self, dtype: torch.dtype, *, keep: bool) -> None:
        sharded = dict(self.module.named_parameters())
        for name in self._names:
            rows = sharded[name]
            whole = gather_rows(local_rows(rows).to(dtype), rows)
            if keep:
                self._model.get_parameter(name).data = whole
