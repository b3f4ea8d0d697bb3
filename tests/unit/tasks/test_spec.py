"""Specs: what is written, what is resolved, what is refused."""

import pytest
from pydantic import ValidationError

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.spec import Knobs, Range, canonical_name, format_value, nearest, parse_spec, resolve_knobs


class Some(Knobs):
    terms: Range = (2, 3)
    flag: bool = True
    path: str = ""


def test_parse() -> None:
    spec = parse_spec(" math:a/b%3Fc.jsonl?question=q%26a&terms=2-4 ")
    assert (spec.family, spec.name, dict(spec.knobs)) == ("math", "a/b?c.jsonl", {"question": "q&a", "terms": "2-4"})


def test_a_mix_is_left_whole() -> None:
    spec = parse_spec(" mix:a:b?c=1&d=%7C|e:f?g=2*2 ")
    assert (spec.family, spec.name, dict(spec.knobs)) == ("mix", "a:b?c=1&d=%7C|e:f?g=2*2", {})


@pytest.mark.parametrize("text", ["", "arith", "arith:", ":sums", "arith:sums?terms", "arith:sums?=2", "a:b?x=1&x=2"])
def test_malformed(text: str) -> None:
    with pytest.raises(TaskError) as caught:
        parse_spec(text)
    assert caught.value.hint


def test_unknown_key_names_the_nearest() -> None:
    with pytest.raises(TaskError, match='no knob "term"') as caught:
        resolve_knobs(parse_spec("a:b?term=2"), Some)
    assert 'Did you mean "terms"?' in caught.value.hint
    assert "flag" in caught.value.hint


@pytest.mark.parametrize("value", ["x", "3-2", "2-", "-1", "2.5"])
def test_bad_range(value: str) -> None:
    with pytest.raises(TaskError, match=f'knob "terms"={value}'):
        resolve_knobs(parse_spec(f"a:b?terms={value}"), Some)


def test_canonical_name_is_sorted_resolved_and_parses_back() -> None:
    knobs = resolve_knobs(parse_spec("a:b?terms=2&path=x%26y"), Some)
    name = canonical_name("a", "b", knobs.model_dump())
    assert name == "a:b?flag=true&path=x%26y&terms=2"
    again = resolve_knobs(parse_spec(name), Some)
    assert again == knobs
    with pytest.raises(ValidationError):
        knobs.flag = False  # type: ignore[misc]  # that is the point


def test_format_value() -> None:
    assert [format_value(v) for v in (True, (2, 3), (2, 2), ["a", 1], 0.5, "s")] == [
        "true",
        "2-3",
        "2",
        "a,1",
        "0.5",
        "s",
    ]


def test_nearest() -> None:
    assert nearest("digit", ["digits", "terms"]) == 'Did you mean "digits"? '
    assert nearest("zzz", ["digits"]) == ""


def test_a_name_that_is_no_unicode_is_refused_in_words():
    with pytest.raises(TaskError, match="not UTF-8"):
        canonical_name("private", "\udcff", {})
    with pytest.raises(TaskError, match="not UTF-8"):
        canonical_name("private", "x", {"family": "\ud800"})
