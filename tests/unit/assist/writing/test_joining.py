from __future__ import annotations

import pytest
from fake_subject import FakeSubject

from spiritsafe.assist.writing.joining import in_short, killing_tests, needed_tests, steady_tests


def test_what_is_needless_or_does_not_hold_goes_and_the_rest_was_run() -> None:
    subject = FakeSubject()
    joined = needed_tests(subject, ["test a kills 0 1\ntest b kills 1", "test c fails\ntest d kills 2"])
    assert joined.text == "test a kills 0 1\ntest d kills 2" == subject.examined[-1]
    assert joined.kills.tests == ("a", "d")
    assert (joined.invalid, joined.needless) == ({"c": "it fails: no"}, ["b"])


def test_each_text_stands_alone_where_all_together_do_not() -> None:
    subject = FakeSubject()
    joined = needed_tests(subject, ["test a kills 0", "stuck s kills 0", "test b kills 1", "nonsense"])
    assert joined.kills.tests == ("a", "b")


def test_nothing_is_left_of_nothing() -> None:
    subject = FakeSubject()
    assert needed_tests(subject, []).text == ""
    assert subject.examined == []
    assert needed_tests(subject, ["test a"]).text == ""
    assert needed_tests(subject, ["nonsense"]).text == ""


def test_fickle_tests_are_taken_out_one_after_the_other() -> None:
    subject = FakeSubject()
    steady = steady_tests(subject, "test a kills 1\ntest x flaky\ntest y flaky")
    assert killing_tests(steady.kills) == {"a": {1}}
    assert list(steady.invalid) == ["x", "y"]
    assert len(subject.examined) == 3


def test_a_fickle_test_that_cannot_be_taken_out_leaves_none() -> None:
    subject = FakeSubject()
    steady = steady_tests(subject, "test a kills 1\nstuck x flaky")
    assert steady.kills.valid == []
    assert len(subject.examined) == 2


def test_where_most_are_fickle_none_counts_and_few_runs_are_spent() -> None:
    subject = FakeSubject()
    steady = steady_tests(subject, "\n".join(["test a kills 1", *(f"test x{place} flaky" for place in range(60))]))
    assert steady.kills.valid == []
    assert len(steady.invalid) == 61
    assert len(subject.examined) == 9


def test_reasons_are_one_short_line() -> None:
    assert in_short("a\n  b") == "a b"
    assert len(in_short("x" * 1000)) == 300


@pytest.mark.parametrize("char", ["\u202e", "\u2066", "\u200b", "\u200d", "\ufeff", "\x1b", "\x00", "\u3164", "\ufe0f"])
def test_a_test_in_which_something_cannot_be_seen_is_none(char: str) -> None:
    """As in "Trojan Source" (Boucher and Anderson, 2021): what is read is not what is run."""
    subject = FakeSubject()
    steady = steady_tests(subject, f"test a kills 0\ntest b x{char}y kills 1 2\ntest c kills 1")
    assert steady.text == "test a kills 0\ntest c kills 1" == subject.examined[-1]
    assert steady.invalid == {"b": f"it holds U+{ord(char):04X}, which nobody can see"}
    assert killing_tests(steady.kills) == {"a": {0}, "c": {1}}


def test_what_cannot_be_seen_outside_of_tests_spoils_all_of_them() -> None:
    subject = FakeSubject()
    steady = steady_tests(subject, "import \u202enothing\ntest a kills 0\ntest b kills 1")
    assert {*steady.invalid} == {"a", "b"}
    assert steady.kills.valid == []
    assert needed_tests(subject, ["import \u202enothing\ntest a kills 0"]).text == ""


def test_letters_of_any_script_and_windows_lines_can_be_seen() -> None:
    subject = FakeSubject()
    text = "test a kills 0\r\ntest b kills 1\t\n# שלום é 鐵 ÷ 😀"
    assert steady_tests(subject, text).invalid == {}
