"""Between the Decoder's fused parameters and Hugging Face's names.

In: a module with the Decoder's parameter names, or a mapping of Hugging Face tensors. Out: the other one, bit for bit.
Each fused matrix is its parts stacked along the output axis, so a part is a view.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.files.atomic import atomic_path, write_json
from spiritsafe.models.decoder.config import DecoderConfig

_LAYER = "model.layers"


def make_hf_tensors(module: nn.Module, config: DecoderConfig) -> dict[str, Tensor]:
    """Every Hugging Face tensor as a view of the module's parameters, detached."""
    ours: dict[str, Tensor] = dict(module.named_parameters())
    out = {"model.embed_tokens.weight": ours["embedding.weight"]}
    width = config.head_dim
    qkv_rows = [config.num_heads * width, config.num_kv_heads * width, config.num_kv_heads * width]
    mlp_rows = [config.intermediate_size, config.intermediate_size]
    for index in range(config.num_layers):
        mine, theirs = f"blocks.{index}", f"{_LAYER}.{index}"
        out[f"{theirs}.input_layernorm.weight"] = ours[f"{mine}.input_norm.weight"]
        out[f"{theirs}.post_attention_layernorm.weight"] = ours[f"{mine}.mlp_norm.weight"]
        for kind in ("weight", "bias"):
            if f"{mine}.qkv.{kind}" in ours:
                for name, part in zip("qkv", torch.split(ours[f"{mine}.qkv.{kind}"], qkv_rows), strict=True):
                    out[f"{theirs}.self_attn.{name}_proj.{kind}"] = part
            if f"{mine}.gate_up.{kind}" in ours:
                halves = torch.split(ours[f"{mine}.gate_up.{kind}"], mlp_rows)
                for name, part in zip(("gate", "up"), halves, strict=True):
                    out[f"{theirs}.mlp.{name}_proj.{kind}"] = part
            for name, path in (("out", "self_attn.o_proj"), ("down", "mlp.down_proj")):
                if f"{mine}.{name}.{kind}" in ours:
                    out[f"{theirs}.{path}.{kind}"] = ours[f"{mine}.{name}.{kind}"]
        if config.qk_norm:
            out[f"{theirs}.self_attn.q_norm.weight"] = ours[f"{mine}.q_norm.weight"]
            out[f"{theirs}.self_attn.k_norm.weight"] = ours[f"{mine}.k_norm.weight"]
    out["model.norm.weight"] = ours["norm.weight"]
    if not config.tied:
        out["lm_head.weight"] = ours["lm_head.weight"]
    return {name: tensor.detach() for name, tensor in out.items()}


def load_hf_tensors(module: nn.Module, config: DecoderConfig, tensors: Mapping[str, Tensor]) -> None:
    """Copy Hugging Face tensors into the module.

    A tied model's file may repeat the head; it must then equal the embedding. Frequencies that old files carry
    (``rotary_emb.inv_freq``) are recomputed, not read.

    Raises:
        CompatibilityError: A tensor is missing, unknown, of another shape, or a tied head differs.
    """
    targets = make_hf_tensors(module, config)
    given = {name: tensor for name, tensor in tensors.items() if not name.endswith("rotary_emb.inv_freq")}
    hint = "config.json and the weights do not belong together; fetch the model again."
    if config.tied and "lm_head.weight" in given:
        head = given.pop("lm_head.weight")
        if not torch.equal(head, given.get("model.embed_tokens.weight", head)):
            raise CompatibilityError(
                "The configuration ties head and embedding, but the file holds a different head.",
                hint='Set "tie_word_embeddings": false in config.json.',
            )
    for what, names in (("lack", set(targets) - set(given)), ("hold the unknown", set(given) - set(targets))):
        if names:
            raise CompatibilityError(f"The weights {what} tensor {min(names)!r} ({len(names)} in all).", hint=hint)
    with torch.no_grad():
        for name, target in targets.items():
            if given[name].shape != target.shape:
                raise CompatibilityError(
                    f"Tensor {name!r} has shape {tuple(given[name].shape)}, the configuration needs "
                    f"{tuple(target.shape)}.",
                    hint=hint,
                )
            target.copy_(given[name])


def save_hf(directory: Path, config: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Write ``model.safetensors``, then ``config.json``, each atomically."""
    on_cpu = {name: tensor.to("cpu").contiguous() for name, tensor in tensors.items()}
    with atomic_path(directory / "model.safetensors") as temporary:
        save_file(on_cpu, temporary, metadata={"format": "pt"})
    write_json(directory / "config.json", config)
