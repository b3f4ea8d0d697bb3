"""Serve a model of a run with llama.cpp, so that it is a teacher behind an endpoint.

``python serve.py STAGE/model ORIGINAL.gguf PORT``: the weights of a fine-tuned SmolLM2 in the file that its base came
in (tokenizer and configuration are the base's), half precision, one thread. Stop it with Ctrl-C.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import gguf
import numpy as np
import xllamacpp
from safetensors.numpy import load_file

_NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def gguf_name(name: str) -> str:
    """A tensor's name in a GGUF file of the llama family."""
    fixed = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
    if name in fixed:
        return fixed[name]
    _, _, layer, *part, kind = name.split(".")
    return f"blk.{layer}.{_NAMES['.'.join(part)]}.{kind}"


def interleaved(weight: np.ndarray, num_heads: int) -> np.ndarray:
    """Rows of a query or key projection in the order in which GGUF files of this family keep rotated pairs."""
    rows, columns = weight.shape
    return weight.reshape(num_heads, 2, rows // num_heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def write_file(model: Path, original: Path, target: Path) -> None:
    """The model's weights with the original's configuration and tokenizer."""
    base = gguf.GGUFReader(original)
    heads = {
        "attn_q": int(base.fields["llama.attention.head_count"].contents()),
        "attn_k": int(base.fields["llama.attention.head_count_kv"].contents()),
    }
    writer = gguf.GGUFWriter(target, "llama")
    skip = ("GGUF.", "general.architecture", "general.file_type", "general.quantization_version")
    for name, field in base.fields.items():
        if not name.startswith(skip):
            kind = field.types[0]
            writer.add_key_value(name, field.contents(), kind, field.types[-1] if len(field.types) > 1 else None)
    for name, weight in load_file(model / "model.safetensors").items():
        if name == "lm_head.weight":
            continue  # tied
        called, values = gguf_name(name), np.asarray(weight, dtype=np.float32)
        for part, num_heads in heads.items():
            if f".{part}." in called:
                values = interleaved(values, num_heads)
        writer.add_tensor(called, values if values.ndim == 1 else values.astype(np.float16))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main(model: Path, original: Path, port: int) -> None:
    """Write the file and serve it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "teacher.gguf"
        write_file(model, original, path)
        params = xllamacpp.CommonParams()
        params.model.path = str(path)
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.n_parallel, params.n_ctx, params.port = 8, 8 * 256, port
        server = xllamacpp.Server(params)
        sys.stdout.write(f"{server.listening_address}\n")
        sys.stdout.flush()
        while True:
            time.sleep(60)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
