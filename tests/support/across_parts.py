"""Small real tokenizers and texts for the tests of distilling across tokenizers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from spiritsafe.core.files.atomic import write_json, write_text
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.sources.tiny import TINY_CHAT_TEMPLATE, write_byte_tokenizer

TEXTS = [
    "The answer is 1234 + 5678 = 6912, as you can check by hand. The other answer is 12345678.",
    'def add(left: int, right: int) -> int:\n    """Sum."""\n    return left + right\n\n\tif x == 1000:  pass',
    "Zürich, naïve, œuvre; 東京は日本の首都です。 Καλημέρα κόσμε!",
    "emoji 👩‍👩‍👧‍👦 and flags 🇨🇭, combining e\u0301 a\u0308\u0323, zero\u200bwidth",
    "   leading, trailing and    runs of spaces   \n\n\n\t\t end  ",
    "x",
    "",
]
"""Numerals, code, scripts of several bytes a character, joined emoji, combining marks, white space."""

_CORPUS = [text * 3 for text in TEXTS if text] + ["the quick brown fox is the other thing that the answer is " * 4]


def byte_level(size: int, *, digits: bool = False, specials: tuple[str, ...] = ("<s>", "</s>")) -> Tokenizer:
    """A GPT-2-style tokenizer trained here: byte-level BPE, with ``digits`` one token a digit (as SmolLM2's)."""
    tokenizer = Tokenizer(models.BPE())
    bytes_alone = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.pre_tokenizer = (
        pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), bytes_alone]) if digits else bytes_alone
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=2,
        show_progress=False,
        special_tokens=list(specials),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(_CORPUS, trainer)
    return tokenizer


def sentence_piece(*, byte_fallback: bool = True) -> Tokenizer:
    """A Llama-2-style tokenizer: ``▁`` for space, one put before the text, unknown characters as bytes."""
    pieces = ["▁", "▁the", "▁answer", "▁is", "an", "s", "w", "e", "r", "t", "h", "i", "x", "1", "2", "▁▁", "th", "he"]
    vocabulary = {"<unk>": 0, "<s>": 1, "</s>": 2}
    vocabulary |= {f"<0x{byte:02X}>": 3 + byte for byte in range(256)}
    vocabulary |= {piece: 259 + n for n, piece in enumerate(pieces)}
    merges = [("t", "h"), ("h", "e"), ("▁", "▁"), ("th", "e")]
    vocabulary.setdefault("the", len(vocabulary))
    tokenizer = Tokenizer(
        models.BPE(vocab=vocabulary, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=byte_fallback)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    steps: list[Any] = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in ("<unk>", "<s>", "</s>")])
    return tokenizer


def byte_tokenizer(directory: Path) -> Tokenizer:
    """The tokenizer of this project's tiny models."""
    write_byte_tokenizer(directory, max_length=512)
    return Tokenizer.from_file(str(directory / "tokenizer.json"))


PLAIN_TEMPLATE = (
    "{% for message in messages %}{{ '[' + message['role'] + '] ' + message['content'] + '</s>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant] ' }}{% endif %}"
)


def chat_of(directory: Path, tokenizer: Tokenizer, *, template: str = PLAIN_TEMPLATE, end: str = "</s>") -> ChatFormat:
    """A chat format around a tokenizer."""
    directory.mkdir(parents=True, exist_ok=True)
    write_text(directory / "tokenizer.json", tokenizer.to_str())
    write_json(
        directory / "tokenizer_config.json",
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            "eos_token": end,
            "chat_template": template,
        },
    )
    return ChatFormat(directory)


def tiny_chat(directory: Path) -> ChatFormat:
    """The byte tokenizer's chats (ChatML), as tiny models have them."""
    directory.mkdir(parents=True, exist_ok=True)
    return chat_of(directory, byte_tokenizer(directory), template=TINY_CHAT_TEMPLATE, end="<|im_end|>")
