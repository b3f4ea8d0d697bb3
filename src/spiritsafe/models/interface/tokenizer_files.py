"""What a model directory's files say of tokens: the tokenizer, where generation ends, what token ids mean.

In: a model directory. Out: transformers' tokenizer, end tokens, a digest of the vocabulary.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from transformers import AutoTokenizer, PreTrainedTokenizerBase

from spiritsafe.core.canonical import digest_bytes
from spiritsafe.core.errors import SourceError
from spiritsafe.core.files.atomic import read_json

GENERATION_CONFIG = "generation_config.json"


def generation_settings(directory: Path) -> dict[str, Any]:
    """What ``generation_config.json`` holds; nothing where there is none.

    Raises:
        SourceError: It holds no settings.
    """
    path = directory / GENERATION_CONFIG
    settings = read_json(path) if path.is_file() else {}
    if not isinstance(settings, dict):
        raise SourceError(f"{path} holds no settings.", hint="Delete it, or fetch the model again.")
    return settings


def stated_ends(directory: Path) -> list[int]:
    """End tokens of a directory's ``generation_config.json``; a number below 0 stands for none.

    Raises:
        SourceError: It names something that is no token id.
    """
    value = generation_settings(directory).get("eos_token_id")
    ends = value if isinstance(value, list) else [value]
    for end in ends:
        if end is not None and type(end) is not int:
            raise SourceError(
                f"{directory / GENERATION_CONFIG} names the end token {json.dumps(end)[:80]}, which is no token id.",
                hint="Write a whole number, or a list of some, as eos_token_id; or fetch the model again.",
            )
    return [end for end in ends if end is not None and end >= 0]


def load_tokenizer(directory: Path) -> PreTrainedTokenizerBase:
    """A model directory's tokenizer, as transformers opens it.

    Raises:
        SourceError: Its files are missing or damaged.
    """
    if not (directory / "tokenizer.json").is_file():
        raise SourceError(
            f"{directory} has no tokenizer.json.", hint="Fetch the whole model directory, tokenizer included."
        )
    try:
        return AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except Exception as error:  # the tokenizers library raises bare Exception for damaged files
        raise SourceError(
            f"The tokenizer in {directory} cannot be read: {error}.", hint="Fetch the model again."
        ) from error


def vocabulary_fingerprint(content: dict[str, Any]) -> str:
    """Digest of what token ids mean: vocabulary, merges and added tokens (not of how text is split beforehand)."""
    model = content["model"]
    merges = [pair.split(" ") if isinstance(pair, str) else pair for pair in model.get("merges") or []]
    added = sorted((token["id"], token["content"]) for token in content["added_tokens"])
    what = {"vocabulary": model.get("vocab"), "merges": merges, "added": added}
    return digest_bytes(json.dumps(what, sort_keys=True, separators=(",", ":")).encode())
