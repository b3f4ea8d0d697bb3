"""What an answer's tokens may be where its form was asked for, or tools are there: grammars as masks over tokens.

In: a job and how its conversation is asked. Out: a mask that knows where in its grammar it is, or None where every
token may come. Grammars are run by llguidance, over this model's own tokenizer. Where a thought may stand in front of
an answer it is free. What llguidance cannot hold to, a keyword of a schema say, is refused by name: no mask is weaker
than what was asked for. Shapes: V vocabulary.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Collection, Mapping
from typing import Any, final

import numpy as np
import torch
from llguidance import LLMatcher, LLParserLimits, regex_to_lark
from torch import Tensor

from spiritsafe.core.serving import Form, Job
from spiritsafe.models.chat.calls.prompt import RefusedJob, ToolPrompt
from spiritsafe.models.chat.calls.spelling import ID_SLOT, Loose
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.chat.grammars.json_schema import checked_schema
from spiritsafe.models.chat.grammars.vocabulary import grammar_tokenizer

_LONGEST_SOURCE_BYTES = 256 * 1024
_MOST_MEETINGS = 12  # of Lark's terminals: more cannot be worked out

# A grammar is read within a second, and a step of it takes some milliseconds at most: others wait for both.
_LIMITS = LLParserLimits(
    initial_lexer_fuel=400_000,
    step_lexer_fuel=100_000,
    step_max_items=20_000,
    max_grammar_size=200_000,
    max_lexer_states=50_000,
    verbose_errors=False,
)
# Text that must come is drawn token by token like any other, so that the model spells it in its own tokens.
_OPTIONS = '%llguidance {"no_forcing": true}\n'

# Between two tokens of JSON a space, or a new line with its indent: a model that likes white space must go on.
_JSON = {"whitespace_pattern": r"( |\n[ \t]{0,32})"}


@final
class GrammarMask:
    """One answer's place in its grammar.

    Args:
        matcher: At the grammar's start.
        end_ids: End tokens.
        vocab_size: Of the logits.

    Attributes:
        problem: Why the grammar cannot be followed any further: it takes too much work. From then on only end tokens
            are allowed, and the answer is none. "" while there is none.
    """

    def __init__(self, matcher: LLMatcher, end_ids: Collection[int], vocab_size: int) -> None:
        self._matcher = matcher
        self._end_ids = list(end_ids)
        self._vocab_size = vocab_size
        self.problem = ""

    def allowed(self) -> Tensor:
        """``[V]`` bool on the CPU: what may come next; end tokens where the answer may end."""
        bits = b"" if self.problem else self._matcher.compute_bitmask()
        self._look()
        if self.problem:
            allowed_V = torch.zeros(self._vocab_size, dtype=torch.bool)
            allowed_V[self._end_ids] = True
            return allowed_V
        flat = np.unpackbits(np.frombuffer(bits, dtype=np.uint8), bitorder="little")[: self._vocab_size]
        return torch.from_numpy(flat.view(np.bool_))

    def accept(self, token_id: int) -> None:
        """Go on behind a drawn token."""
        if not self.problem and not self._matcher.is_stopped():
            self._matcher.consume_token(token_id)
            self._look()

    @property
    def is_complete(self) -> bool:
        """The answer may end here."""
        return not self.problem and bool(self._matcher.is_accepting())

    def _look(self) -> None:
        if not self.problem and self._matcher.is_error():
            self.problem = f"The form cannot be followed any further: {_words(self._matcher.get_error())}."


@final
class Grammars:
    """The grammars of one model.

    Args:
        chat: Its tokenizer and template.
        vocab_size: Of its logits; ids beyond the tokenizer's are never allowed.

    Raises:
        CompatibilityError: The tokenizer is of a kind that grammars do not work with.
    """

    def __init__(self, chat: ChatFormat, vocab_size: int) -> None:
        self._chat = chat
        self._vocab_size = vocab_size
        self._special = chat.special_tokens
        self._tokenizer = grammar_tokenizer(chat, vocab_size)

    def of(self, chat: ChatFormat) -> Grammars:
        """The same for another way to ask the model: for a chat format that shares the tokenizer."""
        if chat is self._chat:
            return self
        other = copy.copy(self)
        other._chat = chat
        return other

    def mask(self, job: Job, asked: ToolPrompt) -> GrammarMask | None:
        """The mask of a job; None where it has neither form nor tools.

        Args:
            asked: The same job as :func:`~spiritsafe.models.chat.calls.prompt.tool_prompt` asks it.

        Raises:
            RefusedJob: Its form, or a schema of its tools, cannot be held to.
        """
        if job.form is None and asked.spelling is None:
            return None
        if job.ignore_end:
            raise RefusedJob(
                "An answer that has a form ends where the form does.", hint="Leave ignore_end out.", param="ignore_end"
            )
        parts: list[dict[str, Any]] = []
        rules = self._rules(job, asked, parts)
        matcher = LLMatcher(
            self._tokenizer, json.dumps({"grammars": [{"lark_grammar": rules}, *parts]}), limits=_LIMITS, log_level=0
        )
        # The whole comes first: what all parts together may cost is bounded by it.
        if matcher.is_error() and not any(part["name"] == "form" for part in parts):
            raise _refused(_words(matcher.get_error()), "messages")
        for part in parts:
            is_form = part["name"] == "form"
            may_be_empty = is_form and job.form is not None and job.form.kind in ("regex", "grammar")
            self._check(part, "form" if is_form else "messages", may_be_empty=may_be_empty)
        if matcher.is_error():
            raise _refused(_words(matcher.get_error()), "form")
        return GrammarMask(matcher, self._chat.eos_ids, self._vocab_size)

    def _rules(self, job: Job, asked: ToolPrompt, parts: list[dict[str, Any]]) -> str:
        lead = self._chat.thoughts.lead(self._spell) if job.messages else ""
        rules = [_OPTIONS, f"start: {'lead ' if lead else ''}answer\n", lead]
        answers = []
        if job.form is not None and not asked.must_call:
            answers.append("@form")
            parts.append({"name": "form", **self._form(job.form)})
        if asked.spelling is not None:
            answers += self._calls(asked, parts, rules, with_text=job.form is None and not asked.must_call)
        return "".join([*rules, f"answer: {' | '.join(answers)}\n"])

    # ---- forms

    def _form(self, form: Form) -> dict[str, Any]:
        _check_size(form.source, "form")
        match form.kind:
            case "json":
                part = _json_part({"type": "object"})
            case "schema":
                part = _json_part(checked_schema(form.source, "form"))
            case "regex":
                part = {"lark_grammar": f"start: /{regex_to_lark(form.source, 'd')}/"}
            case "grammar":
                if form.source.count("&") + form.source.count("~") > _MOST_MEETINGS:
                    raise _refused(f"it has more than {_MOST_MEETINGS} of & and ~", "form")
                part = {"lark_grammar": form.source}
        return part

    def _check(self, part: Mapping[str, Any], param: str, *, may_be_empty: bool) -> None:
        """Refuse what cannot be held to, before anything is drawn."""
        matcher = LLMatcher(
            self._tokenizer, json.dumps({"grammars": [{**part, "name": None}]}), limits=_LIMITS, log_level=0
        )
        problem = matcher.get_error() or "; ".join(matcher.get_grammar_warnings())
        if not problem:
            matcher.compute_bitmask()
            problem = "nothing has this form" if matcher.is_error() else ""
            problem = problem or ("" if may_be_empty or not matcher.is_accepting() else "no JSON has this form")
        if problem:
            raise _refused(_words(problem), param)

    # ---- calls

    def _calls(self, asked: ToolPrompt, parts: list[dict[str, Any]], rules: list[str], *, with_text: bool) -> list[str]:
        """What an answer may be that calls, or might have called: alternatives of the rule ``answer``."""
        spelling = asked.spelling
        assert spelling is not None
        middle = self._spell(spelling.middle)
        _check_size("".join(json.dumps(tool.parameters) for tool in asked.tools), "messages")
        for place, tool in enumerate(asked.tools):
            schema = checked_schema(json.dumps(tool.parameters), "messages")
            part = _json_part(schema)
            parts.append({"name": f"arguments_{place}", **part})
            rules.append(f"call_{place}: {json.dumps(tool.name)} {middle} @arguments_{place}\n")
        any_call = " | ".join(f"call_{place}" for place in range(len(asked.tools)))
        more = f"({self._spell(spelling.gap)} call)*" if asked.several and spelling.gap is not None else ""
        rules.append(f"call: {any_call}\n")
        rules.append(f"calls: {self._spell(spelling.after_trigger)} call {more} {self._spell(spelling.tail)}\n")
        rules.append("CALL_ID: /[a-zA-Z0-9]{9}/\n")
        trigger = self._spell(spelling.trigger)
        if not with_text:
            return [f"{trigger} calls"]
        no_thought = self._no_thought()
        if trigger.startswith("<["):
            rules.append(f"TEXT: /(?s:.*)/{no_thought}\n")
            return ["TEXT", f"{'TEXT? ' if spelling.behind_text else ''}{trigger} calls"]
        looks = Loose(spelling.trigger).regex.replace("/", "\\/")
        if not spelling.behind_text:
            rules.append(f"TEXT: /(?s:.*)/ & ~/\\s*{looks}(?s:.*)/{no_thought}\n")
            return ["TEXT", f"{trigger} calls"]
        rules.append(f"TEXT: /(?s:.*)/ & ~/(?s:.*){looks}(?s:.*)/{no_thought}\n")
        rules.append(f"BEGUN: /(?s:.*){looks}/ & ~/(?s:.*){looks}(?s:.+)/{no_thought}\n")
        return ["TEXT", "BEGUN calls"]

    def _no_thought(self) -> str:
        """Text that begins as a thought is one."""
        tags = self._chat.thoughts.tags
        if not self._chat.thoughts.thinks or tags is None or tags[0] in self._special:
            return ""
        return f" & ~/\\s*{Loose(tags[0]).regex}(?s:.*)/".replace("</", "<\\/")

    def _spell(self, text: str) -> str:
        """A literal in Lark's notation; special tokens are tokens, and an id's place is any id."""
        out: list[str] = []
        rest = text
        while rest:
            found = [(rest.find(name), -len(name), name) for name in (*self._special, ID_SLOT) if name in rest]
            place, _, name = min(found, default=(len(rest), 0, ""))
            if place:
                out.append(json.dumps(rest[:place], ensure_ascii=False))
            if name:
                out.append("CALL_ID" if name == ID_SLOT else f"<[{self._special[name]}]>")
            rest = rest[place + len(name) :]
        return " ".join(out)


def _json_part(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"json_schema": {**schema, "x-guidance": _JSON}}


def _check_size(source: str, param: str) -> None:
    try:
        size = len(source.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise _refused("it holds half a character", param) from error
    if size > _LONGEST_SOURCE_BYTES:
        raise _refused(f"it is longer than {_LONGEST_SOURCE_BYTES // 1024} KiB", param)


def _refused(problem: str, param: str) -> RefusedJob:
    what = "The form that was asked for" if param == "form" else "The schema of a tool's parameters"
    return RefusedJob(f"{what} cannot be held to: {problem}.", hint="Change or simplify it.", param=param)


def _words(problem: str) -> str:
    """A library's message as one line."""
    lines = [line.strip() for line in problem.splitlines() if line.strip()]
    return " ".join(lines).rstrip(".")[:300]
