"""Texts that are longer than their limit of tokens can give: cut, counted by their length, kept bounded."""

from __future__ import annotations

import hashlib

import pytest

from spiritsafe.core.records import Attempt, FinishReason, Sampling
from spiritsafe.core.text.lengths import (
    MOST_BYTES_A_TOKEN,
    WINDOW,
    estimate_tokens,
    is_overlong,
    is_too_long,
    kept_text,
    usual_characters,
    within_limits,
)


def attempt(text: str, *, max_tokens: int = 16, finish: FinishReason = "stop", **more: object) -> Attempt:
    return Attempt.from_json(
        {
            "problem_id": "p",
            "sample_index": 0,
            "model": "m",
            "sampling": Sampling(max_tokens=max_tokens).to_json(),
            "seed": 0,
            "text": text,
            "finish_reason": finish,
            "num_tokens": 16,
            **more,
        }
    )


HONEST = {
    "English": "The answer is forty-two, because six times seven makes exactly that number and nothing else does.",
    "Malayalam": "എല്ലാ മനുഷ്യരും തുല്യാവകാശങ്ങളോടും അന്തസ്സോടും സ്വാതന്ത്ര്യത്തോടുംകൂടി ജനിച്ചിട്ടുള്ളവരാണ്",
    "Russian": "Все люди рождаются свободными и равными в своём достоинстве и правах, наделены разумом и совестью.",
    "a rule": "-" * 1500,
    "indentation": "\n".join(" " * 100 + "x" for _ in range(12)),
    "one long token": "x" + " " * 127,
}


@pytest.mark.parametrize("what", HONEST)
def test_what_an_honest_server_sends_is_left_alone(what: str) -> None:
    """Sixteen tokens hold each of these in some vocabulary."""
    honest = attempt(HONEST[what])
    assert within_limits(honest, 16) == honest
    assert not is_too_long(honest.text, 16)


def test_a_text_that_cannot_be_so_few_tokens_is_cut_there_and_counted_by_its_length() -> None:
    text = "So I think aloud, step by step. " * 1700
    cut = within_limits(attempt(text), 16)
    assert cut.text == text[: 16 * MOST_BYTES_A_TOKEN]
    assert cut.finish_reason == "length"
    assert cut.num_tokens == estimate_tokens(len(text))
    assert is_overlong(cut.num_tokens, cut.sampling)
    assert within_limits(cut, 16) == cut


def test_a_text_that_is_only_unlikely_is_counted_and_kept() -> None:
    text = "So I think aloud. " * 20
    kept = within_limits(attempt(text), 16)
    assert (kept.text, kept.finish_reason) == (text, "stop")
    assert kept.num_tokens == estimate_tokens(len(text)) > 16


def test_the_border_between_the_two() -> None:
    most = usual_characters(16)
    fits = ("ab" * most)[:most]
    assert not is_too_long(fits, 16)
    assert is_too_long(fits + "a", 16)


@pytest.mark.parametrize("character", ["a", "é", "界", "🙂"])
def test_a_cut_falls_on_the_border_of_a_character(character: str) -> None:
    text, finish = kept_text("x" + character * 5000, "stop", max_tokens=16)
    size = len(text.encode())
    assert 16 * MOST_BYTES_A_TOKEN - 4 < size <= 16 * MOST_BYTES_A_TOKEN
    assert set(text) <= {"x", character}
    assert finish == "length"


def test_a_text_ends_at_the_first_stop_string() -> None:
    assert kept_text("one\nQ: two\nA: three", "length", max_tokens=16, stop=("A:", "Q:", "")) == ("one\n", "stop")


@pytest.mark.parametrize("finish", ["refused", "error"])
def test_what_was_no_answer_becomes_none_by_being_cut(finish: FinishReason) -> None:
    assert kept_text("long " * 5000, finish, max_tokens=1, stop=("g",))[1] == finish


def test_what_is_kept_is_bounded_and_its_end_is_what_verifiers_look_at() -> None:
    """Only runs of one character come here: anything else of that length was cut before."""
    text = "-" * 100_000 + " #### 8"
    kept = within_limits(attempt(text, max_tokens=1000), 1000)
    left_out = hashlib.sha256(text[:-WINDOW].encode()).hexdigest()
    assert kept.text == f"[{len(text) - WINDOW} characters were left out, sha256:{left_out}]\n{text[-WINDOW:]}"
    assert within_limits(kept, 1000) == kept
    assert kept.num_tokens == 16


def test_a_long_honest_answer_is_kept_whole() -> None:
    text = "A step of the proof. " * 6000
    honest = attempt(text, max_tokens=32_768)
    assert within_limits(honest, 32_768) == honest


def test_listed_tokens_need_no_estimate() -> None:
    listed = attempt(" internationalization" * 16, token_ids=tuple(range(16)))
    assert within_limits(listed, 16) == listed
    assert is_overlong(within_limits(attempt("x", token_ids=tuple(range(40))), 16).num_tokens, Sampling(max_tokens=16))


def test_half_a_surrogate_pair_is_no_stumbling_block() -> None:
    assert kept_text("\ud800" * 9000, "stop", max_tokens=16)[1] == "length"


@pytest.mark.parametrize(
    ("before", "opening"),
    [("<think>\n", "<think>\n"), ("", ""), ("<think>a</think>", ""), ("<think>a</think><think>", "<think>\n")],
)
def test_of_a_long_text_an_open_thought_stays_open(before: str, opening: str) -> None:
    text = before + "so 4. " * 9000
    kept, finish = kept_text(text, "length", max_tokens=1000)
    assert kept.endswith(f"]\n{opening}{text[-WINDOW:]}")
    assert kept_text(kept, finish, max_tokens=1000) == (kept, finish)  # what was cut once stays as it is


@pytest.mark.parametrize("num_cut", range(10))
def test_no_mark_is_cut_in_two(num_cut: int) -> None:
    """The end that is kept would begin so many characters behind the beginning of ``</think>``."""
    end = "</think>" + "x" * (WINDOW - len("</think>") + num_cut)
    kept, _ = kept_text("<think>" + "y" * 9000 + end, "stop", max_tokens=1000)
    shown = kept.partition("]\n")[2]
    assert shown == f"<think>\n{end}" if num_cut < len("</think>") else end[num_cut:]
    assert kept_text(kept, "stop", max_tokens=1000)[0] == kept
