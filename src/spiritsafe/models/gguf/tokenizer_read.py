"""The tokenizer that a GGUF file describes, written in Hugging Face's files.

In: an open GGUF file with a byte-level BPE vocabulary. Out: ``tokenizer.json`` and ``tokenizer_config.json``. How text
is split before merging depends on ``tokenizer.ggml.pre``; a split that is not known here is refused, because a guess
loads and runs and tokenises numbers or spaces differently from the model's training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.files.atomic import write_json, write_text
from spiritsafe.models.gguf.reader import GGUFFile

_CONTROL, _USER_DEFINED = 3, 4
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_QWEN2 = _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def _digits_then_bytes() -> Any:
    digits = pre_tokenizers.Digits(individual_digits=True)
    return pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)])


def _split_then_bytes(pattern: str) -> Any:
    split = pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False)
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _pre_tokenizer(file: GGUFFile) -> Any:
    name = file.require("tokenizer.ggml.pre", str)
    if name in ("smollm", "refact", "starcoder"):  # single digits first, then GPT-2's pattern
        return _digits_then_bytes()
    if name == "gpt-2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    if name in ("llama-bpe", "llama3", "llama-v3"):
        return _split_then_bytes(_LLAMA3)
    if name == "qwen2":
        return _split_then_bytes(_QWEN2)
    raise CompatibilityError(
        f"{file.path}: how tokenizer {name!r} splits text is not known.",
        hint="Use the model's original repository instead: hf:<organisation>/<name>.",
    )


def _vocabulary(file: GGUFFile) -> tuple[list[str], list[tuple[str, str]], list[int]]:
    tokens = file.require("tokenizer.ggml.tokens", list)
    merges = file.require("tokenizer.ggml.merges", list)
    kinds = file.require("tokenizer.ggml.token_type", list)
    if len(kinds) != len(tokens) or len(set(tokens)) != len(tokens):
        raise file.damaged(f"{len(kinds)} token types for {len(tokens)} tokens, {len(set(tokens))} of them distinct")
    known = set(tokens)
    pairs: list[tuple[str, str]] = []
    for merge in merges:
        left, _, right = str(merge).partition(" ")
        if not {left, right, left + right} <= known:
            raise file.damaged(f"the merge {merge!r} does not lead from tokens to a token")
        pairs.append((left, right))
    return tokens, pairs, kinds


def write_tokenizer(file: GGUFFile, directory: Path, *, max_length: int) -> dict[str, int]:
    """Write the tokenizer's files.

    Args:
        directory: Where ``tokenizer.json`` and ``tokenizer_config.json`` go.
        max_length: The model's context, kept as ``model_max_length``.

    Returns:
        ``{"bos_token_id": …, "eos_token_id": …, "pad_token_id": …}``, each where the file names it (padding falls
        back to the end token: it is masked everywhere, but must exist).

    Raises:
        SourceError: The vocabulary contradicts itself.
        CompatibilityError: Another kind of vocabulary, or an unknown split.
    """
    model = file.require("tokenizer.ggml.model", str)
    if model != "gpt2":
        raise CompatibilityError(
            f"{file.path}: vocabularies of kind {model!r} are not converted, only byte-level BPE ('gpt2').",
            hint="Use the model's original repository instead: hf:<organisation>/<name>.",
        )
    tokens, merges, kinds = _vocabulary(file)
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = _pre_tokenizer(file)
    tokenizer.decoder = decoders.ByteLevel()
    if file.metadata["tokenizer.ggml.pre"] == "qwen2":
        tokenizer.normalizer = normalizers.NFC()
    special = [
        AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, kinds, strict=True) if k == _CONTROL
    ]
    tokenizer.add_special_tokens(special)
    tokenizer.add_tokens(
        [AddedToken(t, normalized=False) for t, k in zip(tokens, kinds, strict=True) if k == _USER_DEFINED]
    )
    ids = _special_ids(file, len(tokens))
    bos = ids.get("bos_token_id")
    if file.metadata.get("tokenizer.ggml.add_bos_token", False) and bos is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{tokens[bos]} $A", pair=f"{tokens[bos]} $A {tokens[bos]} $B", special_tokens=[(tokens[bos], bos)]
        )
    write_text(directory / "tokenizer.json", tokenizer.to_str(pretty=False))
    config: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_length,
        "clean_up_tokenization_spaces": False,
        **{name.removesuffix("_id"): tokens[value] for name, value in ids.items()},
    }
    template = file.metadata.get("tokenizer.chat_template")
    if template is not None:
        config["chat_template"] = file.require("tokenizer.chat_template", str)
    write_json(directory / "tokenizer_config.json", config)
    return ids


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
