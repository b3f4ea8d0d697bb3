from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import Any

import pytest
import templates_parts
import transformers.utils.chat_template_utils as reference
from transformers import AutoTokenizer

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.chat.options import ChatOptions
from spiritsafe.models.chat.template import ChatTemplate

CLOCK = "{{ strftime_now('%Y-%m-%d %H:%M:%S %z%Z|%%s|%s') }}"
USER = [{"role": "user", "content": "?"}]


def template(source: str, **options: Any) -> ChatTemplate:
    return ChatTemplate(source, ChatOptions(**options), {"bos_token": "<s>"}, Path("model"))


def at(day: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the machine's clock show a day: to transformers, to time and to datetime as this program sees it."""
    moment = datetime.datetime.fromisoformat(day)

    class Clock(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:  # type: ignore[override]
            return moment

    monkeypatch.setattr(reference, "datetime", Clock)
    monkeypatch.setattr(time, "time", moment.timestamp)


def conversations() -> list[tuple[list[dict[str, str]], bool]]:
    def turn(role: str, content: str) -> dict[str, str]:
        return {"role": role, "content": content}

    thinking = "<think>\nhm\n</think>\n\n5"
    one = [turn("user", " 2 + 3? \n")]
    two = [*one, turn("assistant", thinking), turn("user", "and < 9?")]
    return [
        (one, True),
        ([turn("system", " Be brief. "), *one], True),
        (two, True),
        ([turn("system", "é"), *two, turn("assistant", "5"), turn("user", "{{ x }}")], True),
        ([*one, turn("assistant", "5")], False),
        ([*one, turn("assistant", thinking)], False),
    ]


@pytest.mark.parametrize("name", sorted(templates_parts.ALL))
def test_it_renders_what_transformers_renders(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at("2024-07-26", monkeypatch)
    directory = templates_parts.ALL[name](tmp_path / name)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    ours = ChatTemplate(tokenizer.chat_template, ChatOptions(), tokenizer.special_tokens_map, directory)
    for turns, generation in conversations():
        theirs = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generation)
        assert ours.render(turns, generation=generation) == theirs


def test_generation_blocks_loop_controls_and_json_are_as_in_transformers() -> None:
    source = (
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% break %}{% endfor %}"
        "{{ {'a': '<é'} | tojson(indent=1) }}{% set ns = namespace(x=1) %}{% set ns.x = 2 %}{{ ns.x }}{{ dict(a=1).a }}"
    )
    ours = template(source).render([*USER, *USER], generation=False)
    theirs = reference.render_jinja_template([[*USER, *USER]], chat_template=source)[0][0]
    assert ours == theirs == '?{\n "a": "<é"\n}21'


def test_the_clock_is_midnight_of_the_options_day(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = {}
    for day in ("2026-11-28", "2031-01-01"):
        at(day, monkeypatch)
        for zone in ("UTC", "Asia/Tokyo"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            shown[day, zone] = template(CLOCK).render(USER, generation=True)
    monkeypatch.undo()
    time.tzset()
    assert set(shown.values()) == {"2024-07-26 00:00:00 |%s|1721952000"}
    assert template(CLOCK, date="1999-12-31").render(USER, generation=True).startswith("1999-12-31 00:00:00")


def test_a_date_that_was_chosen_reaches_both_kinds_of_template() -> None:
    constant = "{% if not date_string is defined %}{% set date_string = '1 Jan 2020' %}{% endif %}{{ date_string }}"
    assert template(templates_parts.DATED, date="2026-03-01").render(USER, generation=False).count("01 Mar 2026") == 1
    assert template(constant, date="2026-03-01").render(USER, generation=False) == "01 Mar 2026"
    assert template(constant).render(USER, generation=False) == "1 Jan 2020"


def test_only_options_in_effect_count() -> None:
    assert template("{{ messages }}").in_effect == {}
    assert template(templates_parts.DATED).in_effect == {"date": "2024-07-26"}
    told = template(templates_parts.HARMONY, template_kwargs={"reasoning_effort": "low"}, date="2026-01-05")
    assert told.in_effect == {"date": "2026-01-05", "template_kwargs": {"reasoning_effort": "low"}}
    assert "Reasoning: low" in told.render(USER, generation=True)


def test_an_option_that_cannot_take_effect_is_refused_with_those_that_can() -> None:
    with pytest.raises(CompatibilityError, match="no option 'thinking'") as refused:
        template(templates_parts.QWEN3, template_kwargs={"thinking": False})
    assert "enable_thinking" in refused.value.hint
    with pytest.raises(CompatibilityError, match="no option") as refused:
        template(templates_parts.DATED, template_kwargs={"date_string": "today"})
    assert "date" in refused.value.hint
    with pytest.raises(CompatibilityError, match="no option"):
        template("{{ messages }}", template_kwargs={"messages": []})
    with pytest.raises(CompatibilityError, match="prints no date"):
        template(templates_parts.QWEN3, date="2026-11-28")


@pytest.mark.parametrize(
    "source",
    [
        "{{ [1, 2] | random }}",
        "{{ lipsum() }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ strftime_now.__globals__.keys() }}",
        "{% set ns = namespace() %}{% set ns.__class__ = 1 %}{{ ns }}",
        "{{ dict.__subclasses__() }}",
        "{% include 'x' %}",
        "{% for a in range(10**7) %}{% endfor %}",
        "{{ 1 // 0 }}",
        "{{ messages[7].content.x }}",
        "{{ '%s' % () }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
        "{{ raise_exception('no') }}",
        "{% if %}",
    ],
)
def test_chance_secrets_and_mishaps_end_in_a_sentence(source: str) -> None:
    with pytest.raises(CompatibilityError, match="chat template of model"):
        template(source).render(USER, generation=True)
