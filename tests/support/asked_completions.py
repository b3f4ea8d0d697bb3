"""A value for each property of ``/v1/completions``: a body that has it, and the same without."""

from __future__ import annotations

from typing import Any

BODY: dict[str, Any] = {"model": "fake", "prompt": "Once", "seed": 1}

Row = tuple[dict[str, Any], dict[str, Any]]

SAMPLING: dict[str, Row] = {
    "model": ({"model": "other"}, {}),
    "stream": ({"stream": True}, {}),
    "temperature": ({"temperature": 0.5}, {}),
    "top_p": ({"top_p": 0.5}, {}),
    "top_k": ({"top_k": 3}, {}),
    "min_p": ({"min_p": 0.5}, {}),
    "presence_penalty": ({"presence_penalty": 0.5}, {}),
    "frequency_penalty": ({"frequency_penalty": 0.5}, {}),
    "repetition_penalty": ({"repetition_penalty": 1.5}, {}),
    "logit_bias": ({"logit_bias": {"3": 1}}, {}),
    "seed": ({"seed": 2}, {}),
    "stop": ({"stop": ["x"]}, {}),
    "ignore_eos": ({"ignore_eos": True}, {}),
    "n": ({"n": 2}, {}),
    "cache_salt": ({"cache_salt": "x"}, {}),
    "max_tokens": ({"max_tokens": 5}, {}),
    "stream_options": ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
    "stream_options.include_usage": ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
    "stream_options.include_obfuscation": (
        {"stream": True, "stream_options": {"include_obfuscation": True}},
        {"stream": True},
    ),
    "structured_outputs": ({"structured_outputs": {"regex": "a"}}, {}),
    "structured_outputs.json": ({"structured_outputs": {"json": {}}}, {}),
    "structured_outputs.json_object": ({"structured_outputs": {"json_object": True}}, {}),
    "structured_outputs.regex": ({"structured_outputs": {"regex": "a"}}, {}),
    "structured_outputs.choice": ({"structured_outputs": {"choice": ["a", "b"]}}, {}),
    "structured_outputs.grammar": ({"structured_outputs": {"grammar": 'start: "a"'}}, {}),
    "user": ({"user": "x"}, {}),
}

ROWS: dict[str, Row] = {
    **SAMPLING,
    "prompt": ({"prompt": "Twice"}, {}),
    "echo": ({"echo": True}, {}),
    "logprobs": ({"logprobs": 1}, {}),
    "best_of": ({"best_of": 2}, {}),
    "suffix": ({"suffix": "x"}, {}),
}
