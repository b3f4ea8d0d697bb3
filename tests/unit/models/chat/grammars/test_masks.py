"""Masks: random walks under them have the form that was asked for; what cannot be held to is refused by name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import templates_parts
from calling_models import CALLING
from grammar_walks import FAMILIES, HI, PADDING, masked, tool, walk
from llguidance import LLParserLimits

from spiritsafe.core.serving import Form, Job
from spiritsafe.models.chat.calls.prompt import RefusedJob, tool_prompt
from spiritsafe.models.chat.calls.reader import AnswerReader
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.chat.grammars import masks
from spiritsafe.models.chat.grammars.masks import Grammars

SHORT = {"type": "string", "maxLength": 4}
SCHEMAS: dict[str, dict[str, Any]] = {
    "object": {"type": "object", "properties": {"a": SHORT, "b": {"type": "integer"}}, "required": ["a"]},
    "closed": {"type": "object", "properties": {"a": {"type": "null"}}, "additionalProperties": False},
    "any properties": {"type": "object", "additionalProperties": {"type": "boolean"}},
    "named by pattern": {"type": "object", "patternProperties": {"^x[0-9]$": SHORT}, "additionalProperties": False},
    "array": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 4},
    "tuple": {"type": "array", "prefixItems": [SHORT, {"type": "boolean"}], "items": False, "minItems": 2},
    "enum": {"enum": ["a", 1, None, {"b": [2]}, "é\n\"'"]},
    "const": {"const": {"deep": [1, {"x": "<|im_end|>"}]}},
    "any of": {"anyOf": [{"type": "integer"}, {"type": "array", "items": {"type": "null"}, "maxItems": 2}]},
    "one of": {"oneOf": [{"type": "boolean"}, {"type": "array", "items": SHORT, "maxItems": 1}]},
    "all of": {"allOf": [{"type": "object", "required": ["a"]}, {"properties": {"a": {"type": "integer"}}}]},
    "types": {"type": ["null", "boolean", "integer"]},
    "bounds": {"type": "integer", "minimum": -12, "exclusiveMaximum": 305},
    "fraction": {"type": "number", "exclusiveMinimum": 0, "maximum": 1.5},
    "multiple": {"type": "integer", "multipleOf": 7, "minimum": 0, "maximum": 5000},
    "pattern": {"type": "string", "pattern": "^(ab|c)+[0-9]{2,3}$"},
    "lengths": {"type": "string", "minLength": 3, "maxLength": 5},
    "date": {"type": "string", "format": "date"},
    "reference": {
        "$defs": {"item": {"type": "object", "properties": {"n": SHORT}, "required": ["n"]}},
        "type": "object",
        "properties": {"items": {"type": "array", "items": {"$ref": "#/$defs/item"}, "maxItems": 2}},
        "required": ["items"],
    },
    "tree": {
        "$ref": "#/$defs/node",
        "$defs": {
            "node": {
                "type": "object",
                "properties": {
                    "v": {"type": "integer"},
                    "next": {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]},
                },
                "required": ["v"],
                "additionalProperties": False,
            }
        },
    },
    "described": {"title": "T", "description": "d", "type": "boolean", "default": False, "examples": [True], "x-y": 1},
}


@pytest.fixture(scope="module", params=sorted(FAMILIES))
def family(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Grammars:
    chat = ChatFormat(FAMILIES[request.param](tmp_path_factory.mktemp(request.param)))
    return Grammars(chat, chat.vocab_size + PADDING)


def walks(grammars: Grammars, job: Job, count: int) -> list[str]:
    """Texts of walks; most of them ended."""
    chat = grammars._chat
    texts = []
    for seed in range(count):
        mask = grammars.mask(job, tool_prompt(chat, job))
        assert mask is not None
        ids, has_ended = walk(chat, mask, seed)
        if has_ended:
            texts.append(chat.completion_text(ids))
    assert len(texts) > count / 2
    return texts


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_what_is_drawn_obeys_its_schema(family: Grammars, name: str) -> None:
    validator = jsonschema.Draft202012Validator(SCHEMAS[name], format_checker=jsonschema.FormatChecker(["date"]))
    job = Job(messages=(HI,), form=Form(kind="schema", source=json.dumps(SCHEMAS[name])))
    for text in walks(family, job, 6):
        validator.validate(json.loads(text))


def test_other_forms(family: Grammars) -> None:
    for text in walks(family, Job(messages=(HI,), form=Form(kind="json")), 4):
        assert isinstance(json.loads(text), dict)
    expression = r"(yes|no): [a-f/\"]{3}(é|\d)"
    for text in walks(family, Job(text="q", form=Form(kind="regex", source=expression)), 6):
        assert re.fullmatch(expression, text)
    lark = 'start: sum\nsum: NUMBER (" + " NUMBER)*\nNUMBER: /[0-9]{1,2}/'
    for text in walks(family, Job(text="q", form=Form(kind="grammar", source=lark)), 6):
        assert re.fullmatch(r"\d{1,2}( \+ \d{1,2})*", text)


REFUSED = {
    "nothing like it": '{"not": {"type": "string"}}',
    "uniqueItems": '{"type": "array", "uniqueItems": true}',
    "contains": '{"type": "array", "contains": {"const": 1}}',
    "dependentRequired": '{"dependentRequired": {"a": ["b"]}}',
    "zebra": '{"type": "string", "format": "zebra"}',
    "oneOf": '{"oneOf": [{"type": "number"}, {"type": "integer"}]}',
    "look-around": '{"type": "string", "pattern": "(?=a)b"}',
    "maxlength": '{"type": "string", "maxlength": 3}',
    "x-guidance": '{"type": "string", "format": "zebra", "x-guidance": {"lenient": true}}',
    "http://example.com/s": '{"$ref": "http://example.com/s"}',
    "no JSON object": "[]",
    "is not read": "{",
    "nothing has this form": '{"$ref": "#"}',
    "unsatisfiable": '{"type": "object", "required": ["q"], "additionalProperties": false}',
}


@pytest.mark.parametrize("words", sorted(REFUSED))
def test_a_schema_that_cannot_be_held_to_is_refused_by_name(words: str, tmp_path: Path) -> None:
    with pytest.raises(RefusedJob) as caught:
        masked(templates_parts.chatml(tmp_path), form=Form(kind="schema", source=REFUSED[words]))
    assert caught.value.param == "form"
    assert words in caught.value.message or words == "nothing like it"
    assert '"not"' in caught.value.message or words != "nothing like it"


def nested(depth: int) -> str:
    return '{"type": "array", "items": ' * depth + "{}" + "}" * depth


HOSTILE: dict[str, tuple[str, Callable[[], str]]] = {
    "deep": ("schema", lambda: nested(100_000 // 20)),
    "deeper than is named": ("schema", lambda: nested(70)),
    "only brackets": ("schema", lambda: "[" * 100_000),
    "enum": ("schema", lambda: json.dumps({"enum": [f"value{i}" for i in range(100_000)]})),
    "patterns that meet": (
        "schema",
        lambda: json.dumps({"allOf": [{"type": "string", "pattern": f"a{i}"} for i in range(40)]}),
    ),
    "patterns that meet by reference": (
        "schema",
        lambda: json.dumps(
            {
                "$defs": {f"d{i}": {"pattern": f"a{i}", "$ref": f"#/$defs/d{i + 1}"} for i in range(40)}
                | {"d40": {"type": "string"}},
                "$ref": "#/$defs/d0",
            }
        ),
    ),
    "brackets of an expression": ("regex", lambda: "(" * 30_000 + "a" + ")" * 30_000),
    "half an emoji": ("regex", lambda: "\ud83d"),
    "brackets of a grammar": ("grammar", lambda: "start: " + "(" * 30_000 + '"a"' + ")" * 30_000),
    "terminals that meet": (
        "grammar",
        lambda: "start: T\nT: " + " & ".join(f"/.*a{i}.*/" for i in range(40)),
    ),
    "no grammar": ("grammar", lambda: "start: start"),
}


@pytest.mark.parametrize("name", sorted(HOSTILE))
def test_a_hostile_form_is_refused(name: str, tmp_path: Path) -> None:
    kind, source = HOSTILE[name]
    with pytest.raises(RefusedJob) as caught:
        masked(templates_parts.chatml(tmp_path), form=Form(kind=kind, source=source()))  # type: ignore[arg-type]
    assert len(caught.value.message) < 500


def test_work_that_never_ends_ends_its_answer_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "_LIMITS", LLParserLimits(max_lexer_states=40, verbose_errors=False))
    chat, _, mask = masked(templates_parts.chatml(tmp_path), form=Form(kind="regex", source="(?s:.*)(a|b).{200}"))
    for token in chat.text_ids("abbababaab" * 20):
        mask.allowed()
        mask.accept(token)
    assert "cannot be followed any further" in mask.problem
    assert not mask.is_complete
    assert sorted(mask.allowed().nonzero()[:, 0].tolist()) == sorted(chat.eos_ids)


def test_a_form_and_no_end_do_not_go_together(tmp_path: Path) -> None:
    with pytest.raises(RefusedJob, match="ends where the form does"):
        masked(templates_parts.chatml(tmp_path), form=Form(kind="json"), ignore_end=True)


@pytest.mark.parametrize("kind", ["r1", "qwq", "qwen3", "harmony"])
def test_thoughts_in_front_of_a_form_are_free(kind: str, tmp_path: Path) -> None:
    chat, _, mask = masked(templates_parts.ALL[kind](tmp_path), form=Form(kind="regex", source="[ab]{2}"))
    said = "<think>\nany <tool_call> { thing\n</think>\n\nab"
    ids = chat.completion_ids(said, use="drawn")
    for token in ids:
        assert mask.allowed()[token], chat.spell([token])
        mask.accept(token)
    assert mask.is_complete
    assert chat.completion_text(ids).endswith("ab")
    _, _, mask = masked(chat, form=Form(kind="regex", source="[ab]{2}"))
    chat_ids, has_ended = walk(chat, mask, 0, most=3000)
    if has_ended:
        assert re.search("[ab]{2}$", chat.completion_text(chat_ids))


WEATHER = tool("weather", city=SHORT, days={"type": "integer", "minimum": 1, "maximum": 9})
CLOCK = json.dumps({"type": "function", "function": {"name": "clock"}})
ASKED = HI.model_copy(update={"tools": (WEATHER, CLOCK)})
SPELLED = ["chatml", "sentencepiece", "hermes", "thinking", "llama3", "mistral", "deepseek"]


def read(chat: ChatFormat, job: Job, seed: int) -> list[tuple[str, str]]:
    """Names and arguments of the calls that a walk makes."""
    _, asked, mask = masked(chat, **{name: getattr(job, name) for name in job.model_fields_set})
    ids, has_ended = walk(chat, mask, seed, most=1500)
    assert has_ended
    reader = AnswerReader(asked.spelling, thinks=chat.thoughts.thinks)
    shown, run = "", list[int]()
    for token in ids:
        if token in asked.marks:
            shown, run = shown + chat.decode(run) + asked.marks[token], []
        else:
            run.append(token)
    parts = [*reader.feed(shown + chat.decode(run)), *reader.finish()]
    calls: list[tuple[str, str]] = []
    for part in parts:
        if part.kind == "call":
            calls.append((part.text, ""))
        elif part.kind == "arguments":
            calls[-1] = (calls[-1][0], calls[-1][1] + part.text)
    return calls


@pytest.mark.parametrize("kind", SPELLED)
def test_calls_that_must_come_are_calls(kind: str, tmp_path: Path) -> None:
    chat = ChatFormat(CALLING[kind](tmp_path))
    named = set()
    for seed in range(4):
        job = Job(messages=(ASKED,), tool_choice="required")
        for name, arguments in read(chat, job, seed):
            named.add(name)
            value = json.loads(arguments)
            if name == "weather":
                jsonschema.validate(value, json.loads(WEATHER)["function"]["parameters"])
            else:
                assert value == {}
        assert [name for name, _ in read(chat, Job(messages=(ASKED,), tool_name="weather"), seed)] == ["weather"]
        alone = Job(messages=(ASKED,), tool_choice="required", parallel_tool_calls=False)
        assert len(read(chat, alone, seed)) == 1
    assert named == {"weather", "clock"}


@pytest.mark.parametrize("kind", ["chatml", "hermes", "thinking", "llama3", "mistral", "deepseek"])
def test_a_call_that_may_come_is_whole_or_none(kind: str, tmp_path: Path) -> None:
    chat, asked, mask = masked(CALLING[kind](tmp_path), messages=(ASKED,))
    spelling = asked.spelling
    assert spelling is not None
    good = f'{spelling.head}weather{spelling.middle}{{"city": "Bern", "days": 3}}{spelling.tail}'.replace(
        "\0", "abcdefgh1"
    )
    said = f"I look.\n{good}" if spelling.behind_text else good
    cases = {"plain text, of any kind { }": True, said: True, good.replace("3", "0"): False}
    cases |= {good.replace("weather", "whether"): False, good.replace('"days"', '"day"'): False}
    for text, is_good in cases.items():
        _, _, mask = masked(chat, messages=(ASKED,))
        fits = True
        for token in chat.text_ids(text):
            fits = fits and bool(mask.allowed()[token])
            if fits:
                mask.accept(token)
        assert fits == is_good, text
        assert not is_good or mask.is_complete, text
