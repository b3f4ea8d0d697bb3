"""The tokenizer that a GGUF file describes, written in Hugging Face's files.

In: an open GGUF file with a vocabulary of byte-level BPE ("gpt2") or of SentencePiece's BPE ("llama"). Out:
``tokenizer.json``, ``tokenizer_config.json`` and, where the file carries some, ``chat_options.json``. How text is split
before merging depends on ``tokenizer.ggml.pre``; a split that is not known here is refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, final, get_args

from pydantic import ValidationError
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.files.atomic import write_json, write_text
from spiritsafe.models.chat.options import ChatOptions
from spiritsafe.models.gguf.reader import GGUFFile
from spiritsafe.models.gguf.tokenizer.sentencepiece import MergeOrder, TokenKind, byte_token, is_filler, merges_of
from spiritsafe.models.gguf.tokenizer.splits import SPLITS, PreTokenizer

OUTSIDE_KEY = "spiritsafe.tokenizer.outside_vocabulary"
"""Ids of added tokens that are not in the model's own vocabulary, where GGUF has one list for both."""
ENDS_KEY = "spiritsafe.generation.eos_token_ids"
"""All end tokens that ``generation_config.json`` names, where GGUF has one or two."""
CHAT_OPTIONS_KEY = "spiritsafe.chat_options"
"""What the chat template is told, as JSON."""
SPACE_KEY = "spiritsafe.tokenizer.space_prefix"
"""Where a space is added that is not written, where it is by a later rule than SentencePiece's own."""
ORDER_KEY = "spiritsafe.tokenizer.merge_order"
"""Which of several merges to one piece comes first, where it is not the one with the lower ids."""
SPACE = "▁"
"""SentencePiece's space."""

Spaced = Literal["prepend", "always", "first", "never"]

_HINT = "Use the model's original repository instead: hf:<organisation>/<name>."


@final
@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """A tokenizer as GGUF describes it.

    Attributes:
        tokens: One for each id.
        kinds: Their :class:`TokenKind`.
        merges: Pairs, in order.
        split: How text is split; None: it is SentencePiece's, which does not.
        scores: Of SentencePiece's pieces.
        outside: Ids of added tokens that are not in the model's own vocabulary.
        bos: Whether the first token begins a text.
        eos: Whether the last one ends it.
        bos_id: The first token, where ``bos`` is to be carried out.
        eos_id: The last one.
        space: Where a space is added that is not written: "prepend": in front of each stretch of text between special
            tokens; "always": of each that does not begin with one; "first": of a text that does not; or nowhere.
        order: Which of several merges to one piece comes first.
    """

    tokens: Sequence[str]
    kinds: Sequence[int]
    merges: Sequence[tuple[str, str]]
    split: PreTokenizer | None
    scores: Sequence[float] | None
    outside: Sequence[int]
    bos: bool
    eos: bool
    bos_id: int | None = None
    eos_id: int | None = None
    space: Spaced
    order: MergeOrder = "ids"


def build_tokenizer(vocabulary: Vocabulary) -> Tokenizer:
    """The tokenizer that does what the vocabulary says."""
    kinds, tokens = vocabulary.kinds, vocabulary.tokens
    left_out = set(vocabulary.outside)
    own = {t: i for i, t in enumerate(tokens) if i not in left_out and not is_filler(t, i, kinds[i])}
    tokenizer = _sentencepiece(vocabulary, own) if vocabulary.split is None else _byte_level(vocabulary, own)
    special = (TokenKind.CONTROL, TokenKind.UNKNOWN)
    added = [
        AddedToken(token, special=kind in special, normalized=False)
        for index, (token, kind) in enumerate(zip(tokens, kinds, strict=True))
        if kind in special or kind == TokenKind.USER_DEFINED or index in left_out
    ]
    for is_special, group in groupby(added, key=attrgetter("special")):  # in the order of their ids
        (tokenizer.add_special_tokens if is_special else tokenizer.add_tokens)(list(group))
    front = [] if vocabulary.bos_id is None or not vocabulary.bos else [(tokens[vocabulary.bos_id], vocabulary.bos_id)]
    back = [] if vocabulary.eos_id is None or not vocabulary.eos else [(tokens[vocabulary.eos_id], vocabulary.eos_id)]
    if front or back:
        first, last = ([name for name, _ in part] for part in (front, back))
        tokenizer.post_processor = processors.TemplateProcessing(
            single=[*first, "$A:0", *last],
            pair=[*first, "$A:0", *last, *(f"{name}:1" for name in first), "$B:1", *(f"{name}:1" for name in last)],
            special_tokens=sorted({*front, *back}),
        )
    return tokenizer


def _byte_level(vocabulary: Vocabulary, own: dict[str, int]) -> Tokenizer:
    split = vocabulary.split or SPLITS["gpt-2"]
    model = models.BPE(vocab=own, merges=list(vocabulary.merges), ignore_merges=split.keeps_words)
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = split.pre_tokenizer()
    tokenizer.decoder = decoders.ByteLevel()
    if split.is_composed:
        tokenizer.normalizer = split.normaliser()
    return tokenizer


def _sentencepiece(vocabulary: Vocabulary, own: dict[str, int]) -> Tokenizer:
    unknown = [t for t, k in zip(vocabulary.tokens, vocabulary.kinds, strict=True) if k == TokenKind.UNKNOWN]
    model = models.BPE(
        vocab=own,
        merges=list(vocabulary.merges),
        unk_token=unknown[0] if unknown else None,
        fuse_unk=True,
        byte_fallback=True,
    )
    tokenizer = Tokenizer(model)
    if vocabulary.space in ("always", "first"):
        scheme = vocabulary.space
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=SPACE, prepend_scheme=scheme, split=False)
    else:
        front = [normalizers.Prepend(SPACE)] if vocabulary.space == "prepend" else []
        tokenizer.normalizer = normalizers.Sequence([*front, normalizers.Replace(" ", SPACE)])
    strip = [] if vocabulary.space == "never" else [decoders.Strip(" ", 1, 0)]
    spaces = decoders.Replace(SPACE, " ")
    tokenizer.decoder = decoders.Sequence([spaces, decoders.ByteFallback(), decoders.Fuse(), *strip])
    return tokenizer


def _vocabulary(file: GGUFFile, ids: dict[str, int]) -> Vocabulary:
    """What the file says, checked."""
    tokens = file.require("tokenizer.ggml.tokens", list)
    kinds = file.require("tokenizer.ggml.token_type", list)
    if len(kinds) != len(tokens) or len(set(tokens)) != len(tokens):
        raise file.damaged(f"{len(kinds)} token types for {len(tokens)} tokens, {len(set(tokens))} of them distinct")
    outside = file.metadata.get(OUTSIDE_KEY, [])
    if not isinstance(outside, list) or not all(isinstance(one, int) and 0 <= one < len(tokens) for one in outside):
        raise file.damaged(f"{OUTSIDE_KEY} names ids that it does not have")
    model = file.require("tokenizer.ggml.model", str)
    shared = {"tokens": tokens, "kinds": kinds, "outside": outside}
    shared |= {"bos_id": ids.get("bos_token_id"), "eos_id": ids.get("eos_token_id")}
    if model == "gpt2":
        split = _split(file)
        return Vocabulary(
            merges=_merges(file, set(tokens)), split=split, scores=None, space="never",
            bos=_switch(file, "add_bos_token", split.adds_bos), eos=_switch(file, "add_eos_token", False), **shared,
        )  # fmt: skip
    if model != "llama":
        raise CompatibilityError(
            f"{file.path}: vocabularies of kind {model!r} are not converted, only BPE ('gpt2', 'llama').", hint=_HINT
        )
    order: MergeOrder = _choice(file, ORDER_KEY, MergeOrder)
    has_space = _switch(file, "add_space_prefix", True)
    space: Spaced = _choice(file, SPACE_KEY, Spaced) if has_space else "never"
    scores = file.require("tokenizer.ggml.scores", list)
    if len(scores) != len(tokens):
        raise file.damaged(f"{len(scores)} scores for {len(tokens)} tokens")
    known = set(tokens)
    if missing := [byte for byte in range(256) if byte_token(byte) not in known]:
        raise file.damaged(f"its vocabulary has no {byte_token(missing[0])}")
    return Vocabulary(
        merges=merges_of(tokens, scores, kinds, order), split=None, scores=scores,
        space=space, order=order,
        bos=_switch(file, "add_bos_token", True), eos=_switch(file, "add_eos_token", False), **shared,
    )  # fmt: skip


def _switch(file: GGUFFile, name: str, otherwise: bool) -> bool:
    key = f"tokenizer.ggml.{name}"
    return bool(file.require(key, bool)) if key in file.metadata else otherwise


def _choice(file: GGUFFile, key: str, choices: Any) -> Any:
    """What the file says under a key of ours, or the first of the choices."""
    stated = file.metadata.get(key, get_args(choices)[0])
    if stated not in get_args(choices):
        raise file.damaged(f"{key} is {stated!r}")
    return stated


def _split(file: GGUFFile) -> PreTokenizer:
    name = file.require("tokenizer.ggml.pre", str)
    if name not in SPLITS:
        raise CompatibilityError(f"{file.path}: how tokenizer {name!r} splits text is not known.", hint=_HINT)
    return SPLITS[name]


def _merges(file: GGUFFile, known: set[str]) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for merge in file.require("tokenizer.ggml.merges", list):
        left, _, right = str(merge).partition(" ")
        if not {left, right, left + right} <= known:
            raise file.damaged(f"the merge {merge!r} does not lead from tokens to a token")
        pairs.append((left, right))
    return pairs


def write_tokenizer(file: GGUFFile, directory: Path, *, max_length: int) -> dict[str, int | list[int]]:
    """Write the tokenizer's files.

    Args:
        directory: Where ``tokenizer.json`` and ``tokenizer_config.json`` go.
        max_length: The model's context, kept as ``model_max_length``.

    Returns:
        ``{"bos_token_id": …, "eos_token_id": …, "pad_token_id": …}``, each where the file names it (padding falls
        back to the end token: it is masked everywhere, but must exist); several end tokens are a list.

    Raises:
        SourceError: The vocabulary contradicts itself.
        CompatibilityError: Another kind of vocabulary, or an unknown split.
    """
    tokens = file.require("tokenizer.ggml.tokens", list)
    ids = _special_ids(file, len(tokens))
    vocabulary = _vocabulary(file, ids)
    tokenizer = build_tokenizer(vocabulary)
    for index, token in enumerate(tokens):
        if not is_filler(token, index, vocabulary.kinds[index]) and tokenizer.token_to_id(token) != index:
            raise file.damaged(f"its token {token!r} cannot have the id {index}")
    write_text(directory / "tokenizer.json", tokenizer.to_str(pretty=False))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        **{name.removesuffix("_id"): tokens[value] for name, value in ids.items()},
    }
    if TokenKind.UNKNOWN in vocabulary.kinds:
        config["unk_token"] = tokens[vocabulary.kinds.index(TokenKind.UNKNOWN)]
    templates = _templates(file)
    if templates:
        only = list(templates) == ["default"]
        named = [{"name": name, "template": template} for name, template in templates.items()]
        config["chat_template"] = templates["default"] if only else named
    write_json(directory / "tokenizer_config.json", config)
    if CHAT_OPTIONS_KEY in file.metadata:
        _chat_options(file).write(directory)
    return ids | ({"eos_token_id": _ends(file, len(tokens))} if ENDS_KEY in file.metadata else {})


def _ends(file: GGUFFile, vocab_size: int) -> list[int]:
    ends = file.require(ENDS_KEY, list)
    if not ends or not all(isinstance(end, int) and 0 <= end < vocab_size for end in ends):
        raise file.damaged(f"{ENDS_KEY} names ids that it does not have")
    return list(ends)


def _templates(file: GGUFFile) -> dict[str, str]:
    """Name → chat template."""
    found: dict[str, str] = {}
    if "tokenizer.chat_template" in file.metadata:
        found["default"] = file.require("tokenizer.chat_template", str)
    for name in file.metadata.get("tokenizer.chat_templates", []):
        found[name] = file.require(f"tokenizer.chat_template.{name}", str)
    return found


def _chat_options(file: GGUFFile) -> ChatOptions:
    try:
        return ChatOptions.model_validate(json.loads(file.require(CHAT_OPTIONS_KEY, str)))
    except (ValueError, ValidationError) as error:
        raise file.damaged(f"{CHAT_OPTIONS_KEY} holds no options") from error


def _special_ids(file: GGUFFile, vocab_size: int) -> dict[str, int]:
    names = {"bos_token_id": "bos", "eos_token_id": "eos", "pad_token_id": "padding"}
    ids = {n: file.metadata[k] for n, v in names.items() if (k := f"tokenizer.ggml.{v}_token_id") in file.metadata}
    if "eos_token_id" not in ids:
        raise file.damaged("its metadata names no end token")
    ids.setdefault("pad_token_id", ids["eos_token_id"])
    for name, value in ids.items():
        if not isinstance(value, int) or not 0 <= value < vocab_size:
            raise file.damaged(f"its {name} {value!r} is not in the vocabulary of {vocab_size} tokens")
    return ids
