"""``config.json`` of models as their publishers wrote it, as far as it says how they are built."""

from __future__ import annotations

from typing import Any

_LLAMA_LIKE: dict[str, Any] = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "hidden_act": "silu",
    "rms_norm_eps": 1e-05,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "Llama-3-8B": {
        **_LLAMA_LIKE,
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "attention_bias": False,
        "max_position_embeddings": 8192,
        "rope_theta": 500000.0,
        "vocab_size": 128256,
    },
    "Qwen2.5-7B": {
        **_LLAMA_LIKE,
        "architectures": ["Qwen2ForCausalLM"],
        "model_type": "qwen2",
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "max_position_embeddings": 131072,
        "rms_norm_eps": 1e-06,
        "rope_theta": 1000000.0,
        "use_sliding_window": False,
        "sliding_window": 131072,
        "max_window_layers": 28,
        "vocab_size": 152064,
    },
    "Mistral-7B-v0.3": {
        **_LLAMA_LIKE,
        "architectures": ["MistralForCausalLM"],
        "model_type": "mistral",
        "max_position_embeddings": 32768,
        "rope_theta": 1000000.0,
        "sliding_window": None,
        "vocab_size": 32768,
    },
}
NUM_PARAMETERS = {"Llama-3-8B": 8_030_261_248, "Qwen2.5-7B": 7_615_616_512, "Mistral-7B-v0.3": 7_248_023_552}
"""As their cards and files say."""
