"""A small byte-level BPE tokenizer, trained here, in a model directory of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from architectures import peer_of
from cut_parts import teacher_config
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from spiritsafe.core.files.atomic import write_json, write_text
from spiritsafe.models.checkpoints.directory import write_lineage
from spiritsafe.models.sources.tiny import TINY_CHAT_TEMPLATE

CORPUS = (
    "the cat sat on the mat and the other cat sat there",
    "there is nothing here but the theatre, though others gather together",
    "def add(a, b):\n    return a + b\n\nprint(add(12, 345))",
    "naïve café über straße 東京 🙂 the end",
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def train_tokenizer(*, vocab_size: int = 420, ignore_merges: bool = False) -> Tokenizer:
    """Bytes, merges, special tokens first, and one added token that is no special one, last."""
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
    end = tokenizer.token_to_id("<|endoftext|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <|endoftext|>", pair="$A $B <|endoftext|>", special_tokens=[("<|endoftext|>", end)]
    )
    return tokenizer


def write_tokenizer_files(directory: Path, tokenizer: Tokenizer, **model: Any) -> None:
    """Every file that a directory may hold, with ids in all of them."""
    write_text(directory / "tokenizer.json", tokenizer.to_str())
    end, pad = tokenizer.token_to_id("<|im_end|>"), tokenizer.token_to_id("<|endoftext|>")
    added = {
        str(i): {"content": t.content, "special": t.special} for i, t in tokenizer.get_added_tokens_decoder().items()
    }
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "chat_template": TINY_CHAT_TEMPLATE,
        "added_tokens_decoder": added,
    }
    write_json(directory / "tokenizer_config.json", config)
    write_json(directory / "added_tokens.json", {"<tool>": tokenizer.token_to_id("<tool>")})
    write_json(directory / "generation_config.json", {"eos_token_id": [end, pad], "pad_token_id": pad, "top_k": 5})
    write_json(directory / "vocab.json", tokenizer.get_vocab(with_added_tokens=False))
    write_text(directory / "merges.txt", "#version: 0.2\n")


def write_bpe_model(directory: Path, **changes: Any) -> Path:
    """A random Llama whose vocabulary is the tokenizer's, padded to 448 rows."""
    tokenizer = train_tokenizer()
    config = teacher_config("llama", vocab_size=448, eos_token_id=tokenizer.token_to_id("<|im_end|>"), **changes)
    peer_of(config).save_pretrained(directory)
    write_tokenizer_files(directory, tokenizer)
    write_lineage(directory, name="bpe", license="MIT")
    return directory
