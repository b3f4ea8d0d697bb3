"""A smaller vocabulary: which tokens stay, the tokenizer that knows only those, and a model that speaks only those.

In: a directory with a byte-level BPE tokenizer and how often its tokens occur. Out: kept ids, closed under the merges
that lead to them, so that every text whose tokens are all kept is tokenised as before (renumbered), and every other
text still becomes tokens of the same bytes; tokenizer files with the new numbers. Shapes: V old ids, U kept ids.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, final

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn

from spiritsafe.core.errors import BudgetError, CompatibilityError
from spiritsafe.core.files.atomic import read_json, storage_errors, write_json, write_text
from spiritsafe.models.chat.format import TOKENIZER_FILES
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import Document

_NEXT = "Keep the whole vocabulary of this model."


def _pair(parts: Sequence[str], at: int) -> tuple[str, str]:
    return parts[at], parts[at + 1]


def _types(part: Any) -> Iterator[str]:
    """Kinds of a tokenizer's component and of those it is a sequence of."""
    if isinstance(part, Mapping):
        yield str(part.get("type"))
        for nested in (*part.get("pretokenizers", ()), *part.get("decoders", ())):
            yield from _types(nested)


def choose_vocabulary(
    directory: Path, counts: Sequence[int], *, keep: Iterable[int] = (), max_size: int | None = None
) -> tuple[int, ...]:
    """The ids that a trimmed vocabulary holds, ascending.

    Always kept: single bytes, added tokens, ids that ``config.json`` or ``generation_config.json`` name, and ``keep``.
    Then those that occur, the most frequent first, each with the tokens that its merges pass through, as far as
    ``max_size`` allows.

    Args:
        directory: A model directory with a byte-level BPE tokenizer.
        counts: How often each id occurs (:attr:`Importance.counts_V`, or the sum of several).
        keep: Ids wanted in any case.
        max_size: Most ids.

    Raises:
        CompatibilityError: Another kind of tokenizer, or an id that it does not know.
        BudgetError: What must be kept is more than ``max_size``.
    """
    tokenizer = _ByteBpe(directory)
    wanted = set(keep)
    if unknown := wanted - tokenizer.tokens.keys():
        raise CompatibilityError(
            f"{directory}: the tokenizer has no id {min(unknown)}.", hint="Take ids from this model's own tokenizer."
        )
    for name in ("config.json", "generation_config.json"):
        if (directory / name).is_file():
            wanted |= _named_ids(read_json(directory / name)) & tokenizer.tokens.keys()
    kept = tokenizer.base_ids().union(*(tokenizer.derivation(index) for index in wanted))
    if max_size is not None and len(kept) > max_size:
        raise BudgetError(
            f"A vocabulary of {max_size} ids does not hold the {len(kept)} that must stay.",
            hint=f"Allow at least {len(kept)}.",
        )
    seen = [i for i, count in enumerate(counts) if count and i in tokenizer.tokens and i not in kept]
    for index in sorted(seen, key=lambda i: (-int(counts[i]), i)):
        needed = tokenizer.derivation(index) - kept
        if max_size is None or len(kept) + len(needed) <= max_size:
            kept |= needed
    return tuple(sorted(kept))


@final
class _ByteBpe:
    """A byte-level BPE ``tokenizer.json``, opened.

    Raises:
        CompatibilityError: Another kind of tokenizer.
    """

    def __init__(self, directory: Path) -> None:
        self.content: dict[str, Any] = read_json(directory / "tokenizer.json")
        model = self.content["model"]
        kinds = set(_types(self.content.get("pre_tokenizer"))), set(_types(self.content.get("decoder")))
        if model.get("type") != "BPE" or any("ByteLevel" not in kind for kind in kinds) or model.get("byte_fallback"):
            raise CompatibilityError(
                f"{directory}: the tokenizer is not byte-level BPE, so its vocabulary cannot be trimmed.", hint=_NEXT
            )
        for option in ("dropout", "continuing_subword_prefix", "end_of_word_suffix"):
            if model.get(option):
                raise CompatibilityError(
                    f"{directory}: tokenizers with {option}={model[option]!r} are not trimmed.", hint=_NEXT
                )
        self.ids: dict[str, int] = dict(model["vocab"])
        self.added = {entry["content"]: int(entry["id"]) for entry in self.content["added_tokens"]}
        self.merges = [(*pair.split(" "),) if isinstance(pair, str) else (*pair,) for pair in model["merges"]]
        self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self.tokens = {index: token for token, index in {**self.ids, **self.added}.items()}
        self._unknown = model.get("unk_token")

    def base_ids(self) -> set[int]:
        """Single bytes, added tokens (matched before any merge) and the unknown token."""
        found = {index for token, index in self.ids.items() if len(token) == 1} | set(self.added.values())
        return found | ({self.ids[self._unknown]} if self._unknown in self.ids else set())

    def derivation(self, index: int) -> set[int]:
        """The token and every token that merging passes through on its way to it.

        Inside a longer word the merges that end in this token are the same ones, in the same order: a merge across
        its border would have made another token.
        """
        token = self.tokens[index]
        parts = list(token)
        passed = {token}
        if token in self.added:
            return {index}
        while len(parts) > 1:
            ranked = [
                (self._ranks[pair], at) for at in range(len(parts) - 1) if (pair := _pair(parts, at)) in self._ranks
            ]
            if not ranked:  # no merges lead here: met only where a whole word is looked up before merging
                return {index}
            at = min(ranked)[1]
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
            passed.add(parts[at])
        return {self.ids[part] for part in passed}

    def require_closed(self, kept_ids: Sequence[int]) -> None:
        """Refuse ids that are not ascending and known, or whose derivations are not among them."""
        kept = set(kept_ids)
        unknown = kept - self.tokens.keys()
        missing = self.base_ids() - kept
        for index in kept - unknown:
            missing |= self.derivation(index) - kept
        if unknown or missing or list(kept_ids) != sorted(kept):
            raise CompatibilityError(
                f"These {len(kept_ids)} ids are no vocabulary: {len(unknown)} unknown, {len(missing)} missing "
                "(single bytes, added tokens, or tokens that merges pass through).",
                hint="Let choose_vocabulary find the ids.",
            )


def _named_ids(config: Mapping[str, Any]) -> set[int]:
    """Ids that a configuration names (``eos_token_id`` and its like)."""
    found: set[int] = set()
    for name, value in config.items():
        if name.endswith("_token_id") and value is not None:
            found.update(value if isinstance(value, list) else [value])
    return found


def renumber_config(config: Mapping[str, Any], kept_ids: Sequence[int]) -> dict[str, Any]:
    """A ``config.json`` or ``generation_config.json`` with new token ids; ids that are gone become None.

    Raises:
        CompatibilityError: It lists ids in a way that is not known here.
    """
    new = {old: index for index, old in enumerate(kept_ids)}
    out = dict(config)
    for name, value in config.items():
        if name.endswith("_token_id"):
            out[name] = [new[i] for i in value if i in new] if isinstance(value, list) else new.get(value)
        elif name.endswith(("_tokens", "_token_ids", "_words_ids")) and isinstance(value, list) and value:
            raise CompatibilityError(f"Token ids under {name!r} are not renumbered.", hint=f"Remove {name!r} first.")
    if "vocab_size" in out:
        out["vocab_size"] = len(kept_ids)
    return out


def trim_vocabulary(source: Path, target: Path, kept_ids: Sequence[int]) -> None:
    """Write a model's tokenizer files, reduced to some ids that are numbered anew from 0.

    Args:
        source: A model directory with a byte-level BPE tokenizer.
        target: An existing directory; ``tokenizer.json`` and the files beside it are written there, the chat template
            as it is.

    Raises:
        CompatibilityError: Another kind of tokenizer, ids that are not closed under merges, or a part of the tokenizer
            that names ids in a way that is not known here.
        StorageError: The directory cannot be written.
    """
    tokenizer = _ByteBpe(source)
    tokenizer.require_closed(kept_ids)
    new = {old: index for index, old in enumerate(kept_ids)}
    vocab = {token: new[old] for token, old in sorted(tokenizer.ids.items(), key=lambda item: item[1]) if old in new}
    keep = [(left, right) for left, right in tokenizer.merges if {left, right, left + right} <= vocab.keys()]
    as_text = any(isinstance(pair, str) for pair in tokenizer.content["model"]["merges"])
    content = {**tokenizer.content, "model": {**tokenizer.content["model"], "vocab": vocab}}
    content["model"]["merges"] = [" ".join(pair) if as_text else list(pair) for pair in keep]
    added = [{**entry, "id": new[entry["id"]]} for entry in tokenizer.content["added_tokens"]]
    content["added_tokens"] = sorted(added, key=lambda entry: int(entry["id"]))
    content["post_processor"] = _renumber_processor(content.get("post_processor"), new)
    if content.get("padding"):
        content["padding"] = {**content["padding"], "pad_id": new[content["padding"]["pad_id"]]}
    text = json.dumps(content, ensure_ascii=False)
    expected = {**vocab, **{entry["content"]: entry["id"] for entry in added}}
    if Tokenizer.from_str(text).get_vocab(with_added_tokens=True) != expected:
        raise CompatibilityError(f"{source}: the trimmed tokenizer would number its tokens otherwise.", hint=_NEXT)
    write_text(target / "tokenizer.json", text)
    _write_companions(source, target, vocab, keep, kept_ids)


def _renumber_processor(part: Any, new: Mapping[int, int]) -> Any:
    """A post-processor with new ids."""
    if part is None or part["type"] == "ByteLevel":
        return part
    if part["type"] == "Sequence":
        return {**part, "processors": [_renumber_processor(nested, new) for nested in part["processors"]]}
    if part["type"] == "TemplateProcessing":
        special = {
            name: {**entry, "ids": [new[index] for index in entry["ids"]]}
            for name, entry in part["special_tokens"].items()
        }
        return {**part, "special_tokens": special}
    if part["type"] in ("RobertaProcessing", "BertProcessing"):
        return {**part, **{name: [part[name][0], new[part[name][1]]] for name in ("sep", "cls")}}
    raise CompatibilityError(f"Post-processors of kind {part['type']!r} are not renumbered.", hint=_NEXT)


def _write_companions(
    source: Path, target: Path, vocab: Mapping[str, int], merges: Sequence[tuple[str, ...]], kept_ids: Sequence[int]
) -> None:
    """The other files: renumbered where they hold ids, copied where they hold text."""
    new = {old: index for index, old in enumerate(kept_ids)}
    for name in TOKENIZER_FILES:
        path = source / name
        if not path.is_file() or name in ("tokenizer.json", "tokenizer.model"):
            continue
        if name == "vocab.json":
            write_json(target / name, dict(vocab))
        elif name == "merges.txt":
            write_text(target / name, "#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in merges))
        elif name == "added_tokens.json":
            write_json(target / name, {token: new[index] for token, index in read_json(path).items()})
        elif name == "generation_config.json":
            write_json(target / name, renumber_config(read_json(path), kept_ids))
        elif name == "tokenizer_config.json" and "added_tokens_decoder" in (config := read_json(path)):
            entries = {str(new[int(old)]): entry for old, entry in config["added_tokens_decoder"].items()}
            write_json(target / name, {**config, "added_tokens_decoder": entries})
        else:
            with storage_errors(target / name):
                shutil.copyfile(path, target / name)


def renumber_documents(documents: Iterable[Document], kept_ids: Sequence[int]) -> list[Document]:
    """Documents of the whole vocabulary in the numbers of the trimmed one.

    Raises:
        CompatibilityError: A document holds a token that is gone.
    """
    return list(renumbered(documents, kept_ids))


def renumbered(documents: Iterable[Document], kept_ids: Sequence[int]) -> Iterator[Document]:
    """:func:`renumber_documents` one at a time.

    Raises:
        CompatibilityError: A document holds a token that is gone.
    """
    new = {old: index for index, old in enumerate(kept_ids)}
    for document in documents:
        if lost := set(document.token_ids) - new.keys():
            raise CompatibilityError(
                f"{len(lost)} tokens of a document, {min(lost)} among them, are not in the trimmed vocabulary.",
                hint="Tokenise the text again with the trimmed tokenizer, or count these documents when it is chosen.",
            )
        ids = tuple(new[index] for index in document.token_ids)
        yield Document(token_ids=ids, supervised=document.supervised, weight=document.weight)


def with_vocabulary(model: Decoder, kept_ids: Sequence[int]) -> Decoder:
    """The same model speaking only some of its tokens, numbered anew; blocks are shared, not copied.

    Its distribution is the model's own, renormalised over the kept ids, at every position: logits do not depend on
    which other ids there are.

    Args:
        model: Any Decoder; it is not changed.
        kept_ids: Ascending ids of its vocabulary.

    Raises:
        CompatibilityError: An id is not there, or the ids are not ascending.
    """
    if (
        not kept_ids
        or list(kept_ids) != sorted(set(kept_ids))
        or not 0 <= kept_ids[0] <= kept_ids[-1] < model.vocab_size
    ):
        raise CompatibilityError(
            f"These {len(kept_ids)} ids are not some of a vocabulary of {model.vocab_size}, ascending.",
            hint="Take the ids that choose_vocabulary gave for this model.",
        )
    kept_U = torch.tensor(kept_ids, device=model.device)
    metadata = renumber_config(model.config.metadata, kept_ids)
    config = model.config.model_copy(update={"vocab_size": len(kept_ids), "metadata": metadata})
    smaller = Decoder(config, dtype=model.dtype, device="meta", seed=None)
    smaller.blocks, smaller.norm = model.blocks, model.norm
    smaller.embedding.weight = _rows(model.embedding.weight, kept_U)
    if smaller.lm_head is not None and model.lm_head is not None:
        smaller.lm_head.weight = _rows(model.lm_head.weight, kept_U)
    smaller.activation_checkpointing = model.activation_checkpointing
    return smaller.train(model.training)


def _rows(weight_VH: Tensor, kept_U: Tensor) -> nn.Parameter:
    return nn.Parameter(weight_VH.detach()[kept_U].clone(), requires_grad=weight_VH.requires_grad)
