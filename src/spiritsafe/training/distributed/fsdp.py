"""A model whose blocks are spread over the processes (FSDP2), for models that one device cannot train whole.

In: a Decoder, whole on every process. Out: a :class:`ShardedModel`, of which each process holds its rows of every
block matrix: master weights, gradients and moments are those rows. A block's weights are gathered, in the compute
dtype, when it runs, and its gradients are summed and scattered when it has run backward.

Embedding, head and final norm stay whole on every process, and their gradients are summed once a step. The head's
gradient is made by hand, into a buffer that must be as large as the head (training/chunked_head.py), and with tied
weights the embedding's lands in the same buffer: neither passes through the hooks by which FSDP2 learns of a gradient.
"""

from __future__ import annotations

from typing import Any, final

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models import Decoder, LanguageModel
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


@final
class ShardedModel:
    """A Decoder in training over several processes. While it exists, the model it was made from has no blocks.

    Args:
        model: Whole, the same on every process.
        compute_dtype: In which blocks run; their rows are kept in float32.
        parallel: The processes, more than one.

    Attributes:
        module: What to train: a Decoder that shares embedding, head and final norm with ``model``.

    Raises:
        CompatibilityError: The model is no Decoder, or has adapters or compiled blocks.
    """

    def __init__(self, model: LanguageModel, compute_dtype: torch.dtype, parallel: Parallel) -> None:
        if not isinstance(model, Decoder):
            raise CompatibilityError(
                f"{type(model).__name__} cannot be spread over processes: its layers are not known.",
                hint='Set parallel to "ddp", or take a model of the Decoder\'s family.',
            )
        self.module = Decoder(model.config, device="meta", seed=None)
        expected = [name for name, _ in self.module.named_parameters()]
        if [name for name, _ in model.named_parameters()] != expected or any(
            "project" in vars(b) for b in model.blocks
        ):
            raise CompatibilityError(
                "A model with adapters or compiled blocks cannot be spread over processes.",
                hint='Set parallel to "ddp" (adapters need little memory), or take the plain model.',
            )
        self._model = model
        self.module.activation_checkpointing = model.activation_checkpointing
        whole = {p for name, p in model.named_parameters() if not name.startswith("blocks.")}
        for name, parameter in model.named_parameters():
            path, _, last = name.rpartition(".")
            if parameter not in whole:
                data = parameter.detach().to(torch.float32)
                parameter.data = parameter.data.new_empty(0)
                parameter = nn.Parameter(data, requires_grad=parameter.requires_grad)
            setattr(self.module.get_submodule(path), last, parameter)
        policy = MixedPrecisionPolicy(param_dtype=compute_dtype, reduce_dtype=torch.float32, cast_forward_inputs=False)
        mesh = init_device_mesh(model.device.type, (parallel.size,))
        options: dict[str, Any] = {"mesh": mesh, "mp_policy": policy, "reshard_after_forward": True}
        for block in self.module.blocks:
            _sum_gradients(fully_shard(block, **options))
        fully_shard(self.module, ignored_params=whole, **options)
        register_fsdp_forward_method(self.module, "forward_with_layers")

    @torch.no_grad()
    def restore(self, dtype: torch.dtype) -> None:
        """Give the model its blocks back, whole on every process, in ``dtype``; all processes must call it."""
        sharded = dict(self.module.named_parameters())
        for name, parameter in self._model.named_parameters():
            if parameter is not sharded[name]:
                rows = sharded[name].detach()
                parameter.data = gather_rows(local_rows(rows), rows).to(dtype)
