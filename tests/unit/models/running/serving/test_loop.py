"""Jobs through the loop, against a session whose draws are written beforehand."""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from queue import Empty
from typing import Any

import pytest
import templates_parts
from scripted_session import ScriptedSession

from spiritsafe.core.errors import NumericalError
from spiritsafe.core.records import Message
from spiritsafe.core.serving import Accepted, AnswerPiece, Ended, Failed, Job, ServedModel
from spiritsafe.models.chat.format import ChatFormat
from spiritsafe.models.chat.grammars.masks import Grammars
from spiritsafe.models.running.engine.request import Drawn, SequenceRequest
from spiritsafe.models.running.serving.intake import Intake, Order
from spiritsafe.models.running.serving.loop import ServingLoop
from spiritsafe.models.running.serving.preparation import JobPreparer, PreparedJob
from spiritsafe.models.running.serving.running import RunningJob, TokenTeller
from spiritsafe.models.running.serving.token_text import TokenText

CONTEXT = 200
MODEL = ServedModel(name="m", digest="sha256:0", kind="weights", context=CONTEXT, max_prompt_bytes=99, vocab_size=9)
HI = Message(role="user", content="hi")
RECORDS = {"accepted": Accepted, "piece": AnswerPiece, "ended": Ended, "failed": Failed}


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> ChatFormat:
    return ChatFormat(templates_parts.chatml(tmp_path_factory.mktemp("chatml")))


class Orders:
    """A queue that closes the loop when it would wait."""

    def __init__(self) -> None:
        self._orders: deque[Order] = deque()

    def put(self, order: Order) -> None:
        self._orders.append(order)

    def get(self, block: bool = True) -> Order:
        if self._orders:
            return self._orders.popleft()
        if block:
            return Order("close")
        raise Empty


class Served:
    """A loop in this thread, which ends when it would wait for more."""

    def __init__(self, chat: ChatFormat, session: ScriptedSession) -> None:
        tokens = TokenText(chat.fast, frozenset(chat.special_tokens.values()))
        preparer = JobPreparer(chat, tokens, Grammars(chat, chat.vocab_size), context=CONTEXT)
        teller = TokenTeller(tokens)
        self.replies = io.BytesIO()
        self.intake = Intake([], preparer.prepare, preparer.prompt_ids)
        self.intake.orders = Orders()  # type: ignore[assignment]

        def running(prepared: PreparedJob) -> RunningJob:
            return RunningJob(prepared, tokens, teller)

        self.loop = ServingLoop(lambda: session, MODEL, self.intake, running, self.replies)

    def ask(self, *requests: dict[str, Any] | bytes) -> None:
        """Read and prepare."""
        self.read(*requests)
        self.prepare()

    def read(self, *requests: dict[str, Any] | bytes) -> None:
        for request in requests:
            self.intake._sort(request if isinstance(request, bytes) else json.dumps(request).encode())

    def prepare(self) -> None:
        self.intake._asked.put(None)
        self.intake._work()

    def answers(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.replies.getvalue().splitlines()]

    def events(self) -> dict[int, list[Any]]:
        found: dict[int, list[Any]] = {}
        for answer in self.answers():
            for job_id, name, value in answer.get("events", []):
                value = RECORDS[name].model_validate(value) if name in RECORDS else (name, value)
                found.setdefault(job_id, []).append(value)
        return found


def run_job(job_id: int, **job: Any) -> dict[str, Any]:
    return {"op": "run", "id": job_id, "job": Job.model_validate({"messages": (HI,), **job}).to_json()}


def all_of(chat: ChatFormat, session: ScriptedSession, *requests: dict[str, Any] | bytes) -> dict[int, list[Any]]:
    """What all are told."""
    served = Served(chat, session)
    served.ask(*requests)
    served.loop.run()
    return served.events()


def says(chat: ChatFormat, text: str, *, end: bool = True) -> Callable[[SequenceRequest], Sequence[int]]:
    ids = chat.text_ids(text) + ([chat.end_id] if end else [])
    return lambda request: ids


def text_of(events: Sequence[Any]) -> str:
    return "".join(part.text for event in events if isinstance(event, AnswerPiece) for part in event.parts)


def test_an_answer_is_told_as_it_grows(chat: ChatFormat) -> None:
    session = ScriptedSession(says(chat, "né!"))
    events = all_of(chat, session, run_job(7))[7]
    prompt = chat.prompt_ids([HI])
    assert events[0] == Accepted(num_prompt_tokens=len(prompt), num_cached=3)
    assert [event.parts[0].text for event in events[1:-1]] == ["n", "é", "!"]
    assert [event.num_tokens for event in events[1:-1]] == [1, 2, 1]
    assert events[-1] == Ended(reason="stop", num_tokens=5)
    (request,) = session.requests
    assert request.prompt_ids == tuple(prompt)
    assert request.max_tokens == CONTEXT - len(prompt)
    assert request.end_ids == frozenset(chat.eos_ids)


@pytest.mark.parametrize("stride", [1, 3, 50])
def test_a_stop_string_ends_it_and_frees_its_slot(chat: ChatFormat, stride: int) -> None:
    session = ScriptedSession(says(chat, "one END two"), stride=stride)
    events = all_of(chat, session, run_job(1, stop=("END", "zwei")))[1]
    assert text_of(events) == "one "
    assert events[-1] == Ended(reason="stop", num_tokens=7, stop="END")
    assert session.cancelled == [1]


def test_what_was_held_back_is_told_at_the_end(chat: ChatFormat) -> None:
    events = all_of(chat, ScriptedSession(says(chat, "one EN")), run_job(1, stop=("END",), max_tokens=6))[1]
    assert text_of(events) == "one EN"
    assert events[-1] == Ended(reason="length", num_tokens=6)


def test_log_probabilities_are_of_the_tokens_that_are_text(chat: ChatFormat) -> None:
    events = all_of(chat, ScriptedSession(says(chat, "é")), run_job(1, top_logprobs=2))[1]
    tokens = [token for event in events if isinstance(event, AnswerPiece) for token in event.tokens]
    assert [token.drawn.bytes for token in tokens] == [(0xC3,), (0xA9,)]
    assert [token.drawn.text for token in tokens] == ["�", "�"]
    assert [[one.logprob for one in token.top] for token in tokens] == [[-0.5, -1.5]] * 2
    assert events[-1].num_tokens == 3


def test_a_ping_is_answered_between_two_steps(chat: ChatFormat) -> None:
    served = Served(chat, ScriptedSession(says(chat, "abc")))
    served.ask(run_job(7))
    served.loop._take_orders()
    served.loop._step()
    served.loop._flush()
    served.ask({"op": "ping"})
    served.loop.run()
    assert [list(answer) for answer in served.answers()] == [["events"], ["pong"], *[["events"]] * 3]
    assert served.events()[7][-1] == Ended(reason="stop", num_tokens=4)


def test_the_first_job_waits_a_moment_for_others_and_later_ones_do_not(
    chat: ChatFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight who ask at once are computed at once; who comes while others are drawn is taken between two steps."""
    session = ScriptedSession(says(chat, "abc"))
    served = Served(chat, session)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        served.ask(run_job(8))

    monkeypatch.setattr("spiritsafe.models.running.serving.loop.time.sleep", sleep)
    served.ask(run_job(7))
    served.loop._take_orders()
    assert len(session.requests) == 2
    served.ask(run_job(9))
    served.loop._take_orders()
    assert len(session.requests) == 3
    assert len(waited) == 1
    assert waited[0] < 0.05
    served.loop.run()
    assert {events[-1].num_tokens for events in served.events().values()} == {4}


def test_a_prompt_is_echoed_and_scored(chat: ChatFormat) -> None:
    session = ScriptedSession(says(chat, "c", end=False))
    job = {"messages": (), "text": "ab", "echo": True, "top_logprobs": 1, "max_tokens": 1}
    nothing = {**job, "max_tokens": 0, "top_logprobs": None}
    events = all_of(chat, session, run_job(1, **job), run_job(2, **nothing))
    tokens = [token for event in events[1] if isinstance(event, AnswerPiece) for token in event.tokens]
    assert text_of(events[1]) == "abc"
    assert [(token.drawn.text, token.drawn.logprob) for token in tokens] == [("a", None), ("b", -0.25), ("c", -0.5)]
    assert [len(token.top) for token in tokens] == [0, 1, 1]
    assert sum(event.num_tokens for event in events[1] if isinstance(event, AnswerPiece)) == 1
    assert events[2] == [
        Accepted(num_prompt_tokens=2),
        AnswerPiece.model_validate({"parts": [{"kind": "text", "text": "ab"}], "num_tokens": 0}),
        Ended(reason="length", num_tokens=0),
    ]
    assert len(session.requests) == 1


SCORED = {"messages": (), "text": "abcdef", "echo": True, "top_logprobs": 0}


def test_others_are_drawn_between_the_parts_of_a_prompt_that_is_scored(chat: ChatFormat) -> None:
    served = Served(chat, ScriptedSession(says(chat, "0123456789" * 2)))
    served.ask(run_job(1, **SCORED, max_tokens=0), run_job(2, **SCORED, max_tokens=1), run_job(3))
    served.loop.run()
    told = [[job_id for job_id, *_ in answer["events"]] for answer in served.answers()]
    assert sum(ids == [3] for ids in told[1:11]) >= 9, "it is told of a token each step"
    ends = [next(place for place, ids in enumerate(told) if job_id in ids) for job_id in (1, 2)]
    assert ends[0] < ends[1] < len(told) - 1, "prompts are scored in their order"
    events = served.events()
    for job_id, num_drawn in ((1, 0), (2, 1)):
        tokens = [token for event in events[job_id] if isinstance(event, AnswerPiece) for token in event.tokens]
        assert [token.drawn.text for token in tokens][:6] == list("abcdef")
        assert len(tokens) == 6 + num_drawn
        assert events[job_id][-1] == Ended(reason="length", num_tokens=num_drawn)


def test_a_prompt_whose_asker_hangs_up_is_not_scored_further(chat: ChatFormat) -> None:
    session = ScriptedSession(says(chat, "0123456789" * 2))
    served = Served(chat, session)
    score, computed = session.score, list[int]()

    def counting(token_ids: tuple[int, ...], top_logprobs: int) -> Iterator[Drawn]:
        for part in score(token_ids, top_logprobs):
            computed.append(len(token_ids))
            yield part

    session.score = counting  # type: ignore[method-assign]
    stepping(session, 3, lambda: served.ask({"op": "cancel", "id": 1}, {"op": "cancel", "id": 2}))
    served.ask(run_job(1, **SCORED), run_job(2, **SCORED), run_job(3), run_job(4, **{**SCORED, "text": "ab"}))
    served.loop.run()
    assert computed == [6, 6, 6, 2], "three parts beside three steps, then who comes next"
    assert set(served.events()) == {3, 4}


def test_a_prompt_that_cannot_be_scored_is_its_own_failure(chat: ChatFormat) -> None:
    session = ScriptedSession(says(chat, "ok"))
    score = session.score

    def failing(token_ids: tuple[int, ...], top_logprobs: int) -> Iterator[Drawn]:
        yield from score(token_ids[:2], top_logprobs)
        if len(token_ids) == 6:
            raise NumericalError("no room", hint="shorten it")

    session.score = failing  # type: ignore[method-assign]
    other = {**SCORED, "text": "ab"}
    events = all_of(chat, session, run_job(1, **SCORED), run_job(2, **other), run_job(3))
    assert events[1] == [Failed(fault="model", message="no room", hint="shorten it")]
    assert (text_of(events[2]), text_of(events[3])) == ("abok", "ok")


def test_a_session_that_failed_while_it_only_scored_is_opened_anew(chat: ChatFormat) -> None:
    session, second = ScriptedSession(says(chat, "ok")), ScriptedSession(says(chat, "ok"))

    def failing(token_ids: tuple[int, ...], top_logprobs: int) -> Iterator[Drawn]:
        yield from ()
        raise NumericalError("the process ended", hint="ask again")

    session.score = failing  # type: ignore[method-assign]
    served = Served(chat, session)
    served.loop._open_session = lambda: second
    served.ask(run_job(1, **SCORED))
    served.loop.run()
    assert served.events()[1] == [Failed(fault="model", message="the process ended", hint="ask again")]
    assert served.loop._session is second


def test_end_tokens_that_end_nothing_are_never_drawn(chat: ChatFormat) -> None:
    session = ScriptedSession(says(chat, "abc", end=False))
    all_of(chat, session, run_job(1, ignore_end=True, logit_bias=((5, 2.0), (chat.end_id, 9.0))))
    (request,) = session.requests
    assert request.end_ids == frozenset()
    assert dict(request.bias) == {5: 2.0} | dict.fromkeys(chat.eos_ids, float("-inf"))


def test_what_cannot_be_had_is_refused_and_the_others_go_on(chat: ChatFormat) -> None:
    hostile: dict[str, tuple[dict[str, Any], str, str]] = {
        "10 MB": (
            {"messages": (Message(role="user", content="x" * 10_000_000),)},
            "messages",
            "context_length_exceeded",
        ),
        "too long": ({"text": "x" * 201, "messages": ()}, "text", "context_length_exceeded"),
        "full": ({"text": "x" * 200, "messages": ()}, "text", "context_length_exceeded"),
        "unknown": ({"token_ids": (5, 10**6), "messages": ()}, "token_ids", "invalid"),
        "negative": ({"token_ids": (-1,), "messages": ()}, "token_ids", "invalid"),
        "nothing": ({"text": "", "messages": ()}, "text", "invalid"),
        "half a character": ({"text": "\ud83d", "messages": ()}, "text", "invalid"),
        "bias": ({"logit_bias": ((10**6, 1.0),)}, "logit_bias", "invalid"),
        "bias twice": ({"logit_bias": ((5, 1.0), (5, 2.0))}, "logit_bias", "invalid"),
        "stops": ({"stop": ("x",) * 65}, "stop", "invalid"),
        "long stop": ({"stop": ("x" * 5000,)}, "stop", "invalid"),
    }
    requests = [run_job(place, **job) for place, (job, _, _) in enumerate(hostile.values())]
    good = run_job(100)
    session = ScriptedSession(says(chat, "fine"))
    events = all_of(chat, session, *requests, good)
    for place, (what, (_, param, code)) in enumerate(hostile.items()):
        (failed,) = events[place]
        assert (failed.fault, failed.param, failed.code) == ("asker", param, code), what
        assert failed.hint
    assert "bytes" in events[0][0].message
    assert "201 tokens" in events[1][0].message
    assert text_of(events[100]) == "fine"


def test_lines_that_are_no_requests_are_answered_and_the_others_go_on(chat: ChatFormat) -> None:
    served = Served(chat, ScriptedSession(says(chat, "fine")))
    served.ask(b"{half", b"[1]", {"op": "fly"}, {"op": "run", "id": "x"}, {"op": "describe"})
    served.ask({"op": "cancel", "id": 44}, {"op": "close"})
    served.loop.run()
    answers = served.answers()
    assert [set(answer) for answer in answers] == [{"error"}] * 4 + [{"described"}]
    assert ServedModel.model_validate(answers[-1]["described"]) == MODEL


def test_what_is_asked_in_a_wrong_form_names_the_field(chat: ChatFormat) -> None:
    events = all_of(
        chat,
        ScriptedSession(says(chat, "")),
        {"op": "run", "id": 1, "job": {"text": 5}},
        {"op": "run", "id": 2, "job": {"text": "a", "sing": 1}},
        {"op": "count", "id": 3, "job": {"text": "abc"}},
        {"op": "count", "id": 4, "job": {"token_ids": [10**7]}},
    )
    assert [(events[n][0].fault, events[n][0].param) for n in (1, 2, 4)] == [
        ("asker", "text"),
        ("asker", "sing"),
        ("asker", "token_ids"),
    ]
    assert events[3] == [("count", {"num_tokens": 3})]


def stepping(session: ScriptedSession, at: int, do: Callable[[], None]) -> list[int]:
    """Do something in the middle of a step; gives the handles that are drawn, in their order."""
    step, seen = session.step, list[int]()

    def doing() -> Any:
        if session.num_steps + 1 == at:
            do()
        drawn = step()
        seen.extend(one.handle for one in drawn)
        return drawn

    session.step = doing  # type: ignore[method-assign]
    return seen


def test_a_cancelled_job_frees_its_slot_within_a_step(chat: ChatFormat) -> None:
    session = ScriptedSession(lambda request: [9] * 50, num_slots=1)
    served = Served(chat, session)
    seen = stepping(session, 3, lambda: served.ask({"op": "cancel", "id": 1}, {"op": "cancel", "id": 3}))
    served.ask(run_job(1), run_job(2, max_tokens=2), run_job(3))
    served.loop.run()
    assert seen == [1, 1, 1, 2, 2]
    events = served.events()
    assert [type(event) for event in events[1]] == [Accepted, AnswerPiece, AnswerPiece, AnswerPiece]
    assert events[2][-1] == Ended(reason="length", num_tokens=2)
    assert 3 not in events


def test_a_job_that_is_cancelled_before_it_is_prepared_is_not(
    chat: ChatFormat, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Served(chat, ScriptedSession(says(chat, "x")))
    monkeypatch.setattr(served.intake, "_prepare", lambda job: pytest.fail("it is prepared"))
    served.read(run_job(1), {"op": "cancel", "id": 1})
    served.loop.run()  # follows the cancellation, and would wait
    served.prepare()
    served.loop.run()
    assert served.events() == {}
    assert not served.intake.cancel(1)


def test_a_step_that_fails_is_told_to_all_and_the_next_ones_are_answered(chat: ChatFormat) -> None:
    session = ScriptedSession(says(chat, "ok"))
    session.fails.append(NumericalError("no numbers", hint="go back"))
    served = Served(chat, session)
    stepping(session, 1, lambda: served.ask(run_job(3)))
    served.ask(run_job(1), run_job(2, **SCORED))  # which is scored by what has failed
    served.loop.run()
    events = served.events()
    told = Failed(fault="model", message="no numbers", hint="go back")
    assert events[1] == events[2] == [told]
    assert text_of(events[3]) == "ok"


def test_a_session_that_fails_again_and_again_ends_the_process(chat: ChatFormat) -> None:
    session = ScriptedSession(says(chat, "ok"))
    session.fails.extend([NumericalError("broken", hint="go back")] * 3)
    served = Served(chat, session)
    stepping(session, 1, lambda: served.ask(run_job(1)))
    stepping(session, 2, lambda: served.ask(run_job(2)))
    served.ask(run_job(0))
    with pytest.raises(NumericalError, match="broken"):
        served.loop.run()
    assert [events[0].message for events in served.events().values()] == ["broken"] * 3


@pytest.mark.parametrize("where", ["begin", "take"])
def test_a_job_that_fails_alone_is_its_own(where: str, chat: ChatFormat, monkeypatch: pytest.MonkeyPatch) -> None:
    session = ScriptedSession(says(chat, "ok"))
    served = Served(chat, session)
    make, made = served.loop._run_job, list[RunningJob]()

    def making(prepared: PreparedJob) -> RunningJob:
        made.append(make(prepared))
        if len(made) == 1:
            if where == "begin":
                raise KeyError("oops")
            made[0]._text.take = lambda token: {}["oops"]  # type: ignore[method-assign, assignment]
        return made[-1]

    monkeypatch.setattr(served.loop, "_run_job", making)
    served.ask(run_job(1), run_job(2))
    served.loop.run()
    events = served.events()
    assert (events[1][-1].fault, events[1][-1].code, text_of(events[2])) == ("model", "failed", "ok")
    assert session.num_busy == 0


def test_a_step_is_told_in_one_line_however_many_jobs_there_are(chat: ChatFormat) -> None:
    served = Served(chat, ScriptedSession(lambda request: [9] * 30))
    served.ask(*[run_job(place) for place in range(64)])
    served.loop.run()
    assert [len(answer["events"]) for answer in served.answers()] == [128, *[64] * 28, 128]
