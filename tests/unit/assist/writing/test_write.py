from __future__ import annotations

import pytest
from fake_subject import FakeSubject, answer
from scripted_generator import Scripted

from spiritsafe.assist.writing.report import TestsReport
from spiritsafe.assist.writing.write import Written, write_tests
from spiritsafe.core.canonical import digest_bytes
from spiritsafe.core.records import Attempt, Prompt, Sampling

SAMPLING = Sampling(max_tokens=10_000_000)


def written(
    subject: FakeSubject, *answers: str, most: int = 6, sampling: Sampling = SAMPLING
) -> tuple[Written, list[str]]:
    """What comes of these answers; afterwards the last one is given again and again. And the questions."""
    questions: list[str] = []

    def mind(prompt: Prompt) -> str:
        questions.append(prompt.messages[-1].content)
        return answers[min(len(questions), len(answers)) - 1]

    return write_tests(subject, Scripted(mind), most_questions=most, sampling=sampling), questions


def kept(report: TestsReport) -> list[str]:
    return [test.name for test in report.kept]


def test_it_asks_until_nothing_survives_and_keeps_what_is_needed() -> None:
    subject = FakeSubject()
    done, questions = written(
        subject,
        answer("test a kills 0 1", "test b kills 1", "test c fails", "test d"),
        answer("test e kills 2 3", "test f kills 4 5"),
    )
    assert len(questions) == 2
    assert kept(done.report) == ["a", "e", "f"]
    assert done.text == "test a kills 0 1\ntest e kills 2 3\ntest f kills 4 5"
    assert subject.examined[-1] == done.text  # what is written was run as it is
    assert (done.report.killed, done.report.survivors, done.report.mutants, done.report.same) == (6, (), 6, 3)
    assert [(one.name, one.question, one.reason) for one in done.report.invalid] == [("c", 1, "it fails: no")]
    assert [(one.name, one.question) for one in done.report.redundant] == [("b", 1), ("d", 1)]
    assert done.report.kept[0].kills == ("L2 number: 0 -> 99", "L6 number: 1 -> 99")
    assert (done.report.sandbox, done.report.coverage, done.report.model) == ("fake", 0.6, "scripted")
    assert done.report.source_digest == digest_bytes(subject.source.encode())
    assert [(one.tests, one.valid, one.gained) for one in done.report.rounds] == [(4, 3, 2), (2, 2, 4)]
    assert done.report.cost.questions == 2
    assert done.report.cost.tokens_in == 20
    assert done.report.cost.tokens_out == sum(one.cost.tokens_out for one in done.report.rounds) > 0
    assert TestsReport.from_json(done.report.to_json()) == done.report


def test_the_next_question_tells_what_came_of_the_last() -> None:
    subject = FakeSubject()
    _, questions = written(subject, answer("test a kills 0 1 2", "test c fails"), answer("test b kills 3 4 5"))
    assert "A test is a line." in questions[0]
    assert subject.source.strip() in questions[0]
    assert "No test notices" not in questions[0]
    assert "there are already" not in questions[0]
    assert "do not write them again: a." in questions[1]
    assert "- c: it fails: no" in questions[1]
    assert "No test notices 3 faults yet" in questions[1]
    for mutant in subject.mutants:
        assert (mutant.describe in questions[1]) == (mutant.line > 10)


def test_each_kept_test_alone_notices_something() -> None:
    done, _ = written(
        FakeSubject(), answer("test a kills 0 1 2 3", "test b kills 0 1 4", "test c kills 2 3 5"), answer("test d")
    )
    assert kept(done.report) == ["b", "c"]
    assert all(test.alone and set(test.alone) <= set(test.kills) for test in done.report.kept)
    assert done.report.kept[0].alone == ("L2 number: 0 -> 99", "L6 number: 1 -> 99", "L18 number: 4 -> 99")


def test_no_more_is_asked_than_was_allowed() -> None:
    answers = [answer(f"test t{number} kills {number}") for number in range(6)]
    done, questions = written(FakeSubject(), *answers, most=4)
    assert len(questions) == 4
    assert kept(done.report) == ["t0", "t1", "t2", "t3"]
    assert done.report.survivors == ("L18 number: 4 -> 99", "L22 number: 5 -> 99")


def test_two_answers_without_gain_end_it() -> None:
    lazy = answer("test a kills 0")
    subject = FakeSubject()
    done, questions = written(subject, lazy, most=50)
    assert len(questions) == 3
    assert len(subject.examined) == 2  # what was said three times is run once, and the file that is written
    assert kept(done.report) == ["a"]


@pytest.mark.parametrize(
    ("hostile", "outcome", "told"),
    [
        ("", "no code", "it has no block of code with tests"),
        ("I will not.", "no code", "it has no block of code with tests"),
        ("```python\n```", "no code", "it has no block of code with tests"),
        ("<think>for ever", "no code", "it has no block of code with tests"),
        (answer("test a kills 0").replace("test a", "test a" + " " * 200_000), "too long", "it has more than"),
        ("```python\nnonsense test\n```", "broken", "it is nonsense"),
        ("```python\n\ud800 test \x00\n```", "broken", "there are no tests"),
    ],
)
def test_an_answer_that_is_none_is_told_and_asked_for_again(hostile: str, outcome: str, told: str) -> None:
    done, questions = written(FakeSubject(), hostile, answer("test a kills 0 1 2 3 4 5"))
    assert [one.outcome for one in done.report.rounds] == [outcome, "examined"]
    assert told in done.report.rounds[0].told
    assert f"could not be used: {done.report.rounds[0].told}" in questions[1]
    assert kept(done.report) == ["a"]


def test_a_model_that_gives_nothing_leaves_nothing() -> None:
    class Failing(Scripted):
        def generate(self, prompts, sampling):  # type: ignore[no-untyped-def]
            for attempt in super().generate(prompts, sampling):
                yield Attempt.from_json({**attempt.to_json(), "finish_reason": "error", "error": "500\nsorry"})

    done = write_tests(FakeSubject(), Failing(lambda _: answer("test a kills 0")), most_questions=9, sampling=SAMPLING)
    assert done.text == ""
    assert [(one.outcome, one.told) for one in done.report.rounds] == [("no answer", "500 sorry")] * 2
    assert (done.report.killed, len(done.report.survivors), done.report.kept) == (0, 6, ())


def test_an_answer_that_was_cut_is_used_as_far_as_it_goes_and_told() -> None:
    whole = answer("test a kills 0 1", "test b kills 2 3 4 5").removesuffix("\n```\n")
    done, questions = written(FakeSubject(), whole, sampling=Sampling(max_tokens=whole.index("test b")))
    assert kept(done.report) == ["a"]
    assert "it was too long and was cut off; write fewer tests" in questions[1]


def test_a_test_that_passes_by_chance_takes_no_other_with_it() -> None:
    done, questions = written(
        FakeSubject(), answer("test a kills 0 1 2", "test x flaky kills 5", "test y flaky", "test b kills 3 4 5")
    )
    assert kept(done.report) == ["a", "b"]
    assert [one.name for one in done.report.invalid] == ["x", "y"]
    assert {one.reason for one in done.report.invalid} == {"it passes and fails on the same code: 1 != 2"}
    assert len(questions) == 1


def test_what_cannot_be_taken_apart_is_left_out_and_nothing_hangs() -> None:
    done, _ = written(
        FakeSubject(),
        answer("test a kills 0 1", "stuck s", "test z kills 0"),
        answer("test b kills 2 3"),
        answer("stuck s2 flaky kills 4", "test c kills 4"),
        answer("test d kills 4"),
    )
    assert kept(done.report) == ["b", "d"]


def test_tests_with_one_name_are_both_kept() -> None:
    done, _ = written(FakeSubject(), answer("test a kills 0 1"), answer("test a kills 2 3 4 5"))
    assert kept(done.report) == ["a", "a_1"]


def test_what_does_not_hold_beside_the_others_is_left_out() -> None:
    class Jealous(FakeSubject):
        def examine(self, tests: str):  # type: ignore[no-untyped-def]
            if "test j" in tests and "test a" in tests:
                tests = tests.replace("test j kills", "test j fails kills")
            return super().examine(tests)

    done, _ = written(Jealous(), answer("test a kills 0 1"), answer("test j kills 2"), answer("test b kills 3 4 5"))
    assert kept(done.report) == ["a", "b"]
    assert [(one.name, one.question) for one in done.report.invalid] == [("j", 0)]


def test_nothing_to_notice_needs_no_question() -> None:
    done, questions = written(FakeSubject(mutants=()), "")
    assert (questions, done.text, done.report.mutants) == ([], "", 0)
