"""Chat templates, rendered in a sandbox that has no clock and no chance.

In: a template as model directories carry it, :class:`ChatOptions`, and the names of special tokens. Out: rendered text.
The environment is the one that transformers documents for templates (``transformers.apply_chat_template`` gives the
same text, a test holds both together) but for what changes from call to call: ``strftime_now`` tells the options' day
at midnight, and Jinja's ``random`` and ``lipsum`` are not there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, final

import jinja2
import jinja2.ext
import jinja2.meta
from jinja2.nodes import CallBlock, EvalContext, Node
from jinja2.parser import Parser
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.chat.options import ChatOptions

Turn = Mapping[str, Any]
"""A message as a template reads it: texts by their names, and calls of tools."""

_CLOCK = "strftime_now"
_DATE = "date_string"
_OURS = {"messages", "add_generation_prompt", "raise_exception", _CLOCK, _DATE}
_EPOCH = re.compile(r"%%|%[-_0^#]*s")
_MISHAPS = (
    jinja2.TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


def _words(error: BaseException) -> str:
    return str(error).rstrip(".") or ("it needs too much memory" if isinstance(error, MemoryError) else repr(error))


def _check_options(options: ChatOptions, reads: set[str], ours: set[str], where: Path) -> None:
    """Refuse an option that the template does not read."""
    known = sorted(reads - ours)
    for name in options.template_kwargs:
        if name not in known:
            hint = f"It reads {', '.join(known)}." if known else "It has no options: leave template_kwargs out."
            hint = "Set the key date instead." if name in (_DATE, _CLOCK) else hint
            raise CompatibilityError(f"The chat template of {where} has no option {name!r}.", hint=hint)
    if options.date != ChatOptions().date and not reads & {_CLOCK, _DATE}:
        raise CompatibilityError(f"The chat template of {where} prints no date.", hint="Leave date out.")


@final
class _Generation(jinja2.ext.Extension):
    """``{% generation %}…{% endgeneration %}``: marks what an assistant wrote; here it is only text."""

    tags = {"generation"}  # noqa: RUF012 (Jinja declares it so)

    def parse(self, parser: Parser) -> Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return CallBlock(self.call_method("_text"), [], [], body).set_lineno(line)

    @jinja2.pass_eval_context
    def _text(self, context: EvalContext, caller: Callable[[], str]) -> str:
        return caller()


@final
class _Namespace(Namespace):
    """Jinja's namespace without a way to names that begin with an underscore."""

    def __setitem__(self, name: str, value: Any) -> None:
        if str(name).startswith("_"):
            raise jinja2.exceptions.SecurityError(f"a template may not set {name!r}")
        super().__setitem__(name, value)


def _raise_exception(message: str) -> NoReturn:
    raise jinja2.TemplateError(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Unlike Jinja's own filter it leaves ``<`` as it is."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def _clock(options: ChatOptions) -> Callable[[str], str]:
    """The function that templates ask for the time: always midnight of the options' day."""
    day = options.day
    moment = datetime(day.year, day.month, day.day)  # naive, as in transformers: %z and %Z are empty
    epoch = str(int(moment.replace(tzinfo=UTC).timestamp()))

    def strftime_now(format: str) -> str:
        # %s alone would depend on the machine's time zone.
        return moment.strftime(_EPOCH.sub(lambda found: found[0] if found[0] == "%%" else epoch, format))

    return strftime_now


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, jinja2.ext.loopcontrols]
    )
    del environment.filters["random"], environment.globals["lipsum"]
    environment.filters["tojson"] = _tojson
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["namespace"] = _Namespace
    environment.globals["dict"] = lambda *args, **kwargs: dict(*args, **kwargs)
    return environment


@final
class ChatTemplate:
    """One template with its options.

    Args:
        tokens: Names of special tokens that templates use: ``{"bos_token": "<s>"}``.
        where: The model directory, for messages.

    Attributes:
        in_effect: The options that this template depends on; empty where it depends on none.
        reads: Names that it takes from outside.
        in_parts: Contents are handed over as lists of parts, ``[{"type": "text", "text": …}]``, not as text.

    Raises:
        CompatibilityError: It is not a template, or an option can have no effect on it.
    """

    def __init__(self, source: str, options: ChatOptions, tokens: Mapping[str, str], where: Path) -> None:
        self.source = source
        self.in_parts = False
        self._where = where
        environment = _environment()
        try:
            self._template = environment.from_string(source)
            self.reads = reads = jinja2.meta.find_undeclared_variables(environment.parse(source))
        except _MISHAPS as error:  # constants are worked out while it is read
            raise CompatibilityError(
                f"The chat template of {where} cannot be used: {_words(error)}.", hint="Use another chat template."
            ) from error
        _check_options(options, reads, {*tokens, *_OURS}, where)
        given: dict[str, Any] = {"tools": None, "documents": None, **tokens, **options.template_kwargs}
        given[_CLOCK] = _clock(options)
        self.in_effect: dict[str, Any] = {}
        if options.template_kwargs:
            self.in_effect["template_kwargs"] = options.template_kwargs
        # A template that has a date of its own where it is given none (Llama-3.1) keeps it unless one was chosen.
        if _CLOCK in reads or options.date != ChatOptions().date:
            given[_DATE] = options.day.strftime("%d %b %Y")
            self.in_effect["date"] = options.date
        self._given = given

    def render(self, turns: Sequence[Turn], *, generation: bool, tools: Sequence[Any] = ()) -> str:
        """The text of a conversation.

        Args:
            turns: Messages as the template reads them.
            generation: End with the header of the assistant's turn.
            tools: Definitions of tools.

        Raises:
            CompatibilityError: The template refuses them.
        """
        messages: list[dict[str, Any]] = [dict(turn) for turn in turns]
        if self.in_parts:
            messages = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in messages]
        given = {**self._given, "tools": list(tools)} if tools else self._given
        try:
            return self._template.render(messages=messages, add_generation_prompt=generation, **given)
        except _MISHAPS as error:
            raise CompatibilityError(
                f"The chat template of {self._where} refuses this conversation: {_words(error)}.",
                hint="Check which roles and orders of turns the model supports.",
            ) from error
