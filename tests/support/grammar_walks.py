"""Random walks under a mask: what an untrained model would write that is held to a form."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import templates_parts
from bpe_parts import write_bpe_model

from spiritsafe.core.records import Message
from spiritsafe.core.serving import Job
from spiritsafe.models.chat.calls.prompt import ToolPrompt, tool_prompt
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.chat.grammars.masks import GrammarMask, Grammars

HI = Message(role="user", content="hi")
PADDING = 9
"""Rows of the logits beyond the tokenizer."""

FAMILIES = {
    "bytes": templates_parts.chatml,
    "sentencepiece": templates_parts.sentencepiece,
    "merges": write_bpe_model,
}


def tool(name: str, **properties: Any) -> str:
    """A definition whose arguments are all required."""
    parameters = {"type": "object", "properties": properties, "required": list(properties)}
    return json.dumps({"type": "function", "function": {"name": name, "parameters": parameters}})


def masked(directory: Path | ChatFormat, **job: Any) -> tuple[ChatFormat, ToolPrompt, GrammarMask]:
    """The mask of a job that must have one."""
    chat = directory if isinstance(directory, ChatFormat) else ChatFormat(directory)
    if not job.keys() & {"messages", "text", "token_ids"}:
        job["messages"] = (HI,)
    made = Job(**job)
    asked = tool_prompt(chat, made)
    mask = Grammars(chat, chat.vocab_size + PADDING).mask(made, asked)
    assert mask is not None
    return chat, asked, mask


def walk(chat: ChatFormat, mask: GrammarMask, seed: int, most: int = 600) -> tuple[list[int], bool]:
    """Tokens drawn at random, and whether an end token was: a walk likes to close what is open."""
    rng = random.Random(seed)
    ids: list[int] = []
    while len(ids) < most:
        allowed_V = mask.allowed()
        assert allowed_V.shape == (chat.vocab_size + PADDING,)
        allowed = allowed_V.nonzero()[:, 0].tolist()
        assert allowed
        assert max(allowed) < chat.vocab_size
        if mask.is_complete:
            assert set(chat.eos_ids) <= set(allowed)
            if rng.random() < 0.5 or set(allowed) <= set(chat.eos_ids):
                return ids, True
        words = [token for token in allowed if token not in chat.eos_ids]
        closing = [token for token in words if chat.spell([token])[:1] in ('"', "}", "]", ",", ":", ">", "<")]
        ids.append(rng.choice(closing if closing and rng.random() < 0.4 else words))
        mask.accept(ids[-1])
        assert not mask.problem
    return ids, False
