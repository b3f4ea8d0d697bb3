"""Chats as tokens: the one place where messages are rendered, completions encoded, drawn tokens read, end tokens known.

In: a model directory's tokenizer, chat template and options. Out: prompt tokens, training documents whose loss mask
covers exactly completion and end token, text from tokens, and a fingerprint of the vocabulary. How a template is
rendered, how names of special tokens in somebody's words stay words, and how models mark their thoughts is the business
of :mod:`spiritsafe.models.chat`.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Collection, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, final

from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from spiritsafe.core.canonical import digest
from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.files.atomic import read_json, storage_errors, write_json
from spiritsafe.core.records import Message
from spiritsafe.core.text.tool_calls import has_tools, split_calls
from spiritsafe.models.chat.calls.spelling import CallSpelling
from spiritsafe.models.chat.harmony import Harmony
from spiritsafe.models.chat.markers import Marked, Markers, encode, words_in
from spiritsafe.models.chat.options import CHAT_OPTIONS, THINKING_SWITCHES, ChatOptions
from spiritsafe.models.chat.stop_strings import StopFinder
from spiritsafe.models.chat.tags import Tags
from spiritsafe.models.chat.template import ChatTemplate
from spiritsafe.models.chat.thoughts import (
    GrowingText,
    Placed,
    TemplateProbe,
    ThoughtFormat,
    Use,
    split_thought,
)
from spiritsafe.models.chat.tools import ToolWays, tools_of
from spiritsafe.models.chat.turns import TurnFinder
from spiritsafe.models.interface.batch import Document
from spiritsafe.models.interface.tokenizer_files import (
    GENERATION_CONFIG,
    generation_settings,
    load_tokenizer,
    stated_ends,
    vocabulary_fingerprint,
)

TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    CHAT_OPTIONS,
)
"""Files of a model directory that say how text becomes tokens and where generation ends."""

FORMATS: tuple[type[ThoughtFormat], ...] = (Harmony, Tags)
"""The ways to mark thoughts, in the order in which they are looked for; the last one speaks for every other model."""

_PROBE = "spiritsafe probe"
_QUESTION = Message(role="user", content="?")
_ANSWER = Message(role="assistant", content=_PROBE)


def _document(prompt: Sequence[int], completion: Sequence[int], weight: float) -> Document:
    return Document(
        token_ids=(*prompt, *completion), supervised=(*[False] * len(prompt), *[True] * len(completion)), weight=weight
    )


def _load_template(tokenizer: PreTrainedTokenizerBase, directory: Path, options: ChatOptions) -> ChatTemplate:
    if not tokenizer.chat_template:
        raise CompatibilityError(
            f"{directory} has no chat template.",
            hint="Use an instruction-tuned model, or add chat_template.jinja to the directory.",
        )
    try:
        source = str(tokenizer.get_chat_template())  # of several named ones the default
    except ValueError as error:
        raise CompatibilityError(
            f"{directory} has several chat templates and none is the default.", hint="Add chat_template.jinja to it."
        ) from error
    return ChatTemplate(source, options, dict(tokenizer.special_tokens_map), directory)


@final
class ChatFormat:
    """How one model's chats become tokens.

    Args:
        directory: A Hugging Face directory with ``tokenizer.json`` and a chat template.
        options: What the template is told; None: what the directory carries, else the defaults.

    Attributes:
        directory: Where the tokenizer's files are.
        options: What the template is told.
        end_id: The token that the template puts behind an assistant's turn.
        eos_ids: Every token that ends a completion, ``end_id`` first.
        pad_id: A token for positions that nothing looks at.
        bos_id: The token that begins a text, where the tokenizer has one.
        vocab_size: Ids that the tokenizer knows, added tokens included.
        vocab_fingerprint: Digest of token ids, merges and added tokens.
        template_fingerprint: Digest of the chat template, and of the options that it depends on.
        note: In what the template's own turns differ from what is asked and learnt here; "" for nothing.

    Raises:
        SourceError: The tokenizer's files are missing or damaged.
        CompatibilityError: There is no chat template, it gives no end token, or an option has no effect on it.
    """

    def __init__(self, directory: Path, options: ChatOptions | None = None) -> None:
        self.directory = directory
        self.options = ChatOptions.of_directory(directory) if options is None else options
        self._tokenizer = load_tokenizer(directory)
        self._fast: Tokenizer = self._tokenizer.backend_tokenizer
        # Some files were saved in the middle of work that cut and filled up texts.
        self._fast.no_truncation()
        self._fast.no_padding()
        content: dict[str, Any] = json.loads(self._fast.to_str())
        self._added = {token["content"]: int(token["id"]) for token in content["added_tokens"]}
        self._special = frozenset(token["content"] for token in content["added_tokens"] if token["special"])
        self._stated_ends = stated_ends(directory)
        self._read_template(content)
        pad = self._tokenizer.pad_token_id
        self.pad_id: int = self.end_id if pad is None else int(pad)
        bos = self._tokenizer.bos_token_id
        self.bos_id: int | None = None if bos is None else int(bos)
        self.vocab_size: int = self._fast.get_vocab_size(with_added_tokens=True)
        self.vocab_fingerprint = vocabulary_fingerprint(content)
        self._switched: dict[bool, ChatFormat] | None = None

    def _read_template(self, content: dict[str, Any]) -> None:
        """All that hangs on the template and its options."""
        self._template = _load_template(self._tokenizer, self.directory, self.options)
        self.end_id, probe = self._probe()
        self._thoughts = next(found for kind in FORMATS if (found := kind.detect(probe)) is not None)
        self.note = self._thoughts.note
        self._markers = self._find_markers(content, probe)
        self.eos_ids = self._find_eos()
        template = self._tokenizer.chat_template
        in_effect = self._template.in_effect
        self.template_fingerprint = digest({"template": template, "options": in_effect} if in_effect else template)

    def with_thinking(self, wish: bool) -> ChatFormat | None:
        """The same model asked to think, or not to; None: its template has no switch that changes what it is asked."""
        if self._switched is None:
            self._switched = self._find_switched()
        return self._switched.get(wish)

    def _find_switched(self) -> dict[bool, ChatFormat]:
        """Both ways to ask, where the template tells them apart."""
        name = next((name for name in THINKING_SWITCHES if name in self._template.reads), None)
        if name is None:
            return {}
        try:
            both = {wish: self._with_option(name, wish) for wish in (True, False)}
            is_switch = both[True].render([_QUESTION]) != both[False].render([_QUESTION])
        except CompatibilityError:
            return {}
        return both if is_switch else {}

    def _with_option(self, name: str, value: bool) -> ChatFormat:
        other = copy.copy(self)
        other.options = self.options.model_copy(
            update={"template_kwargs": {**self.options.template_kwargs, name: value}}
        )
        for cached in ("tool_ways", "call_spelling", "_turns"):
            other.__dict__.pop(cached, None)
        other._read_template(json.loads(self._fast.to_str()))
        return other

    # ---- prompts

    def render(self, messages: Sequence[Message], *, generation: bool = True) -> str:
        """The text that the model reads.

        Args:
            messages: The conversation. Without a system message, the template's own default stands.
            generation: End with the header of the assistant's turn.

        Raises:
            CompatibilityError: The template refuses these messages.
        """
        return self._rendered(messages, generation=generation).plain

    def _rendered(self, messages: Sequence[Message], *, generation: bool = True) -> Marked:
        tools = tools_of(messages)
        if has_tools(messages):
            self.tool_ways.check(messages, self.directory)
        turns = [self._turn(message) for message in messages]
        (*covered, covered_tools), stand_ins = self._markers.cover(
            [*turns, {"role": "system", "tools": tools}], beside=self._template.source
        )
        text = self._template.render(covered, generation=generation, tools=covered_tools["tools"])
        marked = Marked(text, stand_ins)
        words = [*words_in(tools), *(word for turn in turns if turn["role"] != "assistant" for word in words_in(turn))]
        words += [word for turn in turns for word in words_in(turn.get("tool_calls"))]
        if stand_ins and not any(map(self._markers.has_name, words)):
            # A template that looks into contents (for "<tool_response>") may not know them again behind stand-ins.
            text = self._template.render(turns, generation=generation, tools=tools)
            if text != marked.plain and self._markers.written(text) == self._markers.written(marked.text):
                return Marked(text, {})
        return marked

    def _turn(self, message: Message) -> dict[str, Any]:
        """A message as the template reads it."""
        if message.role == "assistant":
            fields: dict[str, Any] = self._thoughts.fields(message.content)
            if message.tool_calls:
                fields |= self.tool_ways.fields(message.tool_calls, fields["content"])
            return {"role": message.role, **fields}
        named = {"name": message.name, "tool_call_id": message.tool_call_id} if message.role == "tool" else {}
        given = {key: value for key, value in named.items() if value is not None}
        return {"role": message.role, "content": message.content, **given}

    @cached_property
    def tool_ways(self) -> ToolWays:
        """What the template does with tools."""
        return ToolWays.of(self._template)

    @cached_property
    def call_spelling(self) -> CallSpelling:
        """How the template spells calls of tools.

        Raises:
            CompatibilityError: Not so that they can be told from text and read.
        """
        return CallSpelling.of(self._turn_text, self._thoughts.tags, self._added, self.directory)

    def _turn_text(self, messages: Sequence[Message]) -> str:
        """What the template shows of an assistant's turn, the last of the messages."""
        whole = self._rendered(messages, generation=False)
        (span,) = self._turns.spans(messages, [len(messages) - 1], whole, generation=False)
        return whole.plain[span.start : span.stop]

    @cached_property
    def _turns(self) -> TurnFinder:
        def render(messages: Sequence[Message], generation: bool) -> Marked:
            return self._rendered(messages, generation=generation)

        return TurnFinder(render, self._markers.enders, self._thoughts.inner, self.directory)

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """Tokens of the conversation with the header of the assistant's turn.

        Earlier turns of the assistant are shown as the template shows them: many leave their thoughts out. Names of
        special tokens in contents are spelled out, not obeyed.

        Raises:
            CompatibilityError: The template refuses the conversation.
        """
        return self._markers.encode(self._rendered(messages))

    def going_on_ids(self, messages: Sequence[Message], prefix: str) -> list[int]:
        """Tokens of the conversation and of what the assistant's turn already holds.

        Raises:
            CompatibilityError: As :meth:`prompt_ids`.
        """
        if not prefix:
            return self.prompt_ids(messages)
        prompt, completion = self.turn_ids(messages, prefix, use="drawn")
        return [*prompt, *completion]

    # ---- completions

    def turn_ids(
        self, messages: Sequence[Message], completion: str, *, use: Use = "learn"
    ) -> tuple[list[int], list[int]]:
        """Tokens of a prompt and of a completion behind it, without an end token.

        The prompt is :meth:`prompt_ids`, but for a model that is asked behind an open thought: a completion without
        one stands behind the header that the template gives an answer.

        Args:
            completion: Its thought, if it has one, as ``<think>…</think>``; where the conversation has tools, the calls
                at its end as :mod:`spiritsafe.core.text.tool_calls` spells them.
            use: What for; see :data:`spiritsafe.models.chat.thoughts.Use`.

        Raises:
            CompatibilityError: The template refuses the conversation, or leaves no room for the completion's thought.
        """
        prompt, own, _ = self._placed_turn(messages, completion, use)
        return self._markers.encode(prompt), own

    def _placed_turn(self, messages: Sequence[Message], completion: str, use: Use) -> tuple[Marked, list[int], int]:
        """The text before a completion, the tokens of the completion, and the end token behind it."""
        said, calls = split_calls(completion) if use == "learn" and has_tools(messages) else (completion, ())
        if calls:
            return self._calling_turn(messages, Message(role="assistant", content=said, tool_calls=calls))
        placed = self._thoughts.place(completion, use)
        rendered = self._rendered(messages)
        text = rendered.text[: len(rendered.text) - placed.num_dropped] + placed.header
        return Marked(text, rendered.stand_ins), self._own_ids(placed), self.end_id

    def _calling_turn(self, messages: Sequence[Message], turn: Message) -> tuple[Marked, list[int], int]:
        """The same of a turn that calls tools, which the template alone can spell."""
        whole = self._rendered([*messages, turn], generation=False)
        (span,) = self._turns.spans([*messages, turn], [len(messages)], whole, generation=False)
        thought = (split_thought(turn.content)[0] or "").strip()
        if thought not in whole.plain[span.start : span.stop]:
            raise CompatibilityError(
                f"The chat template of {self.directory} leaves out the thought of a turn that calls a tool.",
                hint="Learn from turns without thoughts, or leave such conversations out of the data.",
            )
        own = self._markers.encode(whole.part(span.start, span.stop), goes_on=True)
        return whole.part(0, span.start), own, self._added.get(span.end, self.end_id)

    def _own_ids(self, placed: Placed) -> list[int]:
        return self._markers.encode_own(placed.pieces)

    def completion_ids(self, completion: str, *, use: Use = "learn") -> list[int]:
        """Tokens of a completion, without an end token; names of special tokens in it are spelled out as text.

        Args:
            completion: Its thought, if it has one, as ``<think>…</think>``.
            use: What for; see :data:`spiritsafe.models.chat.thoughts.Use`.

        Raises:
            CompatibilityError: The model is asked in a way that leaves no room for the completion's thought.
        """
        return self._own_ids(self._thoughts.place(completion, use))

    def document(
        self,
        messages: Sequence[Message],
        completion: str,
        *,
        weight: float = 1.0,
        use: Use = "learn",
        turns: Collection[int] = (),
    ) -> Document:
        """A training document: prompt unsupervised; completion and one end token supervised.

        Args:
            completion: As :meth:`turn_ids` takes it.
            turns: Places in ``messages`` of earlier turns of the assistant that are supervised too: what the template
                shows of them, and the end token behind, where it is one that ends a completion.

        Raises:
            CompatibilityError: As :meth:`turn_ids`; or a turn cannot be told from what the template writes around it,
                or is to be learnt across tokenizers.
        """
        if turns and use != "learn":
            raise CompatibilityError(
                "Earlier turns cannot be learnt across tokenizers.", hint="Learn from the last turns only."
            )
        prompt, own, end = self._placed_turn(messages, completion, use)
        return self._with_prompt(messages, prompt, turns, [*own, end], weight)

    def document_from_tokens(
        self,
        messages: Sequence[Message],
        token_ids: Sequence[int],
        *,
        weight: float = 1.0,
        turns: Collection[int] = (),
    ) -> Document:
        """A training document from tokens that a model drew, all supervised; no end token is added.

        Args:
            turns: As in :meth:`document`.

        Raises:
            CompatibilityError: As :meth:`prompt_ids`, or a turn cannot be told from what is around it.
        """
        return self._with_prompt(messages, self._rendered(messages), turns, token_ids, weight)

    def _with_prompt(
        self,
        messages: Sequence[Message],
        prompt: Marked,
        turns: Collection[int],
        completion: Sequence[int],
        weight: float,
    ) -> Document:
        if not turns:
            return _document(self._markers.encode(prompt), completion, weight)
        whole = self._rendered(messages)
        spans = self._turns.spans(messages, turns, whole, generation=True)
        if not prompt.plain.startswith(whole.plain[: spans[-1].behind]):
            raise CompatibilityError(
                f"The chat template of {self.directory} shows earlier turns otherwise where the last one calls a tool.",
                hint="Learn from the last turns only.",
            )
        ids: list[int] = []
        supervised: list[bool] = []

        def add(start: int, end: int | None, is_learnt: bool) -> None:
            more = self._markers.encode(prompt.part(start, end), goes_on=start > 0)
            ids.extend(more)
            supervised.extend([is_learnt] * len(more))

        place = 0
        for span in spans:
            stop = span.behind if self._added.get(span.end) in self.eos_ids else span.stop
            add(place, span.start, False)
            add(span.start, stop, True)
            place = stop
        add(place, None, False)
        return Document(
            token_ids=(*ids, *completion), supervised=(*supervised, *[True] * len(completion)), weight=weight
        )

    def completion_text(self, token_ids: Sequence[int], *, prefix: str = "") -> str:
        """The text of a drawn completion.

        A thought is ``<think>…</think>`` whatever the model calls it; one that the prompt opened is part of the text.

        Args:
            token_ids: What was drawn, without an end token.
            prefix: What the turn already held.
        """
        return self._thoughts.text(token_ids, prefix=prefix)

    def growing_text(self, plain: GrowingText, *, prefix: str | None) -> GrowingText:
        """:meth:`completion_text` token by token; with ``prefix`` None: :meth:`decode`.

        Args:
            plain: Text of tokens without special ones; after its ``finish`` it begins anew.
        """
        return self._thoughts.growing(plain, prefix=prefix)

    def stop_finder(self, stop: Sequence[str]) -> StopFinder:
        """Looks for stop strings in completions; give it :meth:`completion_text` as the text of all tokens."""
        return StopFinder(self._without_special, stop, {self._added[name] for name in self._special})

    # ---- tokens and text

    @property
    def thoughts(self) -> ThoughtFormat:
        """How the model marks its thoughts."""
        return self._thoughts

    @property
    def fast(self) -> Tokenizer:
        """The tokenizer itself, for who reads its tables; it is not to be changed."""
        return self._fast

    @property
    def special_tokens(self) -> dict[str, int]:
        """Ids of tokens that leave no trace in text, by their names."""
        return {name: self._added[name] for name in sorted(self._special)}

    def decode(self, token_ids: Sequence[int]) -> str:
        """Text of any part of a completion; special tokens leave no trace, but for those that mark thoughts."""
        return self._thoughts.text(token_ids, prefix=None)

    def _without_special(self, token_ids: Sequence[int]) -> str:
        text: str = self._fast.decode(list(token_ids), skip_special_tokens=True)
        return text

    def spell(self, token_ids: Sequence[int]) -> str:
        """Text of tokens with the names of special tokens in it."""
        text: str = self._fast.decode(list(token_ids), skip_special_tokens=False)
        return text

    def text_ids(self, text: str) -> list[int]:
        """Tokens of a rendered text; names of special tokens in it are obeyed, none is added."""
        return encode(self._fast, text)

    # ---- files

    def save(self, directory: Path) -> None:
        """Copy the tokenizer's files into an existing directory, with the options and every end token.

        Raises:
            StorageError: The directory cannot be written.
        """
        for name in TOKENIZER_FILES:
            if name != CHAT_OPTIONS and (self.directory / name).is_file():
                with storage_errors(directory / name):
                    shutil.copyfile(self.directory / name, directory / name)
        self.options.write(directory)
        self._write_ends(directory)

    def _write_ends(self, directory: Path) -> None:
        """Let other programs stop where this one does; a file that says so already stays as it is."""
        settings = generation_settings(directory)
        if not set(self.eos_ids) <= set(stated_ends(directory)):
            ends = list(self.eos_ids)
            ends_of_file = {"eos_token_id": ends if len(ends) > 1 else ends[0]}
            write_json(directory / GENERATION_CONFIG, {**settings, **ends_of_file})
        # llama.cpp's converter takes the end from here. A template that prints it must find its own.
        end = self._fast.id_to_token(self.end_id)
        if self._tokenizer.eos_token_id == self.end_id or "eos_token" in self._template.source:
            return
        for name in ("tokenizer_config.json", "special_tokens_map.json"):
            path = directory / name
            if path.is_file() and "eos_token" in (settings := read_json(path)):
                write_json(path, {**settings, "eos_token": end})

    # ---- what the files say

    def _probe(self) -> tuple[int, TemplateProbe]:
        """The first special token after an assistant's turn, as the template renders it, and what stands around."""
        turns = [{"role": message.role, "content": message.content} for message in (_QUESTION, _ANSWER)]
        text = self._shown(turns)
        before, _, after = text.rpartition(_PROBE)
        special = {self._added[name] for name in self._special}
        tail = [token for token in self.text_ids(after) if token in special]
        eos = self._tokenizer.eos_token_id
        end = tail[0] if tail else eos
        if end is None:
            raise CompatibilityError(
                f"Neither the chat template nor the tokenizer of {self.directory} has an end token.",
                hint='Set "eos_token" in tokenizer_config.json.',
            )
        name = str(self._fast.id_to_token(int(end)))
        return int(end), TemplateProbe(
            where=str(self.directory),
            template=self._template.source,
            prompt=self._template.render(turns[:1], generation=True),
            before=before,
            after=after.partition(name)[0] if tail and name in after else "",
            end=name,
            ids=self._added,
            special=self._special,
            decode=self._without_special,
        )

    def _shown(self, turns: Sequence[dict[str, str]]) -> str:
        """The probe as the template renders it: from contents as texts, else as lists of parts (SmolVLM)."""
        reason = CompatibilityError(
            f"The chat template of {self.directory} does not show the assistant's turn.",
            hint="Use another chat template.",
        )
        for self._template.in_parts in (False, True):
            try:
                text = self._template.render(turns, generation=False)
            except CompatibilityError as error:
                reason = reason if self._template.in_parts else error
            else:
                if _PROBE in text:
                    return text
        raise reason

    def _find_markers(self, content: dict[str, Any], probe: TemplateProbe) -> Markers:
        """Special tokens and what else the template writes; of these, those that an assistant may write itself."""
        named = {name for name in self._added if name in self._template.source and not name.isspace()}
        turns = {name for name in named if name in f"{probe.prompt} {probe.before} {probe.after} {probe.end}"}
        thoughts = self._thoughts.inner & self._added.keys()
        inner = (named - turns - self._special) | thoughts
        return Markers(self._fast, content, self._special | named | thoughts, inner)

    def _find_eos(self) -> tuple[int, ...]:
        found = [self.end_id]
        if self._tokenizer.eos_token_id is not None:
            found.append(int(self._tokenizer.eos_token_id))
        found.extend(self._stated_ends)
        found.extend(self._added[name] for name in self._thoughts.ends)
        return tuple(dict.fromkeys(found))


def require_same_vocabulary(teacher: ChatFormat, student: ChatFormat) -> None:
    """Refuse a pair whose token ids mean different things.

    Raises:
        CompatibilityError: The vocabularies differ.
    """
    if teacher.vocab_fingerprint == student.vocab_fingerprint:
        return
    raise CompatibilityError(
        f"Teacher {teacher.directory} ({teacher.vocab_size} tokens) and student {student.directory} "
        f"({student.vocab_size} tokens) have different vocabularies, so their probabilities cannot be compared.",
        hint="Cut the student from this teacher, choose a student of the same family, or distil from traces instead.",
    )
