"""One process that shards over itself; test_processes.py and test_fsdp_kinds.py have two."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy

import pytest
import torch
import torch.distributed as dist
from tiny_training import counting_documents, tiny_decoder
from torch.distributed.tensor import DTensor

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.interface.batch import pack_documents
from spiritsafe.models.lora.adapters import add_lora, lora_parameters
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.training.distributed.fsdp import ShardedModel, attach_gradient, gather_rows, local_rows, own_rows
from spiritsafe.training.distributed.processes import Parallel

ALONE = Parallel()


@pytest.fixture
def _group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_a_whole_parameter_is_its_own_rows() -> None:
    parameter = torch.nn.Parameter(torch.arange(6.0).view(3, 2))
    rows = local_rows(parameter)
    assert rows.data_ptr() == parameter.data_ptr()
    assert not rows.requires_grad
    assert own_rows(rows, parameter) is rows
    assert gather_rows(rows, parameter) is rows
    attach_gradient(parameter, rows)
    assert parameter.grad is rows


@pytest.mark.usefixtures("_group")
def test_a_sharded_model_computes_the_same_and_gives_the_blocks_back() -> None:
    model, reference = tiny_decoder(tie_word_embeddings=False), tiny_decoder(tie_word_embeddings=False)
    model.norm.weight.requires_grad_(False)
    batch = pack_documents(counting_documents(3))
    sharded = ShardedModel(model, torch.float32, ALONE)
    assert sharded.module.embedding.weight is model.embedding.weight
    assert sharded.module.head().weight_VH is model.head().weight_VH
    assert not sharded.module.norm.weight.requires_grad
    assert all(p.numel() == 0 for name, p in model.named_parameters() if name.startswith("blocks."))
    weight = sharded.module.blocks[0].qkv.weight
    buffer = torch.ones_like(local_rows(weight))
    attach_gradient(weight, buffer)
    for hidden_NH in (sharded.module(batch), sharded.module.forward_with_layers(batch, (0, 1))[0]):
        torch.testing.assert_close(hidden_NH, reference(batch))
        hidden_NH.square().sum().backward()
        reference(batch).square().sum().backward()
    # added to what lay in the buffer, and neither averaged nor replaced
    expected = reference.blocks[0].qkv.weight.grad
    assert expected is not None
    torch.testing.assert_close(buffer - 1.0, expected, rtol=1e-5, atol=1e-5)
    whole = torch.arange(float(weight.numel())).view(weight.shape)
    assert torch.equal(gather_rows(own_rows(whole, weight), weight), whole)
    sharded.restore(torch.float32)
    for mine, theirs in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.equal(mine, theirs)


@pytest.mark.usefixtures("_group")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_whole_model_is_there_for_as_long_as_it_is_needed(dtype: torch.dtype) -> None:
    model = tiny_decoder()
    add_lora(model, LoraConfig(rank=2))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    sharded = ShardedModel(model, dtype, ALONE)
    names = [name for name, _ in sharded.module.named_parameters()]
    assert names == list(before)
    # adapters stay whole and shared, and the frozen weights beside them keep their format
    assert lora_parameters(sharded.module) == lora_parameters(model)
    qkv = sharded.module.get_parameter("blocks.0.qkv.weight")
    assert isinstance(qkv, DTensor)
    assert not qkv.requires_grad
    with sharded.whole(everywhere=True) as whole:
        assert whole is model
        assert torch.equal(model.blocks[0].qkv.weight, before["blocks.0.qkv.weight"].to(dtype))
        assert model.blocks[0].qkv.weight.dtype == dtype
    assert model.blocks[0].qkv.weight.numel() == 0
    sharded.restore(torch.float32)
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


def test_on_another_process_than_the_main_one_no_memory_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_decoder()
    sharded = object.__new__(ShardedModel)
    sharded._model, sharded.module, sharded._names = model, deepcopy(model), ["blocks.0.qkv.weight"]
    sharded._compute_dtype, sharded._parallel = torch.float32, Parallel(rank=1, size=2)
    model.blocks[0].qkv.weight.data = torch.empty(0)
    with sharded.whole(everywhere=False):
        assert model.blocks[0].qkv.weight.numel() == 0
    with sharded.whole(everywhere=True):
        assert model.blocks[0].qkv.weight.numel()


def test_models_whose_parts_are_not_known_are_refused() -> None:
    strange = tiny_decoder()
    strange.num_layers = 3
    with pytest.raises(CompatibilityError, match="layers are not known"):
        ShardedModel(strange, torch.float32, ALONE)
    compiled = tiny_decoder()
    compiled.compile_blocks(backend="eager")
    with pytest.raises(CompatibilityError, match="compiled blocks"):
        ShardedModel(compiled, torch.float32, ALONE)
    assert all(p.numel() for p in (*strange.parameters(), *compiled.parameters()))
