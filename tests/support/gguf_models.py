"""Model directories of every family and tokenizer that a GGUF file is written from."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from architectures import ROPES, decoder_of, peer_of, random_config
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from spiritsafe.core.files.atomic import read_json, write_json
from spiritsafe.models.checkpoints.directory import write_lineage
from spiritsafe.models.gguf.tokenizer.sentencepiece import MergeOrder, byte_token, merges_of
from spiritsafe.models.gguf.tokenizer.splits import PreTokenizer
from spiritsafe.models.sources.tiny import TINY_CHAT_TEMPLATE, write_byte_tokenizer

PLAIN, LLAMA3 = ROPES[0], ROPES[4]


def model(directory: Path, family: str = "llama", *, seed: int = 1, **changes: Any) -> dict[str, Any]:
    """A directory of a random model of any family with the byte tokenizer; its configuration."""
    config = random_config(family, seed) | {"vocab_size": 260, "rope_parameters": PLAIN, "max_position_embeddings": 64}
    config |= {"mistral": {"sliding_window": None}, "qwen2": {}, "qwen3": {}}.get(family, {})
    if family in ("qwen2", "qwen3"):
        config["use_sliding_window"] = False
    if family == "qwen3":
        config["attention_bias"] = False
    config |= changes
    directory.mkdir(exist_ok=True)
    decoder_of(peer_of(config, seed)).save_weights(directory)
    special = write_byte_tokenizer(directory, max_length=64)
    write_json(directory / "config.json", {**read_json(directory / "config.json"), **special})
    write_json(directory / "generation_config.json", special)
    write_lineage(directory, name="Toy", license="Apache-2.0", recipe="sha256:" + "1" * 64)
    return config


CORPUS = (
    "the cat sat on the mat, and THE OTHER CAT sat there; it's 1234 o'clock\n\n\tdon't we'll I'm  x = 3;  y == 45\r\n",
    "def add(a, b):\n    return a + b\n\nprint(add(12, 345))   # naïve café über straße",
    "日本語のテキスト 中文 한국어 русский язык עברית 🎉👩‍👩‍👧 ½ ² Ⅷ ¶ [INST] HelloWorld camelCase HTTPServer",
)
SPECIAL = ("<s>", "</s>", "<|im_start|>", "<|im_end|>")


def texts(seed: int = 0, count: int = 120) -> list[str]:
    """Texts of pieces in which tokenizers differ, names of special tokens among them."""
    draw = random.Random(seed)
    pieces = [
        *SPECIAL,
        "<tool>",
        " ",
        "  ",
        "\n",
        "\t",
        "\r\n",
        "\u3000",
        "\u00a0",
        "1",
        "23",
        "4567",
        "３",
        "½",
        "'s",
        "'LL",
        "'",
    ]
    pieces += [
        ".",
        "...",
        "!?",
        "/",
        "_",
        "-",
        "e\u0301",
        "\u0301",
        "é",
        "ß",
        "İ",
        "中",
        "日本",
        "한",
        "я",
        "ע",
        "🎉",
        "👩‍👩‍👧",
        "\x00",
        "\x7f",
    ]
    pieces += " ".join(CORPUS).split(" ")
    made = ["".join(draw.choice(pieces) for _ in range(draw.randrange(1, 14))) for _ in range(count)]
    return ["", " ", *CORPUS, *made]


def byte_level(split: PreTokenizer, *, inside: bool, bos: bool = False, vocab_size: int = 480) -> Tokenizer:
    """A byte-level BPE, trained here, that splits text as a name of GGUF says.

    Args:
        inside: Whether the special tokens are in the model's own vocabulary (as GPT-2's) or behind it (as Llama 3's).
        bos: Whether a text is begun by a token.
    """
    tokenizer = Tokenizer(models.BPE(ignore_merges=split.keeps_words))
    tokenizer.pre_tokenizer = split.pre_tokenizer()
    if split.is_composed:
        tokenizer.normalizer = split.normaliser()
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=list(SPECIAL) if inside else [],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS * 4, trainer)
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    return _finished(tokenizer, bos)


def sentencepiece(space: str, *, bos: bool = True, order: MergeOrder = "ids") -> Tokenizer:
    """A BPE with bytes to fall back to, as transformers converts Llama 2's: ids, merges, spaces.

    Args:
        space: "prepend": the spelling of Llama 2 and Mistral; others: of later conversions.
        order: Of merges to one piece.
    """
    small = Tokenizer(models.BPE())
    small.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    small.train_from_iterator(CORPUS[:2] * 4, trainers.BpeTrainer(vocab_size=300, show_progress=False))
    vocabulary = small.get_vocab()
    ranked = sorted(vocabulary, key=lambda token: (len(token) == 1, vocabulary[token]))
    tokens = ["<unk>", "<s>", "</s>", *map(byte_token, range(256)), *ranked]
    kinds = [2, 3, 3, *[6] * 256, *[1] * len(ranked)]
    scores = [0.0] * 259 + [-float(rank) for rank in range(len(ranked))]
    model = {
        "type": "BPE", "dropout": None, "unk_token": "<unk>", "continuing_subword_prefix": None,
        "end_of_word_suffix": None, "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
        "vocab": {token: index for index, token in enumerate(tokens)},
        "merges": merges_of(tokens, scores, kinds, order),
    }  # fmt: skip
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    front = [{"type": "Prepend", "prepend": "▁"}, replace]
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": space, "split": False}
    back = [{"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"}]
    strip = [] if space == "never" else [{"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    content = {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "post_processor": None,
        "normalizer": {"type": "Sequence", "normalizers": front} if space == "prepend" else None,
        "pre_tokenizer": None if space == "prepend" else metaspace,
        "decoder": {"type": "Sequence", "decoders": [*back, *strip]},
        "model": model,
    }  # fmt: skip
    tokenizer = Tokenizer.from_str(json.dumps(content))
    for token in ("<unk>", *SPECIAL):
        tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)])
    return _finished(tokenizer, bos)


def _finished(tokenizer: Tokenizer, bos: bool) -> Tokenizer:
    tokenizer.add_tokens([AddedToken("<tool>", normalized=False)])
    if bos:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))]
        )
    return tokenizer


def tokenizer_files(directory: Path, tokenizer: Tokenizer, **changes: Any) -> None:
    """A tokenizer's files in an existing directory."""
    tokenizer.save(str(directory / "tokenizer.json"))
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>",
        "chat_template": TINY_CHAT_TEMPLATE, "model_max_length": 64, "clean_up_tokenization_spaces": False, **changes,
    }  # fmt: skip
    write_json(directory / "tokenizer_config.json", config)


def model_with(directory: Path, tokenizer: Tokenizer, *, unused: int = 0, **changes: Any) -> None:
    """A small Llama with such a tokenizer.

    Args:
        unused: Rows of the embedding beyond the tokenizer's tokens.
    """
    size = tokenizer.get_vocab_size(with_added_tokens=True)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2}
    model(directory, vocab_size=size + unused, head_dim=8, **sizes)
    tokenizer_files(directory, tokenizer, **changes)
    (directory / "generation_config.json").unlink()
    write_lineage(directory, name="Toy", license="Apache-2.0")
