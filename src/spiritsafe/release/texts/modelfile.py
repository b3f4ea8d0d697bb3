"""Ollama's Modelfile for a GGUF file: where it lies, how chats are written, when an answer ends.

In: a file and what renders its chats. Out: the text of the Modelfile. Ollama has its templates in Go's language, models
have theirs in Jinja, so one is only written where the model's rendering of probe conversations is, character by
character, what a known family gives; else nothing is said, and Ollama looks at the template in the GGUF file itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import final

from spiritsafe.core.errors import CompatibilityError, SpiritsafeError
from spiritsafe.core.records import Message

RenderChat = Callable[[Sequence[Message]], str]
"""A model's own rendering of a conversation, with the beginning of the assistant's next turn."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ChatFamily:
    """A way of writing chats: each turn is ``opening, role, middle, content, closing``.

    Attributes:
        roles: What it calls them.
        begin: What the tokenizer puts in front of everything, whether the template writes it or not.
        stops: Texts that end an answer.
        system_in_user: The system's text stands in the first user turn, with an empty line behind it.
    """

    name: str
    opening: str
    middle: str
    closing: str
    roles: Mapping[str, str]
    begin: str
    stops: tuple[str, ...]
    system_in_user: bool = False

    def turn(self, role: str, content: str) -> str:
        """One turn."""
        return f"{self.opening}{self.roles[role]}{self.middle}{content}{self.closing}"

    def render(self, messages: Sequence[Message]) -> str:
        """A conversation, with the beginning of the assistant's next turn."""
        parts, system = [], ""
        for message in messages:
            if message.role == "system" and self.system_in_user:
                system = f"{message.content}\n\n"
                continue
            parts.append(self.turn(message.role, system + message.content))
            system = ""
        return "".join(parts) + f"{self.opening}{self.roles['assistant']}{self.middle}"

    @property
    def go_template(self) -> str:
        """The same in the language of Go's ``text/template``, as Ollama fills it."""
        named = {role: name for role, name in self.roles.items() if role != name}
        role = "{{ .Role }}"
        for own, name in named.items():
            role = f'{{{{ if eq .Role "{own}" }}}}{name}{{{{ else }}}}{role}{{{{ end }}}}'
        turn = f"{self.opening}{role}{self.middle}" + "{{ .Content }}" + self.closing
        if self.system_in_user:
            system = "{{ $system }}\n\n"
            turn = turn.replace(
                "{{ .Content }}", f'{{{{ if $system }}}}{system}{{{{ $system = "" }}}}{{{{ end }}}}{{{{ .Content }}}}'
            )
            turn = f'{{{{ if eq .Role "system" }}}}{{{{ $system = .Content }}}}{{{{ else }}}}{turn}{{{{ end }}}}'
        head = '{{ $system := "" }}' if self.system_in_user else ""
        last = f"{self.opening}{self.roles['assistant']}{self.middle}"
        return f"{head}{{{{ range .Messages }}}}{turn}{{{{ end }}}}{last}"


_SAME = {"system": "system", "user": "user", "assistant": "assistant"}

CHAT_FAMILIES = (
    ChatFamily(
        name="ChatML",
        opening="<|im_start|>",
        middle="\n",
        closing="<|im_end|>\n",
        roles=_SAME,
        begin="",
        stops=("<|im_end|>", "<|im_start|>"),
    ),
    ChatFamily(
        name="Llama 3",
        opening="<|start_header_id|>",
        middle="<|end_header_id|>\n\n",
        closing="<|eot_id|>",
        roles=_SAME,
        begin="<|begin_of_text|>",
        stops=("<|eot_id|>", "<|start_header_id|>"),
    ),
    ChatFamily(
        name="Gemma",
        opening="<start_of_turn>",
        middle="\n",
        closing="<end_of_turn>\n",
        roles={"user": "user", "assistant": "model"},
        begin="<bos>",
        stops=("<end_of_turn>", "<start_of_turn>"),
        system_in_user=True,
    ),
    ChatFamily(
        name="Phi 3",
        opening="<|",
        middle="|>\n",
        closing="<|end|>\n",
        roles=_SAME,
        begin="",
        stops=("<|end|>", "<|user|>", "<|assistant|>"),
    ),
    ChatFamily(
        name="Granite",
        opening="<|start_of_role|>",
        middle="<|end_of_role|>",
        closing="<|end_of_text|>\n",
        roles=_SAME,
        begin="",
        stops=("<|end_of_text|>", "<|start_of_role|>"),
    ),
)


@final
@dataclass(frozen=True, slots=True)
class RecognisedChat:
    """How a model writes chats.

    Attributes:
        system: What it says as the system where nobody else does.
    """

    family: ChatFamily
    system: str = ""


def _conversations() -> list[list[Message]]:
    said = [
        Message(role="user", content="What is 17 + 25?"),
        Message(role="assistant", content="42"),
        Message(role="user", content="Twice that?\n\nIn words."),
    ]
    system = Message(role="system", content="Answer in one word.")
    return [said[:1], said, [system, said[0]], [system, *said]]


def recognise_chat(render: RenderChat) -> RecognisedChat | None:
    """The family whose text is the model's own in every probe conversation; None where none is.

    Args:
        render: The model's; what it raises of ours counts as another text.
    """
    conversations = _conversations()
    try:
        found = [render(messages) for messages in conversations]
    except SpiritsafeError:
        return None
    for family in CHAT_FAMILIES:
        texts = [text.removeprefix(family.begin) for text in found]
        system = _default_system(family, texts[0], conversations[0])
        given = [Message(role="system", content=system)] if system else []
        wanted = [
            family.render(messages if messages[0].role == "system" else [*given, *messages])
            for messages in conversations
        ]
        if wanted == texts:
            return RecognisedChat(family, system)
    return None


def _default_system(family: ChatFamily, text: str, messages: Sequence[Message]) -> str:
    """What stands in front of the first message, as a system's turn."""
    before = text.removesuffix(family.render(messages))
    if family.system_in_user or before == text:
        return ""
    opening, closing = family.turn("system", "\0").split("\0")
    return before.removeprefix(opening).removesuffix(closing) if before.startswith(opening) else ""


def modelfile_path(gguf: str) -> str:
    """Where the Modelfile of a GGUF file lies: at the release's top."""
    return f"{PurePosixPath(gguf).stem}.Modelfile"


def runs_nothing_else(text: str, gguf: str) -> bool:
    """Whether a Modelfile begins with a GGUF file and names no other model and no adapter."""
    first, *lines = re.sub(r'""".*?"""', '""', text, flags=re.DOTALL).split("\n")
    return first == f"FROM ./{gguf}" and not any(
        re.match(r"\s*(from|adapter)\b", line, re.IGNORECASE) for line in lines
    )


def _quoted(text: str, what: str) -> str:
    if '"""' in text or text.endswith('"'):  # in front of three more it would be the first of them
        raise CompatibilityError(
            f'{what} holds """ or ends with ", which no Modelfile can.',
            hint="Write the release without a Modelfile, or change it.",
        )
    return f'"""{text}"""'


def modelfile_text(
    gguf: str, *, chat: RecognisedChat | None = None, context_length: int | None = None, licence: str = ""
) -> str:
    """The text of a Modelfile.

    Args:
        gguf: The file's path in the release.
        licence: Its text.

    Raises:
        CompatibilityError: A text has three quotes in a row, or one at its end.
    """
    lines = [f"FROM ./{gguf}"]
    if chat is not None:
        lines.append(f"TEMPLATE {_quoted(chat.family.go_template, 'The template')}")
        if chat.system:
            lines.append(f"SYSTEM {_quoted(chat.system, 'The system prompt')}")
        lines += [f'PARAMETER stop "{stop}"' for stop in chat.family.stops]
    if context_length is not None:
        lines.append(f"PARAMETER num_ctx {context_length}")
    if licence:
        lines.append(f"LICENSE {_quoted(licence, 'The licence')}")
    return "\n".join(lines) + "\n"
