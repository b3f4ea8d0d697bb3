"""Reading one chat completion that a stranger sent: every field is checked before it is used.

In: the bytes of a ``/v1/chat/completions`` reply. Out: a :class:`ChatReply`, or an :class:`EndpointError` whose
message says what was wrong with it; nothing else is ever raised, whatever the bytes are. Also the reading of error
replies, whose text is made safe to show: one line, bounded, without control characters and without the API key.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, final

import orjson

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import EndpointError
from spiritsafe.core.records import FinishReason
from spiritsafe.core.text.lengths import is_too_long, kept_text
from spiritsafe.core.text.thoughts import CLOSE, completed, has_marks, split, unfinished, wrap
from spiritsafe.rollouts.generators.usage import TokenUsage, believe_usage

_HINT = "Check that the endpoint speaks the OpenAI chat completions protocol."
_FINISH: dict[str, FinishReason] = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "length": "length",
    "max_tokens": "length",
    "content_filter": "refused",
    "refusal": "refused",
}
_REFUSAL_CODES = frozenset({"content_filter", "content_policy_violation"})
_MOST_SHOWN = 200
_NAMED_ID = re.compile(r"token_id:(\d{1,9})")  # vLLM's return_tokens_as_token_ids
_LOST = "\ufffd"  # stands in a token's text for bytes that are no whole character


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ChatReply:
    """One completion, checked and cut to its limits.

    Attributes:
        went_on: It went on behind a stop string.
        listing: For each token of it the entry of itself, with the likeliest ones at its place under "top"; an entry
            has "logprob", and what the server says of the token: "id", and "bytes" as hex digits, or null.
    """

    text: str
    finish_reason: FinishReason
    logprobs: tuple[float, ...]
    usage: TokenUsage
    went_on: bool = False
    listing: tuple[dict[str, JSON], ...] = ()


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointComplaint:
    """What the body of an error reply says.

    Attributes:
        text: One printable line.
        code: The machine-readable code, "" when there is none.
        is_refusal: The operator's filter refused the prompt.
    """

    text: str
    code: str
    is_refusal: bool


def printable(text: str, *, secret: str | None = None) -> str:
    """A stranger's text as one bounded line, without control characters and without ``secret``."""
    if secret:
        text = text.replace(secret, "[API key]")
    line = " ".join("".join(c if c.isprintable() else " " for c in text[: 20 * _MOST_SHOWN]).split())
    return line if len(line) <= _MOST_SHOWN else line[: _MOST_SHOWN - 1] + "…"


def _garbage(what: str) -> EndpointError:
    return EndpointError(f"garbage reply: {what}", hint=_HINT)


def _json(data: bytes, secret: str | None) -> Any:
    try:
        return orjson.loads(data)
    except ValueError:
        pass  # it may hold what is no JSON and what servers write all the same: NaN, half a surrogate pair
    try:
        return json.loads(data)
    except (ValueError, RecursionError):  # ValueError covers bad UTF-8, bad JSON and integers of absurd length
        start = printable(data[: 20 * _MOST_SHOWN].decode("utf-8", "replace"), secret=secret)[:60]
        raise _garbage(f"not JSON, it begins with {start!r}" if data else "empty") from None


def _typed(value: Any, kind: type, where: str) -> Any:
    if not isinstance(value, kind):
        raise _garbage(f"{where} is {type(value).__name__}, not {kind.__name__}")
    return value


def _text(value: Any, where: str) -> str:
    """A string that UTF-8 can hold; null counts as empty."""
    if value is None:
        return ""
    text: str = _typed(value, str, where)
    if not text.isascii():
        try:
            text.encode("utf-8")
        except UnicodeEncodeError:
            raise _garbage(f"{where} is not valid Unicode") from None
    return text


def _logprob(entry: dict[str, Any]) -> float:
    value = entry.get("logprob")
    if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value <= 1e-3:
        raise _garbage(f"a logprob is {printable(repr(value))}")
    return min(float(value), 0.0)  # rounding may push a certain token a little above zero


def _listed(choice: dict[str, Any]) -> list[dict[str, Any]]:
    """What is said of the tokens, one by one."""
    listed = _typed(choice.get("logprobs"), dict, "logprobs").get("content")
    return [_typed(entry, dict, "an entry of logprobs.content") for entry in _typed(listed, list, "logprobs.content")]


def _listed_token(entry: dict[str, Any]) -> dict[str, JSON]:
    """One token that a server names: by id (llama.cpp), bytes (OpenAI), or its text."""
    name, given, number = _text(entry.get("token"), "a token"), entry.get("bytes"), entry.get("id")
    if found := _NAMED_ID.fullmatch(name):
        number, given = int(found[1]), None
    elif given is None:
        given = list(name.encode("utf-8"))
    if number is not None and (type(number) is not int or not 0 <= number < 2**31):
        raise _garbage(f"a token has the id {printable(repr(number))}")
    spelled: bytes | None = None
    if given is not None:
        try:
            spelled = bytes(_typed(given, list, "bytes"))
        except (TypeError, ValueError):
            raise _garbage("bytes of a token are none") from None
        if _LOST in name and spelled == name.encode("utf-8"):
            spelled = None  # a part of a character, of which only a stand-in was sent
    return {"id": number, "bytes": None if spelled is None else spelled.hex(), "logprob": _logprob(entry)}


def _listing(entries: list[dict[str, Any]], top_logprobs: int) -> tuple[dict[str, JSON], ...]:
    found: list[dict[str, JSON]] = []
    for entry in entries:
        top = _typed(entry.get("top_logprobs"), list, "top_logprobs")
        if not top:
            raise _garbage("a token's top_logprobs are empty")
        if len(top) > top_logprobs + 1:
            raise _garbage(f"{len(top)} top_logprobs where {top_logprobs} were asked for")
        found.append(
            {
                **_listed_token(entry),
                "top": [_listed_token(_typed(other, dict, "an entry of top_logprobs")) for other in top],
            }
        )
    return tuple(found)


def _joined(value: Any, where: str) -> str:
    """A text, or the texts of a list of parts."""
    if not isinstance(value, list):
        return _text(value, where)
    parts = [_typed(part, dict, f"a part of {where}") for part in value]
    return "".join(_text(part.get("text"), where) for part in parts)


def _thought_and_content(message: dict[str, Any]) -> tuple[str, str]:
    """What the model thought, where the server shows it, and what it answered.

    Fields: ``reasoning_content`` (DeepSeek, llama.cpp, SGLang, older vLLM), ``reasoning`` (vLLM, OpenRouter, Ollama);
    Mistral gives a list of parts, thoughts among them.
    """
    content = message.get("content")
    parts = [_typed(part, dict, "a part of content") for part in content] if isinstance(content, list) else []
    thoughts = [_joined(part.get("thinking"), "thinking") for part in parts if part.get("type") == "thinking"]
    shown = [part for part in parts if part.get("type") != "thinking"]
    thought = _text(message.get("reasoning_content") or message.get("reasoning"), "reasoning") or "".join(thoughts)
    return thought, _joined(shown if isinstance(content, list) else content, "content")


def _whole(thought: str, content: str, *, begun: bool, thinks: bool) -> str:
    """Thought and answer as one text, spelled as local models' texts are (:mod:`spiritsafe.core.text.thoughts`)."""
    if begun:
        return f"{thought}{CLOSE}\n\n{content}" if thought and content else thought or content
    if thought:
        return wrap(thought, content) if content.strip() else unfinished(thought)
    if thinks and content and not has_marks(content):
        return unfinished(content)
    return completed(content)


def parse_reply(
    data: bytes,
    *,
    prompt_bytes: int,
    max_tokens: int,
    stop: Sequence[str] = (),
    logprobs: bool = False,
    top_logprobs: int = 0,
    begun: bool = False,
    thinks: bool = False,
    reasoning: Literal["keep", "drop"] = "keep",
    secret: str | None = None,
) -> ChatReply:
    """Check and read one reply.

    Args:
        prompt_bytes: UTF-8 bytes of the messages sent, for the accounting.
        max_tokens: What was asked for; see :mod:`spiritsafe.core.text.lengths` for what becomes of a longer text.
        stop: Stop strings that were asked for; a text that still holds one is cut there.
        logprobs: Whether logprobs were asked for; then they must be there.
        top_logprobs: How many of the likeliest tokens were asked for; then they must be there.
        begun: The reply goes on with a given beginning, so it is put behind that as it is.
        thinks: Every reply begins inside a thought, which the server does not mark.
        reasoning: Whether thoughts stay in the text.
        secret: What must not appear in an error message.

    Raises:
        EndpointError: The reply is not a chat completion; the message says why.
    """
    body = _typed(_json(data, secret), dict, "the reply")
    choices = _typed(body.get("choices"), list, "choices")
    if len(choices) != 1:
        raise _garbage(f"{len(choices)} choices where one was asked for")
    choice = _typed(choices[0], dict, "the choice")
    message = _typed(choice.get("message"), dict, "message")
    refusal = _text(message.get("refusal"), "refusal")
    thought, text = _thought_and_content(message)
    finish = _FINISH.get(_typed(choice.get("finish_reason"), str, "finish_reason"))
    if finish is None:
        raise _garbage(f"unknown finish_reason {printable(choice['finish_reason'])!r}")
    if refusal:
        text, finish = text or refusal, "refused"
    visible = len(thought.encode("utf-8")) + len(text.encode("utf-8"))
    went_on = any(string and (string in text or string in thought) for string in stop)
    text = _whole(thought, text, begun=begun, thinks=thinks)
    lists = (logprobs or top_logprobs > 0) and finish != "refused"
    entries = _listed(choice) if lists else []
    values = tuple(_logprob(entry) for entry in entries)
    usage = believe_usage(
        body.get("usage"),
        prompt_bytes=prompt_bytes,
        completion_bytes=visible,
        max_tokens=max_tokens,
        num_listed=len(values) if lists else None,
        is_too_long=is_too_long(text, max_tokens),
    )
    if reasoning == "drop" and not begun:
        text = split(text).answer
    text, finish = kept_text(text, finish, max_tokens=max_tokens, stop=stop)
    return ChatReply(
        text=text,
        finish_reason=finish,
        logprobs=values[:max_tokens] if logprobs else (),
        usage=usage,
        went_on=went_on,
        listing=_listing(entries, top_logprobs) if top_logprobs else (),
    )


def parse_complaint(data: bytes, *, secret: str | None = None) -> EndpointComplaint:
    """Read the body of an error reply, JSON or not; never raises."""
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        body = data[: 20 * _MOST_SHOWN].decode("utf-8", "replace")
    error = body.get("error", body) if isinstance(body, dict) else body
    fields = error if isinstance(error, dict) else {}
    code = next((value for key in ("code", "type") if isinstance(value := fields.get(key), str)), "")
    said = fields.get("message", error if isinstance(error, str) else "")
    return EndpointComplaint(
        text=printable(said if isinstance(said, str) else "", secret=secret),
        code=printable(code, secret=secret),
        is_refusal=any(isinstance(v := fields.get(key), str) and v in _REFUSAL_CODES for key in ("code", "type")),
    )
