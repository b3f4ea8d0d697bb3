"""How text is split before bytes are merged: what GGUF names, and what Hugging Face's files spell out.

In: a ``tokenizer.ggml.pre``, or normaliser and pre-tokenizer of a ``tokenizer.json``. Out: the other one. A split is
recognised by what it does, never by a model's name; one that is not here is refused, because a guess loads and runs and
tokenises numbers or spaces differently from the model's training.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, final

from tokenizers import Regex, normalizers, pre_tokenizers

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_LLAMA3 = (
    rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_REST = r" ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_WORD = r"[^\r\n\p{L}\p{N}]?"
_TEKKEN = rf"{_WORD}{_UPPER}*{_LOWER}+|{_WORD}{_UPPER}+{_LOWER}*|\p{{N}}|{_REST}"
_GPT4O = rf"{_WORD}{_UPPER}*{_LOWER}+{_CONTRACTIONS}?|{_WORD}{_UPPER}+{_LOWER}*{_CONTRACTIONS}?|\p{{N}}{{1,3}}|{_REST}"

_Step = tuple[str, str | bool | None]
_DIGITS: _Step = ("digits", None)
_WORDS: _Step = ("bytes", True)
_BYTES: _Step = ("bytes", False)


@final
@dataclass(frozen=True, kw_only=True)
class PreTokenizer:
    """What a name means.

    Attributes:
        name: The ``tokenizer.ggml.pre``.
        steps: Digits apart, a pattern, bytes (with or without GPT-2's pattern).
        is_composed: Whether text is brought to Unicode's composed form first. llama.cpp leaves text as it is.
        keeps_words: Whether a piece that is a token stays one, whatever the merges say.
        cleans_spaces: Whether llama.cpp removes spaces before punctuation when it makes text.
        adds_bos: Whether llama.cpp puts the first token in front where the file does not say.
    """

    name: str
    steps: tuple[_Step, ...]
    is_composed: bool = False
    keeps_words: bool = False
    cleans_spaces: bool = True
    adds_bos: bool = False

    @property
    def meaning(self) -> tuple[tuple[_Step, ...], bool, bool]:
        """What tells it from others for whoever makes tokens."""
        return self.steps, self.is_composed, self.keeps_words

    def normaliser(self) -> Any:
        """For a ``Tokenizer``; None for none."""
        return normalizers.NFC() if self.is_composed else None

    def pre_tokenizer(self) -> Any:
        """For a ``Tokenizer``."""
        parts = [_built(step) for step in self.steps]
        return parts[0] if len(parts) == 1 else pre_tokenizers.Sequence(parts)


def _pattern(regex: str) -> tuple[_Step, ...]:
    return (("pattern", regex), _BYTES)


_ROWS = (
    PreTokenizer(name="smollm", steps=(_DIGITS, _WORDS), cleans_spaces=False),
    PreTokenizer(name="refact", steps=(_DIGITS, _WORDS)),
    PreTokenizer(name="starcoder", steps=(_DIGITS, _WORDS)),
    PreTokenizer(name="trillion", steps=(_WORDS,), cleans_spaces=False),
    PreTokenizer(name="gpt-2", steps=(_WORDS,)),
    PreTokenizer(name="granite-docling", steps=(_WORDS,), cleans_spaces=False),
    PreTokenizer(name="llama-bpe", steps=_pattern(_LLAMA3), keeps_words=True, adds_bos=True),
    PreTokenizer(name="llama3", steps=_pattern(_LLAMA3), keeps_words=True, adds_bos=True),
    PreTokenizer(name="llama-v3", steps=_pattern(_LLAMA3), keeps_words=True, adds_bos=True),
    PreTokenizer(name="dbrx", steps=_pattern(_LLAMA3)),
    PreTokenizer(name="qwen2", steps=_pattern(_QWEN2), is_composed=True, cleans_spaces=False),
    PreTokenizer(name="deepseek-r1-qwen", steps=_pattern(_QWEN2), cleans_spaces=False),
    PreTokenizer(name="stablelm2", steps=_pattern(_QWEN2)),
    PreTokenizer(name="tekken", steps=_pattern(_TEKKEN), keeps_words=True, cleans_spaces=False, adds_bos=True),
    PreTokenizer(name="gpt-4o", steps=_pattern(_GPT4O), cleans_spaces=False),
)
SPLITS: Mapping[str, PreTokenizer] = {row.name: row for row in _ROWS}
"""``tokenizer.ggml.pre`` → what it means. Of names that mean the same the first is written."""


def _built(step: _Step) -> Any:
    kind, what = step
    if kind == "digits":
        return pre_tokenizers.Digits(individual_digits=True)
    if kind == "pattern":
        return pre_tokenizers.Split(Regex(str(what)), behavior="isolated", invert=False)
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=bool(what))


def recognise(tokenizer: Mapping[str, Any], *, cleans_spaces: bool) -> PreTokenizer | None:
    """The split of a ``tokenizer.json``; None where none of GGUF's means the same.

    Args:
        tokenizer: Its content.
        cleans_spaces: Whether its owner removes spaces before punctuation.
    """
    normaliser = tokenizer.get("normalizer")
    model = tokenizer["model"]
    steps = tuple(_steps(tokenizer.get("pre_tokenizer") or {}))
    keeps_words = bool(model.get("ignore_merges"))
    if not model.get("merges") and steps == (_BYTES,) and not normaliser and not keeps_words:
        steps = (_WORDS,)  # single bytes stay single bytes, however they are split
    is_composed = normaliser == {"type": "NFC"}
    if normaliser and not is_composed:
        return None
    meaning = (steps, is_composed, keeps_words)
    same = [row for row in _ROWS if row.meaning == meaning]
    return next((row for row in same if row.cleans_spaces == cleans_spaces), same[0] if same else None)


def _steps(part: Mapping[str, Any]) -> Iterator[_Step]:
    kind = part.get("type")
    if kind == "Sequence":
        for inner in part["pretokenizers"]:
            yield from _steps(inner)
    elif kind == "Digits" and part.get("individual_digits"):
        yield _DIGITS
    elif kind == "Split" and _covers(part):
        yield "pattern", part["pattern"].get("Regex")
    elif kind == "ByteLevel" and not part.get("add_prefix_space"):
        yield "bytes", bool(part.get("use_regex", True))
    else:
        yield "unknown", str(kind)


def _covers(part: Mapping[str, Any]) -> bool:
    """Whether pieces are what the pattern finds.

    The patterns here find everything, so that what lies between, which one of the two spellings drops, is nothing.
    """
    return (part.get("behavior"), part.get("invert")) in (("Isolated", False), ("Removed", True))
