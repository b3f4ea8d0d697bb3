"""Writes ``merges.safetensors``: tiny Llama models, and what MergeKit makes of them.

It runs in an environment of its own, for MergeKit pins much::

    python3 -m venv /tmp/mergekit && /tmp/mergekit/bin/pip install mergekit==0.1.5
    /tmp/mergekit/bin/python tests/golden/merge/make_merges.py

Tensors are called ``in:<model>/<tensor>`` and ``out:<merge>/<tensor>``; the file's metadata says the versions and, by
merge, what MergeKit was told. Where nothing is dropped, dare_linear and dare_ties do not depend on chance.
"""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM

TARGET = Path(__file__).with_name("merges.safetensors")
MODELS = ("a", "b", "c")
SIZES = {
    "vocab_size": 10,
    "hidden_size": 4,
    "intermediate_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "tie_word_embeddings": True,
}
KEPT = ("embed_tokens", "k_proj", "down_proj", "input_layernorm")
"""Tensors that are kept: the file is to stay small."""
Told = dict[str, Any]


def told(method: str, weight: list[float], density: list[float] | None = None, **shared: float | bool) -> Told:
    """What MergeKit is told of a merge of the three models."""
    per_model = [{"weight": w} | ({} if density is None else {"density": density[i]}) for i, w in enumerate(weight)]
    return {"merge_method": method, "parameters": shared, "per_model": per_model}


MERGES: dict[str, Told] = {
    "mean": told("linear", [1.0, 1.0, 1.0]),
    "weighted mean": told("linear", [0.5, 2.0, 0.25]),
    "weighted sum": told("linear", [0.5, 2.0, -1.0], normalize=False),
    "task arithmetic": told("task_arithmetic", [0.5, 0.7, -0.3], **{"lambda": 0.8}),
    "task arithmetic, normalised": told("task_arithmetic", [0.5, 0.7, 0.3], normalize=True),
    "ties": told("ties", [1.0, 1.0, 1.0], [0.4, 0.4, 0.4]),
    "ties, uneven": told("ties", [0.5, 0.9, 0.2], [0.2, 0.5, 0.8], **{"lambda": 1.3}),
    "ties, summed": told("ties", [0.5, 0.9, 0.2], [0.3, 0.3, 0.3], normalize=False),
    "dare, nothing dropped": told("dare_linear", [0.5, 0.7, 0.3], [1.0, 1.0, 1.0]),
    "dare-ties, nothing dropped": told("dare_ties", [0.5, 0.7, 0.3], [1.0, 1.0, 1.0], normalize=True),
}


def config_of(told: Told, folder: Path) -> dict[str, Any]:
    """MergeKit's configuration."""
    models = [
        {"model": str(folder / name), "parameters": parameters}
        for name, parameters in zip(MODELS, told["per_model"], strict=True)
    ]
    config = {"merge_method": told["merge_method"], "models": models, "parameters": told["parameters"]}
    if told["merge_method"] != "linear":
        config["base_model"] = str(folder / "base")
    return {**config, "dtype": "float32"}


def main() -> None:
    """Draw the models, let MergeKit merge them, keep all tensors."""
    tensors: dict[str, torch.Tensor] = {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        torch.manual_seed(0)
        base = LlamaForCausalLM(LlamaConfig(**SIZES))
        base.save_pretrained(folder / "base")
        for model in MODELS:
            changed = LlamaForCausalLM(LlamaConfig(**SIZES))
            with torch.no_grad():
                for parameter, start in zip(changed.parameters(), base.parameters(), strict=True):
                    parameter.copy_(start + 0.01 * torch.randn_like(start))
            changed.save_pretrained(folder / model)
        for model in ("base", *MODELS):
            found = load_file(folder / model / "model.safetensors")
            tensors |= {f"in:{model}/{tensor}": value for tensor, value in found.items()}
        for merge, settings in MERGES.items():
            (folder / "merge.json").write_text(json.dumps(config_of(settings, folder)))  # JSON is YAML
            program = str(Path(sys.executable).with_name("mergekit-yaml"))
            options = ["--quiet", "--no-copy-tokenizer"]
            subprocess.run([program, str(folder / "merge.json"), str(folder / "out"), *options], check=True)
            found = load_file(folder / "out" / "model.safetensors")
            tensors |= {f"out:{merge}/{tensor}": value for tensor, value in found.items()}
    metadata = {
        "merges": json.dumps(MERGES),
        "versions": json.dumps({name: version(name) for name in ("mergekit", "torch", "transformers")}),
    }
    kept = {name: tensor for name, tensor in tensors.items() if any(part in name for part in KEPT)}
    save_file(kept, TARGET, metadata=metadata)


if __name__ == "__main__":
    main()
