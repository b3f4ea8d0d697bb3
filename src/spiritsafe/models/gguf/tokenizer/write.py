"""A model directory's tokenizer as metadata of a GGUF file.

In: a directory with ``tokenizer.json``. Out: tokens, their kinds, merges or scores, how text is split, special tokens,
chat templates: all that :func:`spiritsafe.models.gguf.tokenizer.read.write_tokenizer` makes the directory's files from
again. Two kinds of vocabularies have a name in GGUF: byte-level BPE ("gpt2") and SentencePiece's BPE with bytes to fall
back to ("llama"). What neither can say is refused, and what was written is read back and tried on texts, so that a file
never tokenises otherwise than its model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, final, get_args

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.chat.options import CHAT_OPTIONS, ChatOptions
from spiritsafe.models.gguf.layout import MetadataValue, boolean, floats, integers, text, texts, uint
from spiritsafe.models.gguf.tokenizer.read import (
    CHAT_OPTIONS_KEY,
    ENDS_KEY,
    ORDER_KEY,
    OUTSIDE_KEY,
    SPACE,
    SPACE_KEY,
    Spaced,
    Vocabulary,
    build_tokenizer,
)
from spiritsafe.models.gguf.tokenizer.sentencepiece import (
    UNUSED_NAME,
    MergeOrder,
    TokenKind,
    byte_token,
    merges_of,
    scores_of,
)
from spiritsafe.models.gguf.tokenizer.splits import recognise
from spiritsafe.models.interface.tokenizer_files import load_tokenizer, stated_ends

_PREFIX = "tokenizer.ggml."
_HINT = "Release it as a Hugging Face directory, which keeps its own tokenizer."
_PROBES = (
    "", " ", "  a", "a  b\n\n c\t", "The year 2024 has 1,234.5 days.", "don't WE'LL I'm  x=3;y==4\r\n",
    "naïve Ångström café e\u0301", "日本語のテキスト 中文 한국어 русский עברית", "🎉👩‍👩‍👧 ½ ² Ⅷ",
    "\u00a0\u2003wide\u3000space",
    "<|im_start|> </s> [INST] <unk>", "0x1F600 ¶ \x00 \x7f", "   leading and trailing   ",
)  # fmt: skip
"""Texts in which tokenizers differ: digits, spaces, contractions, marks, scripts, symbols, names of special tokens."""


@final
@dataclass(frozen=True, kw_only=True)
class _Source:
    """A tokenizer that is to be written.

    Attributes:
        owner: As transformers opens it.
        fast: Makes the tokens.
        content: Its ``tokenizer.json``.
    """

    directory: Path
    owner: PreTrainedTokenizerBase
    fast: Tokenizer
    content: Mapping[str, Any]

    def refused(self, what: str) -> CompatibilityError:
        return CompatibilityError(f"The tokenizer of {self.directory} cannot be written as GGUF: {what}.", hint=_HINT)

    @property
    def added(self) -> list[Mapping[str, Any]]:
        """Tokens that are looked for before text is split."""
        return list(self.content["added_tokens"])


def tokenizer_metadata(directory: Path, *, num_rows: int) -> dict[str, MetadataValue]:
    """The metadata that describes a directory's tokenizer.

    Args:
        directory: With ``tokenizer.json``.
        num_rows: Of the embedding; ids that no token has are filled.

    Raises:
        SourceError: The tokenizer's files are missing or damaged.
        CompatibilityError: GGUF cannot say what this tokenizer does.
    """
    owner = load_tokenizer(directory)
    fast: Tokenizer = owner.backend_tokenizer
    fast.no_truncation()
    fast.no_padding()
    source = _Source(directory=directory, owner=owner, fast=fast, content=json.loads(fast.to_str()))
    if source.content["model"].get("type") != "BPE":
        raise source.refused(f"it is of the kind {source.content['model'].get('type')}, not BPE")
    vocabulary = _vocabulary(source, num_rows)
    _try(source, vocabulary)
    return _metadata(vocabulary) | _special(source, vocabulary) | _chat(source)


def _vocabulary(source: _Source, num_rows: int) -> Vocabulary:
    tokens, kinds, outside = _tokens(source, num_rows)
    model = source.content["model"]
    merges = [tuple(pair) if isinstance(pair, list) else tuple(pair.split(" ", 1)) for pair in model["merges"]]
    for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
        if model.get(option):
            raise source.refused(f"its {option} is {model[option]!r}")
    front, back = _around(source)
    shared: dict[str, Any] = {"tokens": tokens, "kinds": kinds, "merges": merges, "outside": outside}
    shared |= {"bos": front, "eos": back, "bos_id": source.owner.bos_token_id, "eos_id": source.owner.eos_token_id}
    if not model.get("byte_fallback"):
        split = recognise(
            source.content, cleans_spaces=bool(getattr(source.owner, "clean_up_tokenization_spaces", False))
        )
        if split is None:
            raise source.refused(f"how it splits text has no name there ({_shown(source)})")
        return Vocabulary(split=split, scores=None, space="never", **shared)
    space = _space(source)
    scores = scores_of(tokens, merges, kinds)
    for order in get_args(MergeOrder):
        if merges_of(tokens, scores, kinds, order) == merges:
            return Vocabulary(split=None, scores=scores, space=space, order=order, **shared)
    raise source.refused("its merges are not those that SentencePiece would make of its pieces")


def _shown(source: _Source) -> str:
    parts = {name: source.content.get(name) for name in ("normalizer", "pre_tokenizer")}
    return json.dumps(parts, ensure_ascii=False)[:400]


def _tokens(source: _Source, num_rows: int) -> tuple[list[str], list[int], list[int]]:
    """Token and kind of each id, and ids of the added tokens that are not in the model's own vocabulary."""
    own: Mapping[str, int] = source.content["model"]["vocab"]
    names = {index: token for token, index in own.items()} | {one["id"]: one["content"] for one in source.added}
    if max(names) >= num_rows:
        raise source.refused(f"it has a token of id {max(names)}, the embedding has {num_rows} rows")
    tokens = [names.get(index, UNUSED_NAME.format(index)) for index in range(num_rows)]
    if len(set(tokens)) != num_rows:
        raise source.refused("a token has the name of an unused one")
    kinds: list[int] = [TokenKind.NORMAL if index in names else TokenKind.UNUSED for index in range(num_rows)]
    if source.content["model"].get("byte_fallback"):
        for byte in range(256):
            if byte_token(byte) not in own:
                raise source.refused(f"it falls back to bytes and has no {byte_token(byte)}")
            kinds[own[byte_token(byte)]] = TokenKind.BYTE
        unknown = source.content["model"].get("unk_token")
        if unknown in own:
            kinds[own[unknown]] = TokenKind.UNKNOWN
    for one in source.added:
        if one["lstrip"] or one["rstrip"] or one["single_word"]:
            raise source.refused(f"its token {one['content']!r} takes or forbids what stands beside it")
        if kinds[one["id"]] != TokenKind.UNKNOWN:
            kinds[one["id"]] = TokenKind.CONTROL if one["special"] else TokenKind.USER_DEFINED
    return tokens, kinds, [one["id"] for one in source.added if one["content"] not in own]


def _around(source: _Source) -> tuple[bool, bool]:
    """Whether a text is begun by the first token and ended by the last one."""
    inner = source.fast.encode("a", add_special_tokens=False).ids
    whole = source.fast.encode("a", add_special_tokens=True).ids
    bos, eos = source.owner.bos_token_id, source.owner.eos_token_id
    for front in (False, True):
        for back in (False, True):
            if whole == [*[bos] * front, *inner, *[eos] * back]:
                return front, back
    raise source.refused(f"it puts more around a text than its first and last token: {whole} for {inner}")


def _space(source: _Source) -> Spaced:
    """Where a space is added that is not written, in either spelling of SentencePiece's conventions."""
    normaliser, pre = source.content.get("normalizer"), source.content.get("pre_tokenizer")
    replaced = {"type": "Replace", "pattern": {"String": " "}, "content": SPACE}
    alone = (replaced, {"type": "Sequence", "normalizers": [replaced]})
    prefixed = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": SPACE}, replaced]}
    if pre is None and normaliser == prefixed:
        return "prepend"
    if pre is None and normaliser in alone:
        return "never"
    if normaliser is None and isinstance(pre, dict) and pre.get("type") == "Metaspace":
        scheme = pre.get("prepend_scheme")
        if pre.get("replacement") == SPACE and not pre.get("split", True) and scheme in get_args(Spaced):
            return cast(Spaced, scheme)
    raise source.refused(f"its spaces are not SentencePiece's ({_shown(source)})")


def _try(source: _Source, vocabulary: Vocabulary) -> None:
    """Read back what is written, and compare tokens.

    Raises:
        CompatibilityError: A text has other tokens; the message shows it.
    """
    found = build_tokenizer(vocabulary)
    specials = "".join(one["content"] + " a" for one in source.added[:50])
    for probe in (*_PROBES, specials):
        for whole in (False, True):
            expected = source.fast.encode(probe, add_special_tokens=whole).ids
            if found.encode(probe, add_special_tokens=whole).ids != expected:
                raise source.refused(f"read back, it would tokenise {probe[:60]!r} differently")


def _metadata(vocabulary: Vocabulary) -> dict[str, MetadataValue]:
    out = {
        "model": text("gpt2" if vocabulary.split else "llama"),
        "pre": text(vocabulary.split.name if vocabulary.split else "default"),
        "tokens": texts(vocabulary.tokens),
        "token_type": integers(vocabulary.kinds),
    }
    if vocabulary.scores is None:
        out["merges"] = texts([" ".join(pair) for pair in vocabulary.merges])
    else:
        out["scores"] = floats(vocabulary.scores)
        out["add_space_prefix"] = boolean(vocabulary.space != "never")
    out |= {"add_bos_token": boolean(vocabulary.bos), "add_eos_token": boolean(vocabulary.eos)}
    own = {OUTSIDE_KEY: integers(vocabulary.outside)} if vocabulary.outside else {}
    if vocabulary.space in ("always", "first"):
        own[SPACE_KEY] = text(vocabulary.space)
    if vocabulary.order != "ids":
        own[ORDER_KEY] = text(vocabulary.order)
    return {_PREFIX + key: value for key, value in out.items()} | own


def _special(source: _Source, vocabulary: Vocabulary) -> dict[str, MetadataValue]:
    """Ids of the tokens with a part to play."""
    owner = source.owner
    stated = stated_ends(source.directory)
    eos = owner.eos_token_id if owner.eos_token_id is not None else next(iter(stated), None)
    if eos is None:
        raise source.refused("it names no end token")
    ids = {"bos": owner.bos_token_id, "eos": eos, "padding": owner.pad_token_id}
    if TokenKind.UNKNOWN in vocabulary.kinds:
        ids["unknown"] = vocabulary.kinds.index(TokenKind.UNKNOWN)
    if owner.chat_template:
        end = ChatFormat(source.directory).end_id
        ids["eot"] = end if end != eos else None
    found = {f"{_PREFIX}{name}_token_id": uint(int(index)) for name, index in ids.items() if index is not None}
    return found | ({ENDS_KEY: integers(stated)} if stated and stated != [eos] else {})


def _chat(source: _Source) -> dict[str, MetadataValue]:
    """Chat templates, and what they are told."""
    given = source.owner.chat_template
    templates = given if isinstance(given, dict) else {"default": given} if given else {}
    out = {f"tokenizer.chat_template.{name}": text(one) for name, one in templates.items() if name != "default"}
    if out:
        out["tokenizer.chat_templates"] = texts([name for name in templates if name != "default"])
    if "default" in templates:
        out["tokenizer.chat_template"] = text(templates["default"])
    if (source.directory / CHAT_OPTIONS).is_file():
        options = ChatOptions.of_directory(source.directory)
        out[CHAT_OPTIONS_KEY] = text(json.dumps(options.to_json(), sort_keys=True))
    return out
