from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import write_foreign
from stranger_models import write_mixtral, write_stranger
from transformers import AutoModelForCausalLM

from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.models.checkpoints.tensors import read_tensor_table
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import Document, pack_documents
from spiritsafe.models.transformers_backend.loading import load_decoder, load_model
from spiritsafe.models.transformers_backend.model import TransformersModel

KINDS = ("gpt2", "gpt_neox", "mixtral", "cohere")


def documents() -> list[Document]:
    generator = torch.Generator().manual_seed(0)
    rows = [torch.randint(4, 260, (n,), generator=generator).tolist() for n in (7, 1, 19)]
    return [Document(token_ids=tuple(row), supervised=(False,) + (True,) * (len(row) - 1)) for row in rows]


@pytest.mark.parametrize("kind", KINDS)
def test_packed_documents_give_the_logits_of_each_alone(kind: str, tmp_path: Path) -> None:
    model = TransformersModel(write_foreign(tmp_path, kind), dtype=torch.float32, device="cpu").eval()
    reference = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        hidden_NH = model(pack_documents(documents()))
        head = model.head()
        ours = hidden_NH @ head.weight_VH.T * head.scale
        theirs = torch.cat([reference(torch.tensor([d.token_ids])).logits[0] for d in documents()])
    assert hidden_NH.shape == (27, model.hidden_size)
    assert torch.allclose(ours, theirs, atol=1e-4)


@pytest.mark.parametrize("kind", ["gpt2", "mixtral"])
def test_gradients_reach_every_parameter(kind: str, tmp_path: Path) -> None:
    model = TransformersModel(write_foreign(tmp_path, kind), dtype=torch.float32, device="cpu")
    hidden_NH = model(pack_documents(documents()))
    (hidden_NH @ model.head().weight_VH.T).square().mean().backward()
    missing = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert missing == []


@pytest.mark.parametrize(("kind", "why"), [("gemma2", "no linear map"), ("phi", "not a plain matrix")])
def test_heads_that_are_not_a_matrix_are_refused(kind: str, why: str, tmp_path: Path) -> None:
    write_foreign(tmp_path, kind)
    if kind == "phi":  # its head has a bias
        assert AutoModelForCausalLM.from_pretrained(tmp_path).lm_head.bias is not None
    with pytest.raises(CompatibilityError, match=why):
        TransformersModel(tmp_path, dtype=torch.float32, device="cpu")


def test_it_agrees_with_the_decoder_on_a_model_of_its_family(tiny_directory: Path) -> None:
    decoder = load_decoder(tiny_directory, dtype=torch.float32)
    fallback = TransformersModel(tiny_directory, dtype=torch.float32, device="cpu").eval()
    batch = pack_documents(documents())
    with torch.no_grad():
        assert torch.allclose(decoder(batch), fallback(batch), atol=1e-4)
    assert (fallback.vocab_size, fallback.hidden_size, fallback.num_layers, fallback.max_context) == (
        decoder.vocab_size,
        decoder.hidden_size,
        decoder.num_layers,
        decoder.max_context,
    )


def test_granites_logit_scale_is_what_its_configuration_says(tmp_path: Path) -> None:
    config = {
        "model_type": "granite",
        "vocab_size": 64,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "logits_scaling": 8.0,
        "max_position_embeddings": 64,
        "initializer_range": 0.3,
    }
    Decoder(DecoderConfig.from_hf(config), seed=1).save_weights(tmp_path)
    model = TransformersModel(tmp_path, dtype=torch.float32, device="cpu")
    assert model.head().scale == 1 / 8


def test_saved_weights_load_again(tmp_path: Path) -> None:
    model = TransformersModel(write_foreign(tmp_path / "a", "gpt_neox"), dtype=torch.float32, device="cpu")
    (tmp_path / "b").mkdir()
    model.save_weights(tmp_path / "b")
    again = TransformersModel(tmp_path / "b", dtype=torch.float32, device="cpu")
    for one, two in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)


def test_weights_are_saved_in_half_precision_and_shards_under_transformers_names(tmp_path: Path) -> None:
    model = TransformersModel(write_foreign(tmp_path / "a", "mixtral"), dtype=torch.float32, device="cpu")
    (tmp_path / "b").mkdir()
    model.save_weights(tmp_path / "b", dtype=torch.bfloat16, shard_bytes=20_000)
    names = {path.name for path in (tmp_path / "b").iterdir()}
    assert {"config.json", "model.safetensors.index.json"} < names
    assert all(name.endswith(".json") or name.startswith("model-") for name in names)
    assert json.loads((tmp_path / "b" / "config.json").read_text())["dtype"] == "bfloat16"
    assert read_tensor_table(tmp_path / "b").keys() == read_tensor_table(tmp_path / "a").keys()
    assert model.dtype == torch.float32
    again = TransformersModel(tmp_path / "b", dtype=torch.float32, device="cpu")
    for one, two in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one.to(torch.bfloat16).float(), two)


def test_a_document_beyond_the_context_is_refused(tmp_path: Path) -> None:
    model = TransformersModel(write_foreign(tmp_path, "gpt2"), dtype=torch.float32, device="cpu")
    long = Document(token_ids=(5,) * 97, supervised=(False,) * 97)
    with pytest.raises(CompatibilityError, match="97 tokens"):
        model(pack_documents([long]))


def test_a_batch_with_a_shared_prefix_is_refused(tmp_path: Path) -> None:
    model = TransformersModel(write_foreign(tmp_path, "gpt2"), dtype=torch.float32, device="cpu")
    rows = [Document(token_ids=(5, 6, 7, last), supervised=(False, False, False, True)) for last in (8, 9)]
    assert not model.shares_prefixes
    with pytest.raises(CompatibilityError, match="shared prefix"):
        model(pack_documents(rows, prefix_length=2))


def test_what_transformers_cannot_load_is_named(tmp_path: Path) -> None:
    write_foreign(tmp_path, "gpt2")
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"model_type": "from-the-future"}))
    with pytest.raises(SourceError, match="cannot load"):
        TransformersModel(tmp_path, dtype=torch.float32, device="cpu")


def test_loading_chooses_it(tmp_path: Path) -> None:
    loaded = load_model(write_foreign(tmp_path, "mixtral"), dtype=torch.float32)
    assert isinstance(loaded.model, TransformersModel)
    assert loaded.model.dtype == torch.float32
    assert loaded.model.device.type == "cpu"


@pytest.mark.parametrize("kind", ["gpt_neox", "mixtral", "cohere"])
def test_streams_after_chosen_layers_equal_transformers(kind: str, tmp_path: Path) -> None:
    model = TransformersModel(write_foreign(tmp_path, kind), dtype=torch.float32, device="cpu").eval()
    reference = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    last = model.num_layers - 1
    layers = (last - 1, 0) if last > 1 else (0,)  # all but the last are handed out before the final norm
    with torch.no_grad():
        hidden_NH, found = model.forward_with_layers(pack_documents(documents()), layers)
        assert torch.equal(hidden_NH, model(pack_documents(documents())))
        theirs = [reference(torch.tensor([d.token_ids]), output_hidden_states=True).hidden_states for d in documents()]
    for layer, stream in zip(layers, found, strict=True):
        assert torch.allclose(stream, torch.cat([streams[layer + 1][0] for streams in theirs]), atol=1e-4)


def test_streams_agree_with_the_decoders_and_carry_gradients(tiny_directory: Path) -> None:
    decoder = load_decoder(tiny_directory, dtype=torch.float32)
    fallback = TransformersModel(tiny_directory, dtype=torch.float32, device="cpu")
    batch = pack_documents(documents())
    layers = tuple(range(decoder.num_layers))
    ours, theirs = (model.forward_with_layers(batch, layers)[1] for model in (decoder, fallback))
    for one, two in zip(ours, theirs, strict=True):
        assert torch.allclose(one, two, atol=1e-4)
    for streams in (ours, theirs):
        torch.autograd.backward(list(streams), [torch.ones_like(stream) for stream in streams])
    mine, its = decoder.embedding.weight.grad, fallback.model.get_input_embeddings().weight.grad
    assert mine is not None
    assert torch.allclose(mine, its, atol=1e-3 * float(mine.abs().max()))


@pytest.mark.parametrize(("kind", "layers"), [("mixtral", (0, 9)), ("mixtral", (-1,)), ("gpt2", (0,))])
def test_layers_that_cannot_be_read_are_refused(kind: str, layers: tuple[int, ...], tmp_path: Path) -> None:
    model = TransformersModel(write_foreign(tmp_path, kind), dtype=torch.float32, device="cpu")
    with pytest.raises(CompatibilityError, match="cannot be read"):
        model.forward_with_layers(pack_documents(documents()), layers)


def test_nothing_listens_to_the_layers_afterwards(tmp_path: Path) -> None:
    model = TransformersModel(write_foreign(tmp_path, "mixtral"), dtype=torch.float32, device="cpu")
    with torch.no_grad():
        model.forward_with_layers(pack_documents(documents()), (0,))
    assert not any(module._forward_hooks for module in model.modules())


def of_lengths(*lengths: int) -> list[Document]:
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randint(4, 260, (n,), generator=generator).tolist() for n in lengths]
    return [Document(token_ids=tuple(row), supervised=(False,) + (True,) * (len(row) - 1)) for row in rows]


def test_documents_of_unlike_lengths_are_computed_apart_and_come_out_alike(tmp_path: Path) -> None:
    model = TransformersModel(write_mixtral(tmp_path), dtype=torch.float32, device="cpu").eval()
    computed: list[int] = []
    model.model.get_input_embeddings().register_forward_hook(lambda m, ids, out: computed.append(ids[0].numel()))
    mixed = of_lengths(12, 700, *[12] * 80, 650, 3)
    with torch.no_grad():
        hidden_NH, (stream_NH,) = model.forward_with_layers(pack_documents(mixed), (0,))
        num_tokens = sum(len(d.token_ids) for d in mixed)
        assert sum(computed) < 1.6 * num_tokens  # padded to the longest it would be 25 times that
        alone = [model.forward_with_layers(pack_documents([d]), (0,)) for d in mixed]
    assert torch.allclose(hidden_NH, torch.cat([hidden for hidden, _ in alone]), atol=1e-5)
    assert torch.allclose(stream_NH, torch.cat([streams[0] for _, streams in alone]), atol=1e-5)


def test_gradients_do_not_depend_on_the_grouping(tmp_path: Path) -> None:
    model = TransformersModel(write_mixtral(tmp_path), dtype=torch.float32, device="cpu")
    mixed = of_lengths(5, 900, 900, 7, 900)

    def gradients(batches: list[list[Document]]) -> list[torch.Tensor]:
        model.zero_grad()
        for documents_ in batches:
            model(pack_documents(documents_)).square().sum().backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None]

    together, apart = gradients([mixed]), gradients([[d] for d in mixed])
    for one, two in zip(together, apart, strict=True):
        assert torch.allclose(one, two, rtol=1e-4, atol=1e-4 * float(two.abs().max()))


LONGROPE = {
    "kind": "phi3",
    "original_max_position_embeddings": 64,
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "original_max_position_embeddings": 64,
        "short_factor": [1.0] * 8,
        "long_factor": [4.0] * 8,
    },
    "initializer_range": 0.3,
}
DYNAMIC = {
    "kind": "olmo2",
    "max_position_embeddings": 64,
    "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0},
    "initializer_range": 0.3,
}


def test_a_documents_states_do_not_depend_on_longer_neighbours(tmp_path: Path) -> None:
    model = TransformersModel(write_stranger(tmp_path, **LONGROPE), dtype=torch.float32, device="cpu").eval()
    assert model.rope_boundary == 64
    mixed = of_lengths(30, 100, 64, 65, 70, 2)
    reference = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    with torch.no_grad():
        together = (model(pack_documents(mixed)) @ model.head().weight_VH.T).split([len(d.token_ids) for d in mixed])
        for document, logits in zip(mixed, together, strict=True):
            assert torch.allclose(logits, reference(torch.tensor([document.token_ids])).logits[0], atol=1e-4)


def test_frequencies_that_grow_with_the_batch_never_do(tmp_path: Path) -> None:
    model = TransformersModel(write_stranger(tmp_path, **DYNAMIC), dtype=torch.float32, device="cpu").eval()
    assert model.rope_boundary == model.max_context == 64
    with pytest.raises(CompatibilityError, match="65 tokens"):
        model(pack_documents(of_lengths(30, 65)))


def test_a_forward_in_inference_mode_leaves_a_model_that_trains(tmp_path: Path) -> None:
    model = TransformersModel(write_stranger(tmp_path, **LONGROPE), dtype=torch.float32, device="cpu")
    with torch.inference_mode():
        model(pack_documents(of_lengths(30, 100)))
    model(pack_documents(of_lengths(100, 30))).sum().backward()
    assert all(p.grad is not None for p in model.model.get_decoder().parameters())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    ("kind", "config", "scale"),
    [
        ("cohere", {"logit_scale": 0.8333}, 0.8333),
        ("cohere2", {"logit_scale": 0.0625}, 0.0625),
        ("granitemoe", {"logits_scaling": 6.0, "num_local_experts": 4, "num_experts_per_tok": 2}, 1 / 6),
        ("mixtral", {"num_local_experts": 4, "num_experts_per_tok": 2}, 1.0),
    ],
)
def test_the_scale_of_logits_keeps_its_digits(
    kind: str, config: dict[str, Any], scale: float, dtype: torch.dtype, tmp_path: Path
) -> None:
    directory = write_stranger(tmp_path, kind, initializer_range=0.3, **config)
    assert TransformersModel(directory, dtype=dtype, device="cpu").head().scale == scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("initializer_range", [0.02, 0.3, 1.0])
def test_capped_logits_are_refused_in_every_format(
    initializer_range: float, dtype: torch.dtype, tmp_path: Path
) -> None:
    write_stranger(tmp_path, "gemma2", head_dim=16, query_pre_attn_scalar=16, initializer_range=initializer_range)
    with pytest.raises(CompatibilityError, match="caps its logits"):
        TransformersModel(tmp_path, dtype=dtype, device="cpu")


@pytest.mark.parametrize("kind", ["mixtral", "gpt_neox"])
def test_recomputed_activations_give_the_same_gradients_and_keep_less(kind: str, tmp_path: Path) -> None:
    model = TransformersModel(write_stranger(tmp_path, kind), dtype=torch.float32, device="cpu").train()
    batch = pack_documents(of_lengths(40, 40))

    def step() -> tuple[list[torch.Tensor], int]:
        model.zero_grad()
        kept: list[int] = []

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            kept.append(tensor.numel())
            return tensor

        balance = nullcontext() if model.balance is None else model.balance.weighted(500.0)
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor), balance:
            loss = model(batch).square().sum()
        loss.backward()
        return [p.grad.clone() for p in model.parameters() if p.grad is not None], sum(kept)

    assert not model.activation_checkpointing
    plain, whole = step()
    model.activation_checkpointing = True
    assert model.activation_checkpointing
    again, less = step()
    model.activation_checkpointing = False
    assert not model.activation_checkpointing
    assert less < whole / 2
    for one, two in zip(plain, again, strict=True):
        assert torch.allclose(one, two, atol=1e-6 * float(one.abs().max()))


@pytest.mark.parametrize("kind", ["mixtral", "gpt_neox"])
def test_what_a_pass_keeps_is_measured_by_the_token(kind: str, tmp_path: Path) -> None:
    model = TransformersModel(write_stranger(tmp_path, kind), dtype=torch.float32, device="cpu").eval()
    state = torch.get_rng_state()
    per_token, recomputed = model.measure_activations()
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.model.training
    assert recomputed < per_token
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        hidden_NH = model(pack_documents(of_lengths(*[200] * 5)))
    assert hidden_NH.requires_grad
    assert 1000 * per_token == pytest.approx(sum(kept.values()), rel=0.15)


def test_what_transformers_says_on_its_second_line_is_told(tmp_path: Path) -> None:
    directory = write_mixtral(tmp_path)
    path = directory / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "vocab_size": "x"}), "utf-8")
    with pytest.raises(SourceError, match=r"vocab_size': *\S"):
        TransformersModel(directory, dtype=torch.float32, device="cpu")
