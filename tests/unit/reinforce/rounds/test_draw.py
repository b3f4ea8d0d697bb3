from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import templates_parts
from reinforce_parts import CONFIG, Arbitrary, config
from tiny_student import sums_problems, tiny_student

from spiritsafe.core.errors import EndpointError
from spiritsafe.core.generator import GeneratorInfo
from spiritsafe.core.records import Attempt, FinishReason, Prompt, Sampling
from spiritsafe.core.seeds import SEED_BITS, derive_seed
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.running.generators.local_generator import LocalGenerator
from spiritsafe.models.transformers_backend.loading import LoadedModel
from spiritsafe.reinforce.rewards import RewardConfig
from spiritsafe.reinforce.rounds.draw import Drawer, tokens_of
from spiritsafe.rollouts import FakeGenerator, FakeReply

PROBLEMS = {problem.id: problem for problem in sums_problems(6)}
IDS = list(PROBLEMS)


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return tiny_student(tmp_path_factory.mktemp("models"))


@pytest.fixture(scope="module")
def chat(student: LoadedModel) -> ChatFormat:
    return student.chat


def attempt(
    text: str, *, finish: FinishReason = "stop", ids: Sequence[int] = (), logprobs: Sequence[float] = ()
) -> Attempt:
    return Attempt(
        problem_id="p",
        sample_index=0,
        model="m",
        sampling=Sampling(),
        seed=0,
        text=text,
        finish_reason=finish,
        token_ids=tuple(ids),
        logprobs=tuple(logprobs),
    )


# ---- tokens of a foreign source


def test_texts_of_models_that_think_are_learnt_behind_their_prompt(tmp_path: Path) -> None:
    r1 = ChatFormat(templates_parts.r1(tmp_path / "r1"))
    plain = tuple(r1.text_ids("hm</think>4"))
    for text in ("<think>\nhm</think>4", "hm</think>4"):  # with the mark that the prompt opens, and without
        assert tokens_of(attempt(text, ids=(*plain, r1.end_id)), r1, max_tokens=99)[0] == (*plain, r1.end_id)
        assert tokens_of(attempt(text), r1, max_tokens=99)[0] == (*plain, r1.end_id)
    harmony = ChatFormat(templates_parts.harmony(tmp_path / "harmony"))
    drawn = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>4<|return|>"
    ids = tuple(harmony.text_ids(drawn))
    assert tokens_of(attempt("<think>hm</think>4", ids=ids), harmony, max_tokens=99)[0] == ids
    assert tokens_of(attempt("<think>hm</think>4"), harmony, max_tokens=99)[0] == ids


def test_ids_that_spell_the_text_are_taken_with_their_logprobs(chat: ChatFormat) -> None:
    ids = (*chat.completion_ids("1+2=3"), chat.end_id)
    logprobs = tuple(-0.1 * number for number in range(len(ids)))
    assert tokens_of(attempt("1+2=3", ids=ids, logprobs=logprobs), chat, max_tokens=20) == (ids, logprobs)
    cut = attempt("1+2", finish="length", ids=ids[:3], logprobs=logprobs[:3])
    assert tokens_of(cut, chat, max_tokens=20) == (ids[:3], logprobs[:3])


def test_ids_of_another_vocabulary_are_not(chat: ChatFormat) -> None:
    ours = (*chat.completion_ids("abc"), chat.end_id)
    for foreign in ((*b"abc", 256), (5, 6, 7), (chat.vocab_size + 3,)):
        assert tokens_of(attempt("abc", ids=foreign), chat, max_tokens=20) == (ours, ())


def test_a_text_is_encoded_with_an_end_only_if_it_ended(chat: ChatFormat) -> None:
    letters = tuple(chat.completion_ids("abc"))
    assert tokens_of(attempt("abc"), chat, max_tokens=20) == ((*letters, chat.end_id), ())
    assert tokens_of(attempt("abc", finish="length"), chat, max_tokens=20) == (letters, ())
    assert tokens_of(attempt(""), chat, max_tokens=20) == ((chat.end_id,), ())
    assert tokens_of(attempt("", finish="length"), chat, max_tokens=20) == ((), ())


@pytest.mark.parametrize(("num", "is_known"), [(4, True), (3, False), (5, False), (0, False)])
def test_logprobs_without_ids_are_taken_when_they_are_as_many_as_tokens(
    chat: ChatFormat, num: int, is_known: bool
) -> None:
    given = tuple(-0.5 - number for number in range(num))
    _, found = tokens_of(attempt("abc", logprobs=given), chat, max_tokens=20)
    assert found == (given if is_known else ())


def test_what_the_policy_could_not_have_drawn_is_left_out(chat: ChatFormat) -> None:
    for finish in ("error", "refused"):
        assert tokens_of(attempt("abc", finish=finish), chat, max_tokens=20) == ((), ())
    assert tokens_of(attempt("abcdef"), chat, max_tokens=6) == ((), ())
    assert len(tokens_of(attempt("abcdef"), chat, max_tokens=7)[0]) == 7


# ---- drawing


def test_the_engines_answers_are_its_own_tokens_graded_and_rewarded(student: LoadedModel) -> None:
    drawer = Drawer(PROBLEMS, CONFIG, student.chat, Arbitrary())
    drawn = drawer.draw(LocalGenerator(student, max_batch=5), IDS[:3], 2)
    assert [(a.problem_id, a.sample_index) for a in drawn.answers] == [(i, s) for i in IDS[:3] for s in range(4)]
    prompts = [
        Prompt(problem_id=i, messages=PROBLEMS[i].messages, num_samples=4, seed=derive_seed(7, "reinforce", 2))
        for i in IDS[:3]
    ]
    expected = {(a.problem_id, a.sample_index): a for a in LocalGenerator(student).generate(prompts, CONFIG.sampling)}
    for answer in drawn.answers:
        attempt = expected[answer.problem_id, answer.sample_index]
        assert (answer.text, answer.token_ids) == (attempt.text, attempt.token_ids)
        assert answer.logprobs == pytest.approx(attempt.logprobs, abs=1e-4)
        assert answer.verdict == Arbitrary().grade(PROBLEMS[answer.problem_id], attempt.text)
        if attempt.finish_reason == "length":
            assert answer.reward == 0.0


def test_each_round_and_each_problem_has_draws_of_its_own_whatever_the_company(student: LoadedModel) -> None:
    drawer = Drawer(PROBLEMS, CONFIG, student.chat, Arbitrary())
    engine = LocalGenerator(student)
    together = drawer.draw(engine, IDS, 0).answers
    alone = [answer for i in reversed(IDS) for answer in drawer.draw(engine, [i], 0).answers]
    assert {(a.problem_id, a.sample_index, a.token_ids) for a in together} == {
        (a.problem_id, a.sample_index, a.token_ids) for a in alone
    }
    later = drawer.draw(engine, IDS, 1).answers
    assert not {a.token_ids for a in together} & {a.token_ids for a in later}
    assert drawer.draw(engine, [], 0).answers == ()


def test_a_coins_seed_is_the_attempts_own(student: LoadedModel) -> None:
    of = config(reward=RewardConfig(kind="random"))
    answers = Drawer(PROBLEMS, of, student.chat, Arbitrary()).draw(LocalGenerator(student), IDS, 3).answers
    for answer in answers:
        coin = derive_seed(7, "coin", 3, answer.problem_id, answer.sample_index) / 2**SEED_BITS
        assert answer.reward == float(coin < 0.5)
    assert {answer.reward for answer in answers} == {0.0, 1.0}


def test_a_foreign_sources_failures_are_left_out(student: LoadedModel) -> None:
    def reply(problem_id: str, sample: int) -> str | FakeReply:
        kinds: list[str | FakeReply] = [
            "abc",
            FakeReply(text="ab", finish_reason="length"),
            FakeReply(finish_reason="refused"),
            FakeReply(finish_reason="error", error="gone"),
        ]
        return kinds[sample]

    drawer = Drawer(PROBLEMS, CONFIG, student.chat, Arbitrary(("correct",)), is_foreign=True)
    answers = drawer.draw(FakeGenerator(reply), IDS[:1], 0).answers
    assert [a.reward for a in answers] == [1.0, 0.0, None, None]
    assert [student.chat.decode(a.token_ids) for a in answers] == ["abc", "ab", "", ""]
    assert answers[0].token_ids[-1] == student.chat.end_id
    # as many as tokens, the fake's end token included
    assert [len(a.logprobs) for a in answers] == [4, 2, 0, 0]
    assert [a.verdict.status for a in answers] == ["correct", "correct", "correct", "unscored"]


class Lying:
    """Loses an attempt, gives one twice, or one of a problem that nobody asked."""

    def __init__(self, what: str) -> None:
        self.what = what
        self._fake = FakeGenerator(lambda problem_id, sample: "abc")

    def describe(self) -> GeneratorInfo:
        return self._fake.describe()

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> Iterator[Attempt]:
        attempts = list(self._fake.generate(prompts, sampling))
        yield from attempts[self.what == "loses" :]
        if self.what == "repeats":
            yield attempts[0]
        elif self.what == "invents":
            yield attempts[0].model_copy(update={"problem_id": "sha256:other"})

    def score(self, *_: Any) -> list[tuple[float, ...]]:
        raise AssertionError("nobody asks")

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("loses", "1 too few"),
        ("repeats", "sample 0, that was not asked for"),
        ("invents", "one at sha256:other, sample 0, that was not asked for"),
    ],
)
def test_a_source_that_gives_other_answers_than_asked_for_is_unusable(
    student: LoadedModel, what: str, message: str
) -> None:
    drawer = Drawer(PROBLEMS, CONFIG, student.chat, Arbitrary(), is_foreign=True)
    with pytest.raises(EndpointError, match=message):
        drawer.draw(Lying(what), IDS[:1], 0)
