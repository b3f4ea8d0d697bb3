from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_endpoint import Answer as Reply
from fake_endpoint import FakeEndpoint, HttpReply, chat_body
from heard import Heard
from reinforce_parts import CONFIG, Arbitrary, config, train_config
from stranger_models import count_forwards, write_mixtral
from tiny_student import sums_problems, tiny_student
from tiny_training import one_thread

from spiritsafe.core.errors import CompatibilityError, EndpointError, IntegrityError, RecipeError
from spiritsafe.core.process.platforms import read_platforms
from spiritsafe.core.records import Problem, Sampling
from spiritsafe.models.interface.batch import Document, pack_documents
from spiritsafe.models.interface.language_model import LanguageModel
from spiritsafe.models.sources.resolve import resolve_source
from spiritsafe.models.transformers_backend.loading import LoadedModel, load_model
from spiritsafe.reinforce.config import ReinforceConfig
from spiritsafe.reinforce.feed import RolloutFeed
from spiritsafe.reinforce.loss.policy_loss import PolicyLoss
from spiritsafe.reinforce.pool import PromptPool
from spiritsafe.reinforce.rounds.store import ROUNDS, PolicyRound
from spiritsafe.rollouts import FakeGenerator, RemoteConfig, RemoteGenerator
from spiritsafe.training.data import rounds as round_files
from spiritsafe.training.data.rounds import round_path

PROBLEMS = sums_problems(16)


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture
def student(models: Path) -> LoadedModel:
    return tiny_student(models)


def make_feed(
    student: LoadedModel,
    directory: Path,
    of: ReinforceConfig = CONFIG,
    *,
    task: Any = None,
    problems: Sequence[Problem] = PROBLEMS,
    **more: Any,
) -> RolloutFeed:
    return RolloutFeed(
        student, task or Arbitrary(), problems, graded(of), train_config(of), directory=directory, **more
    )


def graded(of: ReinforceConfig) -> ReinforceConfig:
    """Noise runs into the limit of tokens; here it may earn something all the same."""
    return of.model_copy(update={"reward": of.reward.model_copy(update={"grades_truncated": True})})


def rounds_of(directory: Path, feed: RolloutFeed, count: int) -> list[PolicyRound]:
    return [ROUNDS.read(directory, index, feed=feed._digest) for index in range(count)]


def all_steps(feed: RolloutFeed, student: LoadedModel) -> list[list[Document]]:
    return [feed.documents_of(step, student.model) for step in range(feed.num_steps)]


def key(document: Document) -> tuple[tuple[int, ...], float]:
    assert document.drawn is not None
    return document.token_ids, document.drawn.advantage


# ---- what is served


def test_only_groups_with_an_advantage_are_served_and_the_others_replaced(student: LoadedModel, tmp_path: Path) -> None:
    feed = make_feed(student, tmp_path, task=Arbitrary(("correct", *["wrong"] * 6)))
    steps = all_steps(feed, student)
    assert [feed.epoch_of(step) for step in range(6)] == [0, 0, 1, 1, 2, 2]
    prompts = {p.id: tuple(student.chat.prompt_ids(p.messages)) for p in PROBLEMS}
    num_refilled = 0
    for index, round_ in enumerate(rounds_of(tmp_path, feed, 3)):
        taught = [g for g in round_.groups if len({a.reward for a in g}) > 1]
        expected = {
            ((*prompts[a.problem_id], *a.token_ids), float(a.reward or 0.0) - sum(b.reward or 0.0 for b in g) / 4)
            for g in taught[:4]
            for a in g
        }
        served = {key(d) for step in steps[2 * index : 2 * index + 2] for d in step}
        assert served == expected
        draws = round_.header.draws
        assert sum(draws) == len(round_.groups) == len({g[0].problem_id for g in round_.groups})
        assert draws[0] == 4
        # it asked again as long as it had too few, and no longer
        kept = [sum(g in taught for g in round_.groups[: sum(draws[: n + 1])]) for n in range(len(draws))]
        assert all(count < 4 for count in kept[:-1])
        assert kept[-1] >= 4 or len(draws) == 3
        num_refilled += len(draws) > 1
    assert num_refilled


def test_a_model_that_transformers_runs_answers_with_a_cache_and_its_present_weights(tmp_path: Path) -> None:
    source = resolve_source(str(write_mixtral(tmp_path / "m", initializer_range=0.3)), cache=tmp_path / "cache")
    loaded = load_model(source, dtype=torch.float32)
    with torch.no_grad():
        for parameter in loaded.model.parameters():  # no longer what its directory holds
            parameter.mul_(1.1)
    of = config(sampling=Sampling(max_tokens=14), num_rounds=1)
    feed = make_feed(loaded, tmp_path / "rounds", of)
    computed = count_forwards(loaded.model)
    feed.documents_of(0, loaded.model)
    answers = rounds_of(tmp_path / "rounds", feed, 1)[0].answers
    prompts = {p.id: tuple(loaded.chat.prompt_ids(p.messages)) for p in PROBLEMS}
    # drawn once; read once more for the log-probabilities before the round's first update
    assert sum(computed) <= 2 * sum(len(prompts[a.problem_id]) + 16 for a in answers) * 1.2
    loaded.model.eval()
    for answer in answers[:4]:
        ids = (*prompts[answer.problem_id], *answer.token_ids)
        with torch.no_grad():
            hidden_NH = loaded.model(pack_documents([Document(token_ids=ids, supervised=(False,) * len(ids))]))
            logprobs = (hidden_NH @ loaded.model.head().weight_VH.T).log_softmax(-1)
        first = len(ids) - len(answer.token_ids)
        expected = [float(logprobs[first - 1 + i, token]) for i, token in enumerate(answer.token_ids)]
        assert answer.logprobs == pytest.approx(expected, abs=1e-3)


def test_logprobs_are_those_of_the_weights_in_training(student: LoadedModel, tmp_path: Path) -> None:
    of = config(sampling=Sampling(temperature=1.3, max_tokens=14), loss=PolicyLoss(method="dapo", temperature=1.3))
    documents = [d for step in all_steps(make_feed(student, tmp_path, of), student)[:2] for d in step]
    assert documents
    for document in documents:
        with torch.no_grad():
            logits = (student.model(pack_documents([document])) @ student.model.head().weight_VH.T) / 1.3
        targets = torch.tensor(document.token_ids[1:])
        all_of_them = logits[:-1].log_softmax(1).gather(1, targets[:, None]).squeeze(1)
        expected = all_of_them[torch.tensor(document.supervised[1:])]
        assert document.drawn is not None
        torch.testing.assert_close(torch.tensor(document.drawn.logprobs), expected, atol=1e-4, rtol=0)


def test_what_is_drawn_does_not_depend_on_how_many_are_drawn_at_a_time(student: LoadedModel, tmp_path: Path) -> None:
    found = []
    for max_batch in (1, 3, 64):
        feed = make_feed(student, tmp_path / str(max_batch), max_batch=max_batch)
        found.append((feed.describe(), feed._digest, [[key(d) for d in s] for s in all_steps(feed, student)]))
    assert found[0] == found[1] == found[2]
    other = make_feed(student, tmp_path / "other", config(seed=8))
    assert [[key(d) for d in s] for s in all_steps(other, student)] != found[0][2]


def test_a_refill_asks_for_what_is_missing_as_far_as_the_pool_goes(student: LoadedModel, tmp_path: Path) -> None:
    hopeless = FakeGenerator(lambda problem_id, sample: "no")
    of = config(refills=9, num_rounds=8)
    feed = make_feed(student, tmp_path, of, task=Arbitrary(("wrong",)), generator=hopeless, problems=PROBLEMS[:10])
    assert feed.documents_of(0, student.model) == []
    assert rounds_of(tmp_path, feed, 1)[0].header.draws == (4, 4, 2)
    # a third are right: once two of four groups teach, as many are asked as will probably bring the other two
    half = FakeGenerator(lambda problem_id, sample: "right" if int(problem_id[-1], 16) % 2 and sample else "wrong")
    rated = Rated()
    feed = make_feed(student, tmp_path / "half", config(refills=9), task=rated, generator=half)
    feed.documents_of(0, student.model)
    (round_,) = rounds_of(tmp_path / "half", feed, 1)
    num_kept = 0
    for number, asked in enumerate(round_.header.draws):
        before = sum(round_.header.draws[:number])
        if number:
            assert asked == min(4, 16 - before, -(-(4 - num_kept) * (before + 2) // (num_kept + 1)))
        num_kept = sum(len({a.reward for a in g}) > 1 for g in round_.groups[: before + asked])
    assert len(round_.header.draws) > 1
    assert num_kept >= 4


class Rated(Arbitrary):
    def grade(self, problem: Problem, text: str) -> Any:
        return Arbitrary(("correct",) if text == "right" else ("wrong",)).grade(problem, text)


def test_which_problems_come_follows_from_the_rounds_before(student: LoadedModel, tmp_path: Path) -> None:
    measured = {p.id: 0.0 for p in PROBLEMS[:5]}
    feed = make_feed(student, tmp_path, measured=measured)
    all_steps(feed, student)
    pool = PromptPool([p.id for p in PROBLEMS], CONFIG.pool, seed=7, measured=measured, num_measured=4)
    before = ""
    for round_ in rounds_of(tmp_path, feed, 3):
        first = round_.header.draws[0]
        assert [g[0].problem_id for g in round_.groups[:first]] == pool.choose(first)
        pool.learn(round_.header.outcomes)
        assert round_.header.before == before
        before = round_.header.content_digest


# ---- interruptions


def test_a_later_sitting_reads_what_is_there_and_goes_on(student: LoadedModel, tmp_path: Path) -> None:
    unbroken = [[key(d) for d in step] for step in all_steps(make_feed(student, tmp_path / "a"), student)]
    for first in range(6):
        directory = tmp_path / f"from-{first}"
        one = make_feed(student, directory)
        for step in range(first):
            one.documents_of(step, student.model)
        before = {path.name: path.read_bytes() for path in directory.glob("round-*")}
        another = make_feed(student, directory)
        assert [[key(d) for d in another.documents_of(s, student.model)] for s in range(first, 6)] == unbroken[first:]
        assert all((directory / name).read_bytes() == content for name, content in before.items())
        rows = [json.loads(line) for line in (directory / "rounds.jsonl").read_text().splitlines()]
        assert [row["round"] for row in rows] == [0, 1, 2]


def test_a_damaged_missing_or_foreign_round_stops_a_resumed_run_by_name(student: LoadedModel, tmp_path: Path) -> None:
    feed = make_feed(student, tmp_path)
    for step in range(3):
        feed.documents_of(step, student.model)
    for index, steps in ((0, (1, 2, 3)), (1, (3,))):
        path = round_path(tmp_path, index)
        whole = path.read_bytes()
        path.write_bytes(whole.replace(b'"draws"', b'"drawz"', 1))
        for step in steps:
            with pytest.raises(IntegrityError, match=f"round-0000{index}.jsonl is damaged"):
                make_feed(student, tmp_path).documents_of(step, student.model)
        path.unlink()
        with pytest.raises(IntegrityError, match=f"round-0000{index}.jsonl is missing"):
            make_feed(student, tmp_path).documents_of(steps[-1], student.model)
        path.write_bytes(whole)
    with pytest.raises(IntegrityError, match="belongs to another run"):
        make_feed(student, tmp_path, config(seed=8)).documents_of(2, student.model)
    make_feed(student, tmp_path).documents_of(3, student.model)


def test_a_resumed_run_reads_headers_of_rounds_that_are_over_and_finds_one_that_does_not_belong(
    student: LoadedModel, tmp_path: Path
) -> None:
    feed = make_feed(student, tmp_path)
    all_steps(feed, student)
    expected = [key(d) for d in make_feed(student, tmp_path).documents_of(5, student.model)]
    old = round_path(tmp_path, 0)
    whole = old.read_bytes()
    start = whole.index(b"\n", whole.index(b"\n") + 1)
    old.write_bytes(whole[:start] + b"\nanswers that nobody needs any more")
    assert [key(d) for d in make_feed(student, tmp_path).documents_of(5, student.model)] == expected
    old.write_bytes(whole)
    broken = ROUNDS.read(tmp_path, 1, feed=feed._digest)
    ROUNDS.write(tmp_path, PolicyRound(broken.header.model_copy(update={"before": "sha256:other"}), broken.answers))
    with pytest.raises(IntegrityError, match=r"round-00001.jsonl does not follow the round before it"):
        make_feed(student, tmp_path).documents_of(5, student.model)


def test_rounds_of_other_weights_are_drawn_again_and_those_after_them(models: Path, tmp_path: Path) -> None:
    student = tiny_student(models)
    all_steps(make_feed(student, tmp_path), student)
    before = [round_path(tmp_path, index).read_bytes() for index in range(3)]
    with torch.no_grad():
        next(student.model.parameters()).mul_(1.5)
    # the weights that the run starts with are the same, those at its first round are not
    fresh = make_feed(tiny_student(models), tmp_path)
    fresh.documents_of(0, student.model)
    assert round_path(tmp_path, 0).read_bytes() != before[0]
    with pytest.raises(IntegrityError, match=r"round-00001.jsonl does not follow the round before it"):
        make_feed(tiny_student(models), tmp_path).documents_of(3, student.model)
    fresh.documents_of(1, student.model)
    fresh.documents_of(2, tiny_student(models).model)  # these weights are as they were; the round before is not
    assert round_path(tmp_path, 1).read_bytes() != before[1]


def test_alarms_may_be_set_otherwise_in_a_later_sitting(student: LoadedModel, tmp_path: Path) -> None:
    of = config(alarms={"stop_on": ["entropy_collapse"], "least_entropy": 20.0})
    feed = make_feed(student, tmp_path, of)
    assert feed.end_step == 6
    feed.documents_of(0, student.model)
    assert (feed.end_step, feed.num_steps) == (2, 6)
    assert make_feed(student, tmp_path, of).end_step == 2
    lenient = make_feed(student, tmp_path)
    assert lenient.end_step == 6
    assert lenient.documents_of(2, student.model)


# ---- other sources


def test_a_server_is_published_to_before_each_round_or_grows_stale(student: LoadedModel, tmp_path: Path) -> None:
    published: list[tuple[int, bool]] = []

    def publish(model: LanguageModel, index: int) -> None:
        published.append((index, model is student.model))

    golds = {p.id: "right" for p in PROBLEMS}
    generator = FakeGenerator.share_correct(golds, 0.5, wrong="wrong")
    feed = make_feed(student, tmp_path / "a", task=Rated(), generator=generator, publish=publish)
    steps = all_steps(feed, student)
    assert published == [(0, True), (1, True), (2, True)]
    assert [row["staleness"] for row in feed.log.rows] == [0, 0, 0]
    assert {
        student.chat.decode([t for t, f in zip(d.token_ids, d.supervised, strict=True) if f]) for d in steps[0]
    } == {
        "right",
        "wrong",
    }
    make_feed(student, tmp_path / "a", task=Rated(), generator=generator, publish=publish).documents_of(
        3, student.model
    )
    assert len(published) == 3
    stale = make_feed(student, tmp_path / "b", task=Rated(), generator=generator)
    all_steps(stale, student)
    assert [row["staleness"] for row in stale.log.rows] == [0, 2, 4]


@pytest.mark.parametrize("gives", [True, False])
def test_an_endpoints_texts_are_learnt_from(
    student: LoadedModel, tmp_path: Path, gives: bool, fake_endpoint: Callable[[Reply], FakeEndpoint]
) -> None:
    def reply(body: dict[str, Any]) -> HttpReply:
        text = "right" if body["seed"] % 2 else "wrong"
        listed = {"content": [{"token": t, "logprob": -0.25} for t in (*text, "<end>")]} if gives else None
        return HttpReply(body=chat_body(text, logprobs=listed, usage={"prompt_tokens": 9, "completion_tokens": 6}))

    endpoint = fake_endpoint(reply)
    loss = PolicyLoss(method="dapo", truncation=2.0 if gives else None)
    with RemoteGenerator(endpoint.url, "policy", config=RemoteConfig(logprobs=gives)) as generator:
        feed = make_feed(student, tmp_path, config(loss=loss), task=Rated(), generator=generator)
        documents = [d for step in (0, 1) for d in feed.documents_of(step, student.model)]
    assert len(documents) == 16
    words = {(*student.chat.completion_ids(word), student.chat.end_id): word for word in ("right", "wrong")}
    for document in documents:
        assert document.drawn is not None
        drawn = tuple(t for t, flag in zip(document.token_ids, document.supervised, strict=True) if flag)
        assert (document.drawn.advantage > 0) == (words[drawn] == "right")
        assert document.drawn.logprobs == ((-0.25,) * 6 if gives else ())
    asked = {(r.body["messages"][0]["content"], r.body["seed"]) for r in endpoint.requests}
    assert len(asked) == len(endpoint.requests)


def test_an_endpoint_that_is_gone_says_so(student: LoadedModel, tmp_path: Path) -> None:
    with RemoteGenerator("http://127.0.0.1:9", "policy", config=RemoteConfig(max_tries=1)) as generator:
        feed = make_feed(student, tmp_path, generator=generator)
        with pytest.raises(EndpointError):
            feed.documents_of(0, student.model)


# ---- nothing to learn


def test_rounds_without_advantage_are_empty_and_at_last_an_error(student: LoadedModel, tmp_path: Path) -> None:
    solved = FakeGenerator(lambda problem_id, sample: "right")
    of = config(num_rounds=9, refills=0)
    feed = make_feed(student, tmp_path, of, task=Rated(), generator=solved)
    assert [feed.documents_of(step, student.model) for step in range(8)] == [[]] * 8
    with pytest.raises(RecipeError, match="None of the 5 rounds") as error:
        feed.documents_of(8, student.model)
    assert "solved" in error.value.hint


def test_a_pool_that_taught_something_ends_the_run_in_peace(student: LoadedModel, tmp_path: Path) -> None:
    asked: list[int] = []

    def reply(problem_id: str, sample: int) -> str:
        asked.append(sample)
        return "right" if len(asked) > 16 or sample else "wrong"

    of = config(num_rounds=30, refills=0)
    feed = make_feed(student, tmp_path, of, task=Rated(), generator=FakeGenerator(reply))
    for step in range(12):
        assert bool(feed.documents_of(step, student.model)) == (step < 2)
    assert feed.end_step == 12
    assert [alarm.name for alarm in feed.log.alarms] == ["no_advantage", "pool_spent"]


def test_rounds_that_another_platform_began_are_told(
    student: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = Heard()
    make_feed(student, tmp_path, events=heard).documents_of(0, student.model)
    make_feed(student, tmp_path, events=heard).documents_of(0, student.model)
    assert heard.warnings == []
    (here,) = read_platforms(tmp_path)
    assert here is not None
    elsewhere = here.model_copy(update={"processor": "Another"})
    monkeypatch.setattr(round_files, "this_platform", lambda device, dtype: elsewhere)
    make_feed(student, tmp_path, events=heard).documents_of(0, student.model)
    assert len(heard.warnings) == 1
    assert "Another" in heard.warnings[0]
    half = here.model_copy(update={"compute_dtype": "bfloat16"})
    monkeypatch.setattr(round_files, "this_platform", lambda device, dtype: half)
    with pytest.raises(CompatibilityError, match="begun in float32"):
        make_feed(student, tmp_path).documents_of(0, student.model)
