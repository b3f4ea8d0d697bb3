"""Ollama's Modelfile: recognised templates say what the model's own Jinja says, and the file reads back."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from jinja2.sandbox import ImmutableSandboxedEnvironment

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Message
from spiritsafe.release import RecognisedChat, recognise_chat
from spiritsafe.release.texts.modelfile import CHAT_FAMILIES, modelfile_path, modelfile_text, runs_nothing_else

# As the makers publish them.
SMOLLM2 = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou "
    "are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + "
    "message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
    "message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA3 = (
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first_user_prefix = messages[0]['content'] + '\n\n' "
    "%}{% set loop_messages = messages[1:] %}{% else %}{% set first_user_prefix = '' %}{% set loop_messages = messages "
    "%}{% endif %}{% for message in loop_messages %}{% if message['role'] == 'assistant' %}{% set role = 'model' %}"
    "{% else %}{% set role = message['role'] %}{% endif %}{{ '<start_of_turn>' + role + '\n' + (first_user_prefix if "
    "loop.first else '') }}{{ message['content'] | trim }}{{ '<end_of_turn>\n' }}{% endfor %}{% if "
    "add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI3 = (
    "{% for message in messages %}{{'<|' + message['role'] + '|>\n' + message['content'] + '<|end|>\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}{{ message['content'] + eos }}"
    "{% else %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% endif %}{% endfor %}"
)
TALK = [
    Message(role="system", content="Be kind."),
    Message(role="user", content='One?\n\n{{ .Role }} "quoted"'),
    Message(role="assistant", content="Two."),
    Message(role="user", content="Three?"),
]


def jinja(template: str, bos: str = "") -> Callable[[Sequence[Message]], str]:
    compiled = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(template)

    def render(messages: Sequence[Message]) -> str:
        plain = [{"role": one.role, "content": one.content} for one in messages]
        return str(compiled.render(messages=plain, add_generation_prompt=True, bos_token=bos, eos="</s>"))

    return render


class GoTemplate:
    """As much of Go's ``text/template`` as the templates here use: an independent reading of what was written."""

    def __init__(self, text: str) -> None:
        self._parts = re.split(r"({{.*?}})", text)
        self._at = 0

    def run(self, messages: Sequence[Message]) -> str:
        self._variables: dict[str, str] = {}
        self._at = 0
        text, end = self._block({"Messages": messages}, live=True)
        assert end == ""
        return text

    def _value(self, word: str, dot: Any) -> Any:
        if word.startswith('"'):
            return word[1:-1]
        if word.startswith("$"):
            return self._variables[word]
        name = word.removeprefix(".")
        return dot[name] if isinstance(dot, dict) else getattr(dot, name.lower())

    def _block(self, dot: Any, *, live: bool) -> tuple[str, str]:
        out = []
        while self._at < len(self._parts):
            part = self._parts[self._at]
            self._at += 1
            if not part.startswith("{{"):
                out.append(part if live else "")
                continue
            words = part[2:-2].split()
            if words[0] in ("end", "else"):
                return "".join(out), words[0]
            if words[0] == "range":
                out.append(self._range(self._value(words[1], dot) if live else []))
            elif words[0] == "if":
                out.append(self._if(words[1:], dot, live=live))
            elif len(words) == 3 and words[1] in (":=", "="):
                if live:
                    self._variables[words[0]] = self._value(words[2], dot)
            else:
                out.append(self._value(words[0], dot) if live else "")
        return "".join(out), ""

    def _range(self, items: Sequence[Any]) -> str:
        start, out = self._at, []
        for item in items:
            self._at = start
            out.append(self._block(item, live=True)[0])
        if not items:
            self._block(None, live=False)
        return "".join(out)

    def _if(self, test: list[str], dot: Any, *, live: bool) -> str:
        holds = False
        if live:
            holds = (
                self._value(test[1], dot) == self._value(test[2], dot)
                if test[0] == "eq"
                else bool(self._value(test[0], dot))
            )
        text, end = self._block(dot, live=live and holds)
        if end == "else":
            text += self._block(dot, live=live and not holds)[0]
        return text


def parse_modelfile(text: str) -> list[tuple[str, str]]:
    """Ollama's grammar: a word in capitals, then the rest of the line, or what stands between three quotes."""
    found = []
    while text:
        command, _, rest = text.partition(" ")
        assert re.fullmatch("FROM|TEMPLATE|SYSTEM|PARAMETER|LICENSE", command), command
        if rest.startswith('"""'):
            value, end, text = rest[3:].partition('"""')
            assert end
            assert text.startswith("\n")
            text = text[1:]
        else:
            value, _, text = rest.partition("\n")
        found.append((command, value))
    return found


@pytest.mark.parametrize(
    ("template", "bos", "name", "system"),
    [
        (SMOLLM2, "", "ChatML", "You are a helpful AI assistant named SmolLM, trained by Hugging Face"),
        (LLAMA3, "<|begin_of_text|>", "Llama 3", ""),
        (GEMMA3, "<bos>", "Gemma", ""),
        (PHI3, "", "Phi 3", ""),
    ],
)
def test_a_recognised_template_says_what_the_models_own_says(template: str, bos: str, name: str, system: str) -> None:
    render = jinja(template, bos)
    chat = recognise_chat(render)
    assert chat is not None
    assert (chat.family.name, chat.system) == (name, system)
    parsed = dict(parse_modelfile(modelfile_text("a.gguf", chat=chat, context_length=2048, licence="Mine.\n\n1. x")))
    go = GoTemplate(parsed["TEMPLATE"])
    assert bos + go.run(TALK) == render(TALK)
    default = [Message(role="system", content=parsed["SYSTEM"])] if "SYSTEM" in parsed else []
    assert bos + go.run([*default, *TALK[1:]]) == render(TALK[1:])
    assert parsed["FROM"] == "./a.gguf"
    assert parsed["LICENSE"] == "Mine.\n\n1. x"


@pytest.mark.parametrize("family", CHAT_FAMILIES, ids=lambda family: family.name)
def test_each_family_is_written_in_go_as_it_renders(family: Any) -> None:
    assert GoTemplate(family.go_template).run(TALK) == family.render(TALK)
    found = recognise_chat(family.render)
    assert found == RecognisedChat(family)


def test_what_is_not_recognised_is_not_said() -> None:
    def raising(messages: Sequence[Message]) -> str:
        raise CompatibilityError("No system.", hint="None.")

    dated = LLAMA3.replace("{% for", "{{ 'Today Date: 26 Jul 2024' }}{% for", 1)
    for render in (jinja(MISTRAL, "<s>"), jinja(dated, "<|begin_of_text|>"), raising, lambda _: ""):
        assert recognise_chat(render) is None
    assert modelfile_text("sub/a.gguf") == "FROM ./sub/a.gguf\n"
    assert modelfile_path("sub/a.Q8_0.gguf") == "a.Q8_0.Modelfile"


def test_parameters_and_what_cannot_be_quoted() -> None:
    parsed = parse_modelfile(modelfile_text("a.gguf", chat=RecognisedChat(CHAT_FAMILIES[0]), context_length=8192))
    values = [value for command, value in parsed if command == "PARAMETER"]
    assert values == ['stop "<|im_end|>"', 'stop "<|im_start|>"', "num_ctx 8192"]
    for text in ('a """ b', 'who said "no"'):  # four in a row would end it one character early
        with pytest.raises(CompatibilityError, match='holds """'):
            modelfile_text("a.gguf", licence=text)


def test_a_modelfile_of_another_model_or_with_an_adapter_is_told() -> None:
    own = modelfile_text("a.gguf", context_length=8, licence="Terms.\nFrom now on\nadapter: none\n")
    assert runs_nothing_else(own, "a.gguf")
    for text in (own.replace("./a.gguf", "./b.gguf"), f"{own}FROM llama3\n", f"{own}  Adapter ./x\n", f"\n{own}", ""):
        assert not runs_nothing_else(text, "a.gguf"), text
