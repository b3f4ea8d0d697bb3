"""A very small model for tests and the tiny recipe: random weights, bytes as tokens.

In: a seed and, if wanted, sizes. Out: a Hugging Face directory of a Llama whose tokenizer maps each byte of UTF-8 to
one token, with a chat template and an end token. The same seed gives the same bytes on every machine.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from spiritsafe.core.files.atomic import write_json, write_text
from spiritsafe.core.seeds import derive_seed
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.module import Decoder

_SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|pad|>")

TINY_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
"""ChatML without a default system prompt."""


def write_byte_tokenizer(directory: Path, *, max_length: int) -> dict[str, int]:
    """Write ``tokenizer.json`` and ``tokenizer_config.json`` of the byte tokenizer.

    Ids 0 to 3 are the special tokens, 4 to 259 the bytes in the order of their printable stand-ins.

    Returns:
        ``bos_token_id``, ``eos_token_id`` and ``pad_token_id``.
    """
    vocabulary = {token: index for index, token in enumerate((*_SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in _SPECIAL])
    write_text(directory / "tokenizer.json", tokenizer.to_str(pretty=False))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|pad|>",
        "chat_template": TINY_CHAT_TEMPLATE,
    }
    write_json(directory / "tokenizer_config.json", config)
    names = {"bos_token_id": "<|im_start|>", "eos_token_id": "<|im_end|>", "pad_token_id": "<|pad|>"}
    return {name: vocabulary[token] for name, token in names.items()}


def write_tiny(directory: Path, *, seed: int, **sizes: int) -> None:
    """Write the model and its tokenizer into an existing directory.

    Args:
        sizes: As :func:`write_tiny_config`.

    Raises:
        CompatibilityError: The sizes do not fit together.
    """
    config = write_tiny_config(directory, **sizes)
    Decoder(config, seed=derive_seed("tiny", seed, config.num_layers, config.hidden_size)).save_weights(directory)


def write_tiny_config(
    directory: Path,
    *,
    num_layers: int = 2,
    hidden_size: int = 128,
    num_heads: int = 4,
    num_kv_heads: int = 2,
    max_context: int = 1024,
) -> DecoderConfig:
    """Write all but the weights.

    Raises:
        CompatibilityError: The sizes do not fit together.
    """
    special = write_byte_tokenizer(directory, max_length=max_context)
    config = DecoderConfig.from_hf(
        {
            "model_type": "llama",
            "vocab_size": len(_SPECIAL) + 256,
            "hidden_size": hidden_size,
            "intermediate_size": 3 * hidden_size,
            "num_hidden_layers": num_layers,
            "num_attention_heads": num_heads,
            "num_key_value_heads": num_kv_heads,
            "max_position_embeddings": max_context,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "tie_word_embeddings": True,
            **special,
        }
    )
    write_json(directory / "config.json", {**config.to_hf(), "dtype": "float32"})
    write_json(directory / "generation_config.json", special)
    return config
