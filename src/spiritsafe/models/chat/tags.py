r"""Thoughts between two tags: ``<think>…</think>`` (DeepSeek-R1, Qwen3, QwQ, SmolLM3), or others' names for them.

Models that mark no thoughts are the simplest case: their text is what it is. Three things that templates do:

* the generation prompt opens the thought (``<think>\n``): it belongs to the text of what is drawn, so that a thought
  cut off at the limit shows; a completion with a thought goes on behind it; one without stands behind the header that
  the template itself gives an answer;
* an answer without a thought gets an empty one (``<think>\n\n</think>\n\n``): it is part of what the model must write;
* the generation prompt closes the thought (``enable_thinking = false``): there is no room for one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Self, final

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.text.thoughts import CLOSE, OPEN
from spiritsafe.models.chat.thoughts import (
    GrowingText,
    Placed,
    TemplateProbe,
    Use,
    num_begun,
    split_thought,
    text_up_to,
)

_PAIRS = (
    (OPEN, CLOSE),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
)


@final
class _Growing:
    """Text between tags, token by token.

    Args:
        kept: Tags that are special tokens.
        begin: Stands in front.
        others: Another model's two tags and how the one form spells them; none where they are the same.
    """

    def __init__(self, plain: GrowingText, kept: Mapping[int, str], begin: str, others: Mapping[str, str]) -> None:
        self._plain = plain
        self._kept = kept
        self._others = others
        self._held = begin

    def take(self, token_id: int) -> str:
        name = self._kept.get(token_id)
        more = self._plain.take(token_id) if name is None else self._plain.finish() + name
        return self._renamed(self._held + more) if more or self._held else ""

    def finish(self) -> str:
        text, self._held = self._held + self._plain.finish(), ""
        for tag, name in self._others.items():
            text = text.replace(tag, name)
        return text

    def _renamed(self, text: str) -> str:
        """The text up to what may become another model's tag."""
        if not self._others:
            self._held = ""
            return text
        for tag, name in self._others.items():
            text = text.replace(tag, name)
        known = max(num_begun(text, tag) for tag in self._others)
        self._held = text[len(text) - known :]
        return text[: len(text) - known]


@final
class Tags:
    """See the module.

    Args:
        probe: What the template does.
        pair: The two tags.
    """

    ends: tuple[str, ...] = ()

    def __init__(self, probe: TemplateProbe, pair: tuple[str, str]) -> None:
        self._probe = probe
        self._open, self._close = pair
        self.inner = frozenset(pair)
        self._kept = {probe.ids[name]: name for name in pair if name in probe.special}
        open_, close = map(re.escape, pair)
        opened = re.search(rf"{open_}\s*\Z", probe.prompt)
        self._prefill = opened[0] if opened else ""
        self._is_closed = re.search(rf"{close}\s*\Z", probe.prompt) is not None
        bare = probe.prompt[: len(probe.prompt) - len(self._prefill)]
        lead = probe.before[len(bare) :] if probe.before.startswith(bare) else None
        self.note = ""
        if self._is_closed and lead is None and probe.prompt.startswith(probe.before):
            lead = ""  # the template writes the closed thought where it asks, and leaves it out of what was said
        markers = "|".join(map(re.escape, sorted({*probe.ids, *pair}, key=len, reverse=True)))
        if lead is None or not re.fullmatch(rf"(?:\s|{markers})*", lead):
            self.note = (
                f"The chat template of {probe.where} writes {probe.before[-60:]!r} before an answer and "
                f"{probe.prompt[-60:]!r} where it asks for one."
            )
            lead = ""
        self._lead = lead
        self._speaks = self._close in probe.template or self._open in probe.template
        self.thinks = bool(self._prefill) or (self._speaks and not self._is_closed)
        self.tags: tuple[str, str] | None = pair
        self._trail = probe.after if not probe.after.strip() else ""

    @classmethod
    def detect(cls, probe: TemplateProbe) -> Self:
        """The pair that the template names or the tokenizer has as special tokens, else the usual one."""
        for pair in _PAIRS:
            if any(name in probe.template or name in probe.special for name in pair):
                return cls(probe, pair)
        return cls(probe, _PAIRS[0])

    def _own(self, text: str) -> str:
        if self._open == OPEN:
            return text
        return text.replace(OPEN, self._open).replace(CLOSE, self._close)

    def fields(self, text: str) -> dict[str, str]:
        """The text; thought and answer apart where the template asks for them so and does not part them itself."""
        thought, answer = split_thought(text)
        if thought is None or self._close in self._probe.template or "reasoning_content" not in self._probe.template:
            return {"content": self._own(text)}
        return {"content": answer, "reasoning_content": thought}

    def place(self, text: str, use: Use = "learn") -> Placed:
        """See :class:`~spiritsafe.models.chat.thoughts.ThoughtFormat`."""
        dangles = self._speaks and CLOSE in text and OPEN not in text.partition(CLOSE)[0]
        thinks = dangles or text.lstrip().startswith(OPEN)
        own = self._own(text)
        lead, trail = (self._lead, self._trail) if use == "learn" else ("", "")
        if thinks:
            if self._is_closed and use != "drawn":
                raise CompatibilityError(
                    f"{self._probe.where} is asked behind a thought that is already closed; this completion has one.",
                    hint="Leave enable_thinking (or its like) out of template_kwargs, or learn from answers alone.",
                )
            if use == "align" and self._prefill and not dangles:  # every family's completion spells the tag
                return Placed(((own, False),), len(self._prefill))
            if dangles:
                begin = "" if self._prefill or use == "drawn" else f"{self._open}\n"
            else:
                own, begin = self._own(self._behind_prefill(text)) if self._prefill else own, ""
            blank = lead if not lead.strip() and not self._prefill else ""
            return Placed(((blank + begin + own + trail, False),))
        if self._prefill and self._open in self._lead and self._close not in self._lead:
            return Placed(((f"{self._close}\n\n{own}{trail}", False),))  # the template has no header without a thought
        if self._prefill:
            return Placed(((own + trail, False),), len(self._prefill), self._lead)
        if use == "drawn":
            return Placed(((own, False),))
        if use == "align" and self._lead.strip():
            return Placed(((own, False),), header=self._lead)
        return Placed(((lead, True), (own + trail, False)))

    def _behind_prefill(self, text: str) -> str:
        rest, space = text.lstrip().removeprefix(OPEN), self._prefill.removeprefix(self._open)
        return rest.removeprefix(space) if rest.startswith(space) else rest.lstrip("\n")

    def text(self, token_ids: Sequence[int], *, prefix: str | None) -> str:
        """See :class:`~spiritsafe.models.chat.thoughts.ThoughtFormat`."""
        text, start = "", 0
        for place, token in enumerate(token_ids):
            if token in self._kept:
                text += self._probe.decode(token_ids[start:place]) + self._kept[token]
                start = place + 1
        text += self._probe.decode(token_ids[start:])
        if prefix == "":
            text = self._prefill + text
        if self._open != OPEN:
            text = text.replace(self._open, OPEN).replace(self._close, CLOSE)
        return text

    def growing(self, plain: GrowingText, *, prefix: str | None) -> GrowingText:
        """See :class:`~spiritsafe.models.chat.thoughts.ThoughtFormat`."""
        others = {} if self._open == OPEN else {self._open: OPEN, self._close: CLOSE}
        return _Growing(plain, self._kept, self._prefill if prefix == "" else "", others)

    def lead(self, spell: Callable[[str], str]) -> str:
        """See :class:`~spiritsafe.models.chat.thoughts.ThoughtFormat`."""
        if not self.thinks:
            return ""
        thought, terminal = text_up_to(self._close, spell, "THOUGHT")
        rest = f"{thought} NEWLINES?"
        rule = rest if self._prefill else f"({spell(self._open)} {rest})?"
        return f"lead: {rule}\n{terminal}NEWLINES: /\\n{{1,2}}/\n"
