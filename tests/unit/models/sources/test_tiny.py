from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from spiritsafe.core.files.digests import digest_directory
from spiritsafe.models.sources.tiny import write_tiny


def test_transformers_loads_model_and_tokenizer(tiny_directory: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_directory)
    model = AutoModelForCausalLM.from_pretrained(tiny_directory, dtype=torch.float32)
    text = "Hi <b>ü🎉\n\t 12"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert len(ids) == len(text.encode())
    assert tokenizer.decode(ids) == text
    assert model(torch.tensor([ids])).logits.shape[-1] == len(tokenizer) == 260
    assert tokenizer.decode([tokenizer.eos_token_id]) == "<|im_end|>"
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id
    assert model.config.num_hidden_layers == 2


def test_the_seed_alone_decides(tmp_path: Path) -> None:
    digests = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        (tmp_path / name).mkdir()
        write_tiny(tmp_path / name, seed=seed, hidden_size=32)
        digests.append(digest_directory(tmp_path / name))
    assert digests[0] == digests[1] != digests[2]
