"""The endpoint that all tools ask, and what each run has cost there."""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from scripts import Script

sys.path.append(str(Path(__file__).parents[2] / "tests" / "support"))
from fake_endpoint import FakeEndpoint, HttpReply, chat_body


def num_tokens(text: str) -> int:
    """Words and signs: the same count for all, near enough to a tokenizer's."""
    return len(re.findall(r"\w+|[^\w\s]", text))


def as_texts(messages: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    """Roles and texts of the messages of a request."""
    said = []
    for message in messages:
        content = message.get("content") or ""
        if isinstance(content, list):
            content = "\n".join(part.get("text", "") for part in content)
        said.append((str(message.get("role")), content))
    return said


class CountingEndpoint:
    """Serves one script at a time; counts questions and tokens since the script was put in."""

    def __init__(self) -> None:
        self.num_questions = self.num_tokens_in = self.num_tokens_out = 0
        self._script: Script | None = None
        self._lock = threading.Lock()
        self._endpoint = FakeEndpoint(self._answer, keep_requests=False)
        self.url = self._endpoint.url

    def put(self, script: Script) -> None:
        """From now on this model answers; the counts begin again."""
        with self._lock:
            self._script = script
            self.num_questions = self.num_tokens_in = self.num_tokens_out = 0

    def close(self) -> None:
        self._endpoint.close()

    def _answer(self, body: dict[str, Any]) -> HttpReply:
        messages = as_texts(body["messages"])
        with self._lock:
            if self._script is None:
                raise RuntimeError("a question before there is a model")
            said = self._script.answer(messages)
            tokens_in, tokens_out = sum(num_tokens(text) for _, text in messages), num_tokens(said)
            self.num_questions += 1
            self.num_tokens_in += tokens_in
            self.num_tokens_out += tokens_out
        usage = {"prompt_tokens": tokens_in, "completion_tokens": tokens_out, "total_tokens": tokens_in + tokens_out}
        reply = json.loads(chat_body(said, usage=usage))
        reply["model"] = body["model"]
        return HttpReply(body=json.dumps(reply).encode())
