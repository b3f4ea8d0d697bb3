"""One process that shards over itself; tests/unit/training/distributed/test_processes.py has two."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from tiny_training import counting_documents, tiny_decoder

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.batch import pack_documents
from spiritsafe.models.sources.tiny import write_tiny
from spiritsafe.models.transformers_backend.model import TransformersModel
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


def test_models_whose_parts_are_not_known_are_refused(tmp_path: Path) -> None:
    write_tiny(tmp_path, seed=0, hidden_size=16)
    with pytest.raises(CompatibilityError, match="layers are not known"):
        ShardedModel(TransformersModel(tmp_path, dtype=torch.float32, device="cpu"), torch.float32, ALONE)
    compiled = tiny_decoder()
    compiled.compile_blocks(backend="eager")
    with pytest.raises(CompatibilityError, match="compiled blocks"):
        ShardedModel(compiled, torch.float32, ALONE)
    with_adapter = tiny_decoder()
    with_adapter.blocks[0].out.register_parameter("adapter", torch.nn.Parameter(torch.zeros(2)))
    with pytest.raises(CompatibilityError, match="adapters"):
        ShardedModel(with_adapter, torch.float32, ALONE)
    assert all(p.numel() for p in with_adapter.parameters())
