from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch
from heard import Heard
from stranger_models import count_forwards, write_mixtral
from tiny_student import sums_problems, sums_task, teach, tiny_student, worked_documents
from tiny_training import one_thread

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError, IntegrityError, RecipeError
from spiritsafe.core.process.platforms import read_platforms
from spiritsafe.core.records import Problem, Prompt, Sampling, Verdict
from spiritsafe.core.seeds import derive_seed
from spiritsafe.distil.evaluation.teacher_check import teacher_fit
from spiritsafe.distil.losses.divergences import LossMix
from spiritsafe.distil.objective import DistilObjective
from spiritsafe.distil.on_policy import feed as onpolicy
from spiritsafe.distil.on_policy.config import OnPolicyConfig, VerdictWeights
from spiritsafe.distil.on_policy.feed import OnPolicyFeed
from spiritsafe.distil.on_policy.rounds import OWN_ROUNDS, OwnAnswer
from spiritsafe.distil.signal import LiveTeacher, document_key
from spiritsafe.distil.teachers_by_document import TeachersByDocument
from spiritsafe.models.interface.batch import Document, pack_documents
from spiritsafe.models.running.generators.local_generator import LocalGenerator
from spiritsafe.models.sources.resolve import resolve_source
from spiritsafe.models.transformers_backend.loading import LoadedModel, load_model
from spiritsafe.tasks import bucket_of
from spiritsafe.training import TracesObjective, TrainConfig, train
from spiritsafe.training.checkpoints import writer as checkpoint_writer
from spiritsafe.training.data import rounds as round_files
from spiritsafe.training.data.documents import DocumentStore, write_documents
from spiritsafe.training.data.feed import describe_documents
from spiritsafe.training.data.rounds import ROUNDS_FILE, round_path

CONFIG = OnPolicyConfig(
    prompts_per_round=5,
    samples_per_prompt=2,
    steps_per_round=3,
    num_rounds=2,
    share=0.5,
    sampling=Sampling(max_tokens=10),
    cap_start=6,
    seed=11,
)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where tiny models are kept. Read only."""
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def taught(models: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A model whose answers have a form, and end. Read only."""
    loaded = tiny_student(models, seed=5)
    teach(loaded, sums_problems(40), tmp_path_factory.mktemp("taught"), steps=70)
    return loaded


def train_config(config: OnPolicyConfig = CONFIG, **changes: Any) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "learning_rate": 5e-3,
            "tokens_per_step": 1,
            "micro_batch_tokens": 500,
            "max_steps": config.num_steps,
            "compute_dtype": "float32",
            "checkpoint_every_steps": 1,
            "checkpoint_every_s": None,
        }
        | changes
    )


def make_feed(
    student: LoadedModel, directory: Path, config: OnPolicyConfig = CONFIG, *, num_problems: int = 8, **more: Any
) -> OnPolicyFeed:
    problems = sums_problems(num_problems)
    more.setdefault("off_policy", worked_documents(student, problems[:4]))
    return OnPolicyFeed(student, problems, config, train_config(config), directory=directory, **more)


def answers_of(directory: Path, index: int, feed: OnPolicyFeed) -> tuple[OwnAnswer, ...]:
    return OWN_ROUNDS.read(directory, index, feed=feed._digest).answers


def all_steps(feed: OnPolicyFeed, student: LoadedModel) -> list[list[Document]]:
    return [feed.documents_of(step, student.model) for step in range(feed.num_steps)]


# ---- what is served


def test_each_answer_is_served_once_in_its_round_and_the_share_is_exact(models: Path, tmp_path: Path) -> None:
    student = tiny_student(models)
    feed = make_feed(student, tmp_path)
    off_policy = {d.token_ids for d in worked_documents(student, sums_problems(8)[:4])}
    steps = all_steps(feed, student)
    assert (len(steps), [feed.epoch_of(step) for step in range(6)]) == (6, [0, 0, 0, 1, 1, 1])
    num_off = [sum(d.token_ids in off_policy for d in step) for step in steps]
    assert [len(step) - off for step, off in zip(steps, num_off, strict=True)] == [3, 3, 4] * 2
    assert num_off == [3, 3, 4] * 2
    messages = {p.id: p.messages for p in sums_problems()}
    for index in (0, 1):
        written = [
            student.chat.document_from_tokens(messages[a.problem_id], a.token_ids).token_ids
            for a in answers_of(tmp_path, index, feed)
        ]
        served = [d.token_ids for step in steps[3 * index : 3 * index + 3] for d in step]
        assert Counter(served) - Counter(dict.fromkeys(off_policy, 99)) == Counter(written)
    used = Counter(d.token_ids for step in steps for d in step if d.token_ids in off_policy)
    assert sorted(used.values()) == [5, 5, 5, 5]


def test_other_documents_may_be_a_store_and_are_checked_without_a_plan_for_them(models: Path, tmp_path: Path) -> None:
    student = tiny_student(models)
    worked = worked_documents(student, sums_problems(8)[:4])
    store = write_documents(tmp_path / "documents.bin", worked)
    listed, stored = (make_feed(student, tmp_path / str(n), off_policy=d) for n, d in enumerate((worked, store)))
    assert stored.describe() == listed.describe()
    assert stored.describe()["off_policy"] == describe_documents(worked)
    assert all_steps(stored, student) == all_steps(listed, student)
    long = Document(token_ids=(1,) * 501, supervised=(True,) * 501)
    for bad in ([long], DocumentStore.of([long])):
        with pytest.raises(RecipeError, match="501 tokens"):
            make_feed(student, tmp_path / "bad", off_policy=bad)


def test_problems_come_in_turn_and_twice_when_the_pool_is_small(models: Path, tmp_path: Path) -> None:
    student = tiny_student(models)
    config = CONFIG.model_copy(update={"prompts_per_round": 4, "num_rounds": 3, "cap_start": None})
    feed = make_feed(student, tmp_path / "8", config)
    all_steps(feed, student)
    rounds = [Counter(a.problem_id for a in answers_of(tmp_path / "8", index, feed)) for index in range(3)]
    assert set(rounds[0]).isdisjoint(rounds[1])
    assert set(rounds[0]) | set(rounds[1]) == {p.id for p in sums_problems(8)}
    feed = make_feed(student, tmp_path / "3", config, num_problems=3)
    all_steps(feed, student)
    answers = answers_of(tmp_path / "3", 0, feed)
    assert sorted(Counter(a.problem_id for a in answers).values()) == [2, 2, 4]
    assert len({(a.problem_id, a.sample_index) for a in answers}) == 8


def test_an_answer_that_ended_teaches_its_end_and_a_cut_one_does_not(taught: LoadedModel, tmp_path: Path) -> None:
    config = CONFIG.model_copy(
        update={"prompts_per_round": 12, "sampling": Sampling(max_tokens=16), "cap_start": 13, "share": 1.0}
    )
    feed = make_feed(taught, tmp_path, config, off_policy=())
    documents = {d.token_ids: d for step in range(3) for d in feed.documents_of(step, taught.model)}
    messages = {p.id: p.messages for p in sums_problems()}
    finishes = Counter[str]()
    for answer in answers_of(tmp_path, 0, feed):
        prompt = taught.chat.prompt_ids(messages[answer.problem_id])
        document = documents[(*prompt, *answer.token_ids)]
        supervised = [t for t, flag in zip(document.token_ids, document.supervised, strict=True) if flag]
        assert supervised == list(answer.token_ids)
        assert document.supervised[: len(prompt)] == (False,) * len(prompt)
        finishes[answer.finish_reason] += 1
        if answer.finish_reason == "stop":
            assert supervised[-1] in taught.chat.eos_ids
            assert not set(supervised[:-1]) & set(taught.chat.eos_ids)
        else:
            assert len(supervised) == 13
            assert not set(supervised) & set(taught.chat.eos_ids)
    assert finishes["stop"] >= 3
    assert finishes["length"] >= 3


def test_the_student_answers_as_it_is_at_the_start_of_the_round(models: Path, tmp_path: Path) -> None:
    student = tiny_student(models)
    feed = make_feed(student, tmp_path, num_problems=10)

    class Watching:
        """Repeats each round's draw with an engine of its own, and reads its log-probabilities with the trainer."""

        num_steps = feed.num_steps
        repeated = 0

        def describe(self) -> dict[str, JSON]:
            return feed.describe()

        def epoch_of(self, step: int) -> int:
            return feed.epoch_of(step)

        def documents_of(self, step: int, model: Any) -> list[Document]:
            documents = feed.documents_of(step, model)
            if step % 3 == 0:
                self.repeat(step // 3)
            return documents

        def repeat(self, index: int) -> None:
            answers = answers_of(tmp_path, index, feed)
            messages = {p.id: p.messages for p in sums_problems(10)}
            prompts = [
                Prompt(problem_id=i, messages=messages[i], num_samples=2, seed=derive_seed(11, "on-policy", index))
                for i in {a.problem_id for a in answers}
            ]
            sampling = Sampling(max_tokens=CONFIG.cap_of(index))
            drawn = {
                (a.problem_id, a.sample_index): a
                for a in LocalGenerator(student, max_batch=3).generate(prompts, sampling)
            }
            for answer in answers:
                attempt = drawn[answer.problem_id, answer.sample_index]
                assert attempt.token_ids == answer.token_ids
                document = student.chat.document_from_tokens(messages[answer.problem_id], answer.token_ids)
                with torch.no_grad():
                    logits = student.model.head().weight_VH @ student.model(pack_documents([document])).T
                expected = logits.T.log_softmax(1)[attempt.num_prompt_tokens - 1 : -1]
                expected = expected.gather(1, torch.tensor(answer.token_ids)[:, None]).squeeze(1)
                torch.testing.assert_close(torch.tensor(attempt.logprobs), expected, atol=1e-4, rtol=0)
                assert answer.surprisal == pytest.approx(-float(expected.mean()), abs=1e-4)
                self.repeated += 1

    watching = Watching()
    train(student.model, watching, TracesObjective(), train_config(learning_rate=3e-2), directory=tmp_path / "run")
    assert watching.repeated == 20
    first, second = (OWN_ROUNDS.read(tmp_path, index, feed=feed._digest).header for index in (0, 1))
    assert first.weights != second.weights
    assert (first.cap, second.cap) == (6, 10)


def test_what_is_drawn_does_not_depend_on_how_many_are_drawn_at_a_time(taught: LoadedModel, tmp_path: Path) -> None:
    found = []
    for max_batch in (1, 3, 64):
        feed = make_feed(taught, tmp_path / str(max_batch), max_batch=max_batch)
        steps = [[d.token_ids for d in step] for step in all_steps(feed, taught)]
        found.append((feed.describe(), feed._digest, steps))
    assert found[0] == found[1] == found[2]
    other = make_feed(taught, tmp_path / "other", CONFIG.model_copy(update={"seed": 12}))
    assert [[d.token_ids for d in step] for step in all_steps(other, taught)] != found[0][2]


# ---- verdicts


class Arbitrary:
    """A grader whose verdicts follow from the text's bytes, so that all of them occur."""

    name, version = "arbitrary", "1"

    class verifier:
        name, version = "arbitrary", "1"

    def grade(self, problem: Problem, text: str) -> Verdict:
        status: Any = ("correct", "wrong", "unparsed")[sum(text.encode()) % 3]
        return Verdict(status=status, score=float(status == "correct"), verifier="arbitrary", version="1")


def test_the_verdict_weighs_documents_and_a_weight_of_0_drops_them(taught: LoadedModel, tmp_path: Path) -> None:
    weights = VerdictWeights(correct=0.0, wrong=2.0, unparsed=0.5, truncated=0.25)
    changes = {"weights": weights, "prompts_per_round": 12, "sampling": Sampling(max_tokens=16), "cap_start": 13}
    feed = make_feed(taught, tmp_path, CONFIG.model_copy(update=changes), task=Arbitrary())
    served = Counter(
        (d.token_ids, d.weight) for step in range(3) for d in feed.documents_of(step, taught.model) if d.weight != 1.0
    )
    messages = {p.id: p.messages for p in sums_problems()}
    expected, outcomes = Counter[tuple[tuple[int, ...], float]](), Counter[str]()
    for answer in answers_of(tmp_path, 0, feed):
        assert answer.verdict is not None
        outcome = "truncated" if answer.finish_reason == "length" else answer.verdict.status
        outcomes[outcome] += 1
        weight = {"correct": 0.0, "wrong": 2.0, "unparsed": 0.5, "truncated": 0.25}[outcome]
        if weight:
            prompt = taught.chat.prompt_ids(messages[answer.problem_id])
            expected[(*prompt, *answer.token_ids), weight] += 1
    assert served == expected
    assert len(outcomes) == 4, outcomes


def test_a_tasks_own_verdicts_are_recorded_and_reported(taught: LoadedModel, tmp_path: Path) -> None:
    heard: list[dict[str, JSON]] = []

    class Listening:
        def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
            raise AssertionError("nothing here has progress")

        def metrics(self, kind: str, values: dict[str, JSON]) -> None:
            assert kind == "on_policy_round"
            heard.append(values)

    config = CONFIG.model_copy(update={"sampling": Sampling(max_tokens=20), "cap_start": None})
    feed = make_feed(taught, tmp_path, config, task=sums_task(), events=Listening())
    all_steps(feed, taught)
    lines = [json.loads(line) for line in (tmp_path / ROUNDS_FILE).read_text().splitlines()]
    assert lines == heard
    assert [line["round"] for line in lines] == [0, 1]
    by_id = {p.id: p for p in sums_problems()}
    for index, line in enumerate(lines):
        answers = answers_of(tmp_path, index, feed)
        verdicts = [sums_task().grade(by_id[a.problem_id], taught.chat.decode(a.token_ids)) for a in answers]
        assert [a.verdict for a in answers] == verdicts
        assert line["share_correct"] == sum(v.status == "correct" for v in verdicts) / 10
        assert (line["num_off_policy"], line["num_fallback"], line["seconds"] > 0.0) == (10, 0, True)


def test_a_round_of_weightless_answers_falls_back_to_other_documents(models: Path, tmp_path: Path) -> None:
    student = tiny_student(models)  # answers noise, cut at the cap
    config = CONFIG.model_copy(update={"weights": VerdictWeights(truncated=0.0)})
    feed = make_feed(student, tmp_path, config, task=sums_task())
    off_policy = {d.token_ids for d in worked_documents(student, sums_problems(8)[:4])}
    kept = [a for index in (0, 1) for a in answers_after(feed, student, tmp_path, index) if a.is_kept]
    steps = all_steps(feed, student)
    assert len(kept) <= 1
    assert all(steps)
    assert sum(d.token_ids not in off_policy for step in steps for d in step) == len(kept)
    lines = [json.loads(line) for line in (tmp_path / ROUNDS_FILE).read_text().splitlines()]
    assert sum(line["num_fallback"] for line in lines) >= 15


def answers_after(feed: OnPolicyFeed, student: LoadedModel, directory: Path, index: int) -> tuple[OwnAnswer, ...]:
    feed.documents_of(3 * index, student.model)
    return answers_of(directory, index, feed)


# ---- interruptions


def run(models: Path, directory: Path, *, max_batch: int = 64) -> tuple[LoadedModel, OnPolicyFeed]:
    """One sitting: a student is distilled by reverse KL on what it writes."""
    student, teacher = tiny_student(models), tiny_student(models, seed=2)
    feed = make_feed(student, directory / "rounds", task=sums_task(), max_batch=max_batch)
    objective = DistilObjective(LiveTeacher(teacher.model), LossMix(reverse_kl=1.0))
    train(student.model, feed, objective, train_config(), directory=directory / "run")
    return student, feed


class Killed(BaseException):
    """What no handler may catch."""


def kill_at(moment: int, calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Die at the ``moment``-th of all calls that draw, write or save; ``calls`` remembers which they were."""

    def watched(module: Any, name: str) -> None:
        real = getattr(module, name)

        def call(*args: Any, **more: Any) -> Any:
            calls.append(name)
            if len(calls) == moment:
                raise Killed
            return real(*args, **more)

        monkeypatch.setattr(module, name, call)

    watched(onpolicy, "grade_attempt")
    watched(onpolicy, "record_round")
    watched(round_files, "write_sealed_lines")
    watched(checkpoint_writer, "snapshot")


def test_killed_and_resumed_equals_unbroken_bit_for_bit(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    with monkeypatch.context() as patch:
        kill_at(-1, calls, patch)
        unbroken, feed = run(models, tmp_path / "unbroken")
    one_round = ["grade_attempt"] * 10 + ["write_sealed_lines", "record_round"] + ["snapshot"] * 3
    assert calls == one_round * 2
    expected = [answers_of(tmp_path / "unbroken/rounds", index, feed) for index in (0, 1)]
    # In the second round: while answering, before its statistics, between checkpoints; and anywhere in the first.
    for moment in (18, 27, 29, Random(os.urandom(8)).randint(1, 15)):
        directory = tmp_path / str(moment)
        with monkeypatch.context() as patch:
            kill_at(moment, [], patch)
            with pytest.raises(Killed):
                run(models, directory)
        rounds = directory / "rounds"
        before = {path.name: path.read_bytes() for path in rounds.glob("round-*.jsonl")}
        assert len(before) == calls[: moment - 1].count("write_sealed_lines"), moment
        resumed, again = run(models, directory)
        # What was finished is read, not drawn again: its seconds are still the first sitting's.
        assert all((rounds / name).read_bytes() == content for name, content in before.items())
        assert [answers_of(rounds, index, again) for index in (0, 1)] == expected, moment
        assert all(
            torch.equal(p, q) for p, q in zip(unbroken.model.parameters(), resumed.model.parameters(), strict=True)
        ), moment
        lines = [json.loads(line) for line in (rounds / ROUNDS_FILE).read_text().splitlines()]
        assert [line["round"] for line in lines] == [0, 1]


def test_a_damaged_or_missing_round_stops_a_resumed_run_by_name(models: Path, tmp_path: Path) -> None:
    student = tiny_student(models)
    make_feed(student, tmp_path).documents_of(0, student.model)
    path = round_path(tmp_path, 0)
    whole = path.read_bytes()
    path.write_bytes(whole.replace(b"token_ids", b"token_idz", 1))
    with pytest.raises(IntegrityError, match=r"round-00000.jsonl is damaged"):
        make_feed(student, tmp_path).documents_of(1, student.model)
    path.unlink()
    with pytest.raises(IntegrityError, match=r"round-00000.jsonl is missing"):
        make_feed(student, tmp_path).documents_of(1, student.model)
    path.write_bytes(whole)
    make_feed(student, tmp_path).documents_of(1, student.model)
    other = CONFIG.model_copy(update={"seed": 1})
    with pytest.raises(IntegrityError, match="another run"):
        make_feed(student, tmp_path, other).documents_of(0, student.model)
    stranger = replace(student, model=tiny_student(models, seed=2).model)
    with pytest.raises(IntegrityError, match="another run"):
        make_feed(stranger, tmp_path).documents_of(0, stranger.model)


def test_a_round_of_other_weights_is_drawn_again(models: Path, tmp_path: Path) -> None:
    student = tiny_student(models)
    feed = make_feed(student, tmp_path)
    feed.documents_of(0, student.model)
    path = round_path(tmp_path, 0)
    before = path.read_bytes()
    again = make_feed(student, tmp_path)
    again.documents_of(0, student.model)
    assert path.read_bytes() == before
    with torch.no_grad():
        next(student.model.parameters()).mul_(1.5)
    fresh = make_feed(tiny_student(models), tmp_path)
    fresh.documents_of(0, student.model)
    assert path.read_bytes() != before


# ---- teachers and the whole


def test_each_problem_has_its_teacher_whatever_the_student_answers(models: Path, tmp_path: Path) -> None:
    student, problems = tiny_student(models), sums_problems()
    chat, teacher = student.chat, LiveTeacher(tiny_student(models, seed=2).model)
    prompts = {document_key(chat.prompt_ids(p.messages)): "odd" if bucket_of(p) % 2 else "even" for p in problems}
    assert set(prompts.values()) == {"odd", "even"}
    feed = make_feed(student, tmp_path)
    documents = [document for step in range(3) for document in feed.documents_of(step, student.model)]
    mix, batch = LossMix(jsd=1.0), pack_documents(documents)
    teachers = TeachersByDocument({"even": teacher, "odd": teacher}, prompts=prompts)
    result = DistilObjective(teachers, mix)(student.model, batch, 100.0)
    alone = DistilObjective(teacher, mix)(student.model, batch, 100.0)
    assert float(result.loss) == pytest.approx(float(alone.loss), rel=1e-5)
    missing = TeachersByDocument(
        {"even": teacher}, prompts={key: name for key, name in prompts.items() if name == "even"}
    )
    with pytest.raises(CompatibilityError, match="has no teacher"):
        DistilObjective(missing, mix)(student.model, batch, 100.0)


def test_reverse_kl_on_its_own_samples_brings_the_student_to_the_teacher(
    taught: LoadedModel, models: Path, tmp_path: Path
) -> None:
    student, problems = tiny_student(models, seed=8), sums_problems(30)
    teach(student, problems, tmp_path / "warm", steps=25)
    sampling = Sampling(max_tokens=14)
    config = OnPolicyConfig(prompts_per_round=24, steps_per_round=2, num_rounds=12, share=1.0, sampling=sampling)
    feed = OnPolicyFeed(student, problems, config, train_config(config), directory=tmp_path / "rounds")
    objective = DistilObjective(LiveTeacher(taught.model), LossMix(reverse_kl=1.0))
    before = teacher_fit(taught.model, student, problems, sampling=sampling, seed=99)
    result = train(
        student.model,
        feed,
        objective,
        train_config(config, learning_rate=5e-3, checkpoint_every_steps=None),
        directory=tmp_path / "run",
    )
    after = teacher_fit(taught.model, student, problems, sampling=sampling, seed=99)
    assert after.reverse_kl < 0.75 * before.reverse_kl
    assert after.teacher_logprob > before.teacher_logprob
    assert result.curve[-1]["reverse_kl"] < 0.75 * result.curve[0]["reverse_kl"]


# ---- refusals


@pytest.mark.parametrize(
    ("changes", "more", "message"),
    [
        ({}, {"off_policy": ()}, "no off-policy documents for the rest"),
        ({"weights": VerdictWeights(wrong=2.0)}, {}, "need a task"),
        (
            {"weights": VerdictWeights(correct=0.0), "share": 1.0},
            {"task": sums_task(), "off_policy": ()},
            "Weights of 0 may leave a step without",
        ),
        ({"num_rounds": 3}, {"train_config": train_config()}, "make 9 steps"),
        ({}, {"train_config": train_config(max_epochs=1)}, "sets other limits"),
        ({"sampling": Sampling(max_tokens=450)}, {}, "micro_batch_tokens is 500"),
        ({"sampling": Sampling(max_tokens=300)}, {}, "the model's context is 256"),
        ({}, {"problems": []}, "no problem"),
        ({}, {"problems": sums_problems(2) * 2}, "in the pool twice"),
        ({}, {"problems": list(sums_task().problems("dev", seed=0, count=2))}, "of the dev bucket"),
    ],
)
def test_what_does_not_fit_together_is_refused_at_once(
    changes: dict[str, Any], more: dict[str, Any], message: str, models: Path, tmp_path: Path
) -> None:
    student = tiny_student(models)
    config = CONFIG.model_copy(update=changes)
    given: dict[str, Any] = {
        "problems": sums_problems(),
        "train_config": train_config(config),
        "off_policy": worked_documents(student, sums_problems(4)),
    } | more
    problems, training = given.pop("problems"), given.pop("train_config")
    with pytest.raises((RecipeError, CompatibilityError), match=message):
        OnPolicyFeed(student, problems, config, training, directory=tmp_path, **given)
    assert not list(tmp_path.iterdir())


def test_a_model_that_transformers_runs_computes_each_token_of_its_answers_once(tmp_path: Path) -> None:
    source = resolve_source(str(write_mixtral(tmp_path / "m")), cache=tmp_path / "cache")
    student = load_model(source, dtype=torch.float32)
    feed = make_feed(student, tmp_path / "rounds")
    computed = count_forwards(student.model)
    feed.documents_of(0, student.model)
    longest = max(len(student.chat.prompt_ids(p.messages)) for p in sums_problems(8))
    num_answers = CONFIG.prompts_per_round * CONFIG.samples_per_prompt
    assert 0 < sum(computed) <= num_answers * (longest + CONFIG.sampling.max_tokens)
    computed.clear()
    teacher_fit(student.model, student, sums_problems(8), sampling=Sampling(max_tokens=10), seed=1, topk=4)
    # drawn once, then read once by the teacher and once by the student
    assert 0 < sum(computed) <= 3 * 8 * (longest + 10)


def test_rounds_that_another_platform_began_are_told(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    student, heard = tiny_student(models), Heard()
    for _ in range(2):
        make_feed(student, tmp_path, events=heard).documents_of(0, student.model)
    assert heard.warnings == []
    (here,) = read_platforms(tmp_path)
    assert here is not None
    elsewhere = here.model_copy(update={"processor": "Another"})
    monkeypatch.setattr(round_files, "this_platform", lambda device, dtype: elsewhere)
    make_feed(student, tmp_path, events=heard).documents_of(0, student.model)
    assert len(heard.warnings) == 1
    assert "Another" in heard.warnings[0]
