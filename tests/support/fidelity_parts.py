"""Model directories small enough to be compared with their files, with a tokenizer that merges and cuts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from architectures import ROPES, decoder_of, peer_of, random_config
from bpe_parts import train_tokenizer, write_tokenizer_files

from spiritsafe.core.files.atomic import read_json, write_json
from spiritsafe.models.checkpoints.directory import write_lineage


def write_model(directory: Path, family: str = "llama", *, seed: int = 1, **changes: Any) -> Path:
    """A random model whose answers have opinions, with a trained byte-level BPE that cuts digits apart."""
    tokenizer = train_tokenizer()
    tokenizer.post_processor = None
    directory.mkdir(parents=True)
    write_tokenizer_files(directory, tokenizer)
    config = random_config(family, seed) | {
        "vocab_size": tokenizer.get_vocab_size(),
        "rope_parameters": ROPES[0],
        "max_position_embeddings": 1024,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "use_sliding_window": False,
        "attention_bias": False,
    }
    decoder_of(peer_of(config | changes, seed)).save_weights(directory)
    ends = {"eos_token_id": tokenizer.token_to_id("<|im_end|>"), "pad_token_id": tokenizer.token_to_id("<|endoftext|>")}
    write_json(directory / "config.json", {**read_json(directory / "config.json"), **ends})
    write_json(directory / "generation_config.json", ends)
    write_lineage(directory, name="Toy", license="MIT")
    return directory
