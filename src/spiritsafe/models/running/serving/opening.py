"""A model directory becomes something that can be served: sessions, a chat format, and what is told of it.

In: a directory of weights, or one that holds a GGUF file. Out: a :class:`ServedWeights`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import final

import torch

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.files.digests import file_model
from spiritsafe.core.process.free_memory import resident_bytes
from spiritsafe.core.serving import ServedModel
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.chat.grammars.masks import Grammars
from spiritsafe.models.interface.dtype import preferred_dtype
from spiritsafe.models.running.engine.request import Session
from spiritsafe.models.running.generators.file_generator import FileGenerator
from spiritsafe.models.running.generators.local_generator import LocalGenerator
from spiritsafe.models.running.serving.preparation import max_prompt_bytes
from spiritsafe.models.running.serving.token_text import TokenText
from spiritsafe.models.transformers_backend.choice import choose_code
from spiritsafe.models.transformers_backend.loading import load_model
from spiritsafe.models.transformers_backend.model import TransformersModel

_SLOW = "transformers' own code runs it without a cache of what was drawn: long answers are slow."


@final
@dataclass(frozen=True, kw_only=True)
class ServedWeights:
    """A model that is loaded.

    Attributes:
        grammars: None where its tokenizer is of a kind that they do not work with.
        open_session: Gives a session; the one before it is given up.
        close: Ends what was started for it.
    """

    chat: ChatFormat
    tokens: TokenText
    described: ServedModel
    grammars: Grammars | None
    open_session: Callable[[], Session]
    close: Callable[[], None]


def open_served(
    directory: Path,
    *,
    dtype: torch.dtype | None = None,
    device: str | None = None,
    max_batch: int = 64,
    max_context: int | None = None,
) -> ServedWeights:
    """Load a model to serve it.

    Args:
        dtype: None: what the device does best.
        device: None: a GPU where there is one.
        max_context: Longest prompt plus answer; None is the model's own context, of a GGUF file what memory allows.

    Raises:
        CompatibilityError: It cannot be run here, its own context is shorter than what is wished for, or it is a file
            and an option speaks of something else.
        BudgetError: There is no memory for the context of a file.
        SourceError: Its files are missing or damaged.
    """
    if file_model(directory) is not None:
        return _open_file(directory, dtype, device, max_batch, max_context)
    place = device or ("cuda" if torch.cuda.is_available() else "cpu")
    _check_device(place)
    number = preferred_dtype(place) if dtype is None else dtype
    loaded = load_model(directory, dtype=number, device=place)
    _check_context(directory, max_context, loaded.model.max_context)
    loaded.model.eval()
    notes = list(choose_code(directory).notes)
    if isinstance(loaded.model, TransformersModel):
        notes.append(_SLOW)
    generator = LocalGenerator(
        loaded, max_batch=max_batch, max_context=max_context, same_weights=True, for_few_rows=True
    )
    return _served(generator, "weights", notes)


def _open_file(
    directory: Path, dtype: torch.dtype | None, device: str | None, max_batch: int, max_context: int | None
) -> ServedWeights:
    given = {"dtype": dtype, "device": None if device == "cpu" else device}
    if said := [f"{name} = {value}" for name, value in given.items() if value is not None]:
        raise CompatibilityError(
            f"{directory} is a GGUF file, which llama.cpp runs on the CPU from its numbers as they are: {said[0]} "
            "would change nothing.",
            hint="Leave it out.",
        )
    generator = FileGenerator(directory, max_batch=max_batch, max_context=max_context, served=True)
    try:
        _check_context(directory, max_context, generator.longest_context)
    except CompatibilityError:
        generator.close()
        raise
    own, notes = generator.longest_context, list[str]()
    if max_context is None and generator.context < own:
        notes.append(f"Its own context is {own}; memory allows {generator.context}. --max-context asks for more.")
    return _served(generator, "file", notes)


def _check_device(place: str) -> None:
    """Refuse a GPU that is not there, before weights are read for it."""
    device, num_here = torch.device(place), torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= num_here:
        raise CompatibilityError(
            f"There is no device {place} here: torch sees {num_here} GPUs.", hint="Leave --device out, or give cpu."
        )


def _check_context(directory: Path, wished: int | None, own: int) -> None:
    if wished is not None and wished > own:
        raise CompatibilityError(
            f"The model in {directory} was made for {own} tokens of prompt and answer, and {wished} are wished for.",
            hint=f"Give --max-context {own} or less, or leave it out.",
        )


def _served(generator: LocalGenerator | FileGenerator, kind: str, notes: list[str]) -> ServedWeights:
    info, platform, chat = generator.describe(), generator.platform(), generator.chat
    tokens = TokenText(chat.fast, frozenset(chat.special_tokens.values()))
    try:
        grammars = Grammars(chat, generator.vocab_size)
    except CompatibilityError:
        grammars = None
    described = ServedModel.model_validate(
        {
            "name": info.name,
            "digest": info.digest,
            "kind": kind,
            "context": generator.context,
            "max_prompt_bytes": max_prompt_bytes(tokens, generator.context),
            "vocab_size": chat.vocab_size,
            "shows_tools": grammars is not None,
            "thinks": chat.thoughts.thinks,
            "switches_thinking": chat.with_thinking(True) is not None,
            "platform": platform.text(),
            "memory_bytes": resident_bytes(with_children=True),
            "notes": (*notes, *([chat.note] if chat.note else [])),
        }
    )
    return ServedWeights(
        chat=chat,
        tokens=tokens,
        described=described,
        grammars=grammars,
        open_session=generator.open_session,
        close=generator.close,
    )
