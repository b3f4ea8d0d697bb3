from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from architectures import loaded_decoder
from torch import Tensor

from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.running.engine.cached_runner import CachedRunner
from spiritsafe.models.running.engine.kv_cache import KVCache
from spiritsafe.models.running.engine.plain_runner import PlainRunner
from spiritsafe.models.running.engine.request import Drawn, SequenceRequest, Session
from spiritsafe.models.running.engine.runner import Runner
from spiritsafe.models.running.engine.session import EngineSession

CONTEXT = 256
Opened = Callable[..., EngineSession]


@pytest.fixture
def model(tiny_directory: Path) -> Decoder:
    opened = loaded_decoder(tiny_directory).model
    assert isinstance(opened, Decoder)
    return opened


@pytest.fixture
def open_session(model: Decoder) -> Opened:
    def opened(*, num_slots: int = 4, runner: Runner | None = None, **options: Any) -> EngineSession:
        runner = runner or CachedRunner(model)
        runner.begin(num_slots, 16)  # it grows
        return EngineSession(runner, num_slots=num_slots, max_context=CONTEXT, **options)

    return opened


def some_requests(count: int = 12, seed: int = 0) -> list[SequenceRequest]:
    rng = random.Random(seed)
    common = tuple(rng.randrange(3, 90) for _ in range(20))
    hows = [
        {},
        {"temperature": 0.0},
        {"temperature": 0.7, "top_k": 5},
        {"top_p": 0.6},
        {"min_p": 0.2, "top_logprobs": 2},
        {"repetition_penalty": 1.3, "frequency_penalty": 0.4},
        {"bias": {7: 4.0, 8: -100.0}, "presence_penalty": 1.0},
    ]
    return [
        SequenceRequest(
            prompt_ids=(*common[: rng.randrange(21)], *(rng.randrange(3, 90) for _ in range(rng.randrange(1, 30)))),
            max_tokens=rng.randrange(1, 30),
            seed=rng.randrange(1 << 40),
            end_ids=frozenset(rng.sample(range(256), 12)),
            cache_key=rng.choice([None, "a", "b"]),
            **hows[index % len(hows)],  # type: ignore[arg-type]  # of many types
        )
        for index in range(count)
    ]


def run(session: EngineSession, requests: list[SequenceRequest]) -> dict[int, tuple[list[int], list[float], str]]:
    """What each request drew, by its place."""
    places = {session.submit(request): place for place, request in enumerate(requests)}
    out: dict[int, tuple[list[int], list[float], str]] = {place: ([], [], "") for place in places.values()}
    while session.num_busy or session.num_waiting:
        for drawn in session.step():
            ids, logprobs, _ = out[places[drawn.handle]]
            ids.extend(drawn.token_ids)
            logprobs.extend(drawn.logprobs)
            out[places[drawn.handle]] = (ids, logprobs, drawn.end or "")
    return out


def test_it_is_a_session(open_session: Opened) -> None:
    session: Session = open_session()
    assert (session.num_busy, session.num_waiting, session.step()) == (0, 0, [])


def test_each_sequence_is_drawn_in_its_own_way_whoever_is_beside_it(model: Decoder, open_session: Opened) -> None:
    requests = some_requests()
    alone = {}
    for place, request in enumerate(requests):
        alone[place] = run(open_session(runner=PlainRunner(model), num_slots=1), [request])[0]
    together = run(open_session(num_slots=5, prefill_tokens=16), requests)
    assert {ids_end[2] for ids_end in together.values()} == {"stop", "length"}
    for place, (ids, logprobs, end) in together.items():
        assert (ids, end) == (alone[place][0], alone[place][2]), requests[place]
        assert logprobs == pytest.approx(alone[place][1], abs=1e-3)


def test_the_same_text_with_guesses_and_without(open_session: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []
    original = CachedRunner.advance_drafts

    def spy(self: CachedRunner, lengths: list[int], drafts: list[list[int]]) -> object:
        readings = original(self, lengths, drafts)
        taken.extend(len(reading.token_ids) for reading in readings)
        return readings

    monkeypatch.setattr(CachedRunner, "advance_drafts", spy)
    repeating = (5, 6, 7, 8, 9, 10, 11) * 4
    requests = [
        SequenceRequest(prompt_ids=(*repeating, 5 + n), max_tokens=60, seed=n, temperature=how, end_ids=frozenset({2}))
        for n, how in enumerate((0.0, 1.0, 0.02))
    ]
    guessed, plain = run(open_session(drafts=True), requests), run(open_session(), requests)
    for place, (ids, logprobs, end) in plain.items():
        assert (guessed[place][0], guessed[place][2]) == (ids, end)
        assert guessed[place][1] == pytest.approx(logprobs, abs=1e-3)
    assert max(taken) > 1, "nothing was confirmed"
    taken.clear()
    run(open_session(drafts=True), [replace(request, bias={5: 6.0}) for request in requests])
    assert not taken, "guesses are confirmed without extras only"


def test_who_leaves_makes_room_at_once(open_session: Opened) -> None:
    requests = [replace(request, max_tokens=100, end_ids=frozenset()) for request in some_requests(7)]
    expected = run(open_session(num_slots=7), requests)
    session = open_session(num_slots=3)
    handles = [session.submit(request) for request in requests]
    drawn: dict[int, list[int]] = {handle: [] for handle in handles}

    def step() -> set[int]:
        events = session.step()
        for event in events:
            drawn[event.handle].extend(event.token_ids)
        return {event.handle for event in events}

    assert step() == set(handles[:3])
    session.cancel(handles[0])
    session.cancel(handles[4])  # it waits still
    session.cancel(12345)  # nobody
    assert step() == {handles[1], handles[2], handles[3]}
    session.cancel(handles[2])
    session.cancel(handles[1])
    assert step() == {handles[3], handles[5], handles[6]}
    assert (session.num_busy, session.num_waiting) == (3, 0)
    while session.num_busy:
        step()
    for place in (3, 5, 6):
        assert drawn[handles[place]] == expected[place][0]


def test_a_long_prompt_keeps_nobody_waiting(open_session: Opened) -> None:
    long = SequenceRequest(prompt_ids=tuple(3 + n % 80 for n in range(200)), max_tokens=5, seed=1, cache_key="x")
    short = SequenceRequest(prompt_ids=(4, 5, 6), max_tokens=40, seed=2)
    (expected,) = (run(open_session(num_slots=1), [long])[0],)
    session = open_session(num_slots=3, prefill_tokens=32)
    first = session.submit(short)
    session.step()
    second, third = session.submit(long), session.submit(replace(short, seed=3, max_tokens=2))
    seen: list[set[int]] = []
    drawn: list[Drawn] = []
    while session.num_busy or session.num_waiting:
        events = session.step()
        seen.append({event.handle for event in events})
        drawn += [event for event in events if event.handle == second]
    assert all(first in handles for handles in seen[:39])
    assert third in seen[0], "who comes later and needs little is not held up"
    begin = next(place for place, handles in enumerate(seen) if second in handles)
    assert begin == -(-199 // 32) - 1 or begin == -(-199 // 32)
    assert [token for event in drawn for token in event.token_ids] == expected[0]
    again = open_session(num_slots=1)
    again.submit(long)
    assert again.step()[0].num_cached == 0
    again.cancel(1)
    again.submit(long)
    assert again.step()[0].num_cached == 199
    session.submit(long)
    session.step()
    session.cancel(4)  # in the middle of its prompt
    assert session.step() == []
    assert (session.num_busy, session.num_waiting) == (0, 0)


def test_long_prompts_hold_up_nobody_and_can_be_left_in_the_middle(
    open_session: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CachedRunner, "prefill_tokens", lambda self, past: 32 if past < 100 else 16)
    long = SequenceRequest(prompt_ids=tuple(3 + n % 80 for n in range(200)), max_tokens=5, seed=1, cache_key="x")
    other = replace(long, prompt_ids=(7, *long.prompt_ids[1:]))
    short = SequenceRequest(prompt_ids=(4, 5, 6), max_tokens=3, seed=2)
    expected = [run(open_session(num_slots=1), [one])[0] for one in (long, other)]
    session = open_session(num_slots=4, steady=True)
    left = session.submit(other)
    assert session.step() == session.step() == [], "in parts, though nobody else is there"
    session.cancel(left)
    places = [session.submit(one) for one in (long, other, short)]
    assert [one.handle for one in session.step()] == places[2:], "a short one overtakes all long ones"
    drawn: dict[int, list[Drawn]] = {place: [] for place in places}
    late = None
    num_steps = 1
    while session.num_busy or session.num_waiting:
        for one in session.step():
            drawn.setdefault(one.handle, []).append(one)
        num_steps += 1
        if num_steps == 5:
            late = session.submit(short)
        if num_steps == 6:
            assert late in drawn
    for place, (ids, _, _) in zip(places, expected, strict=False):
        assert [token for one in drawn[place] for token in one.token_ids] == ids
        assert drawn[place][0].num_cached == 0
    again = session.submit(replace(long, prompt_ids=(*long.prompt_ids, 8, 9, 10)))
    assert [(one.handle, one.num_cached) for one in session.step()] == [(again, 199)]
    session.submit(replace(long, prompt_ids=(*long.prompt_ids, *range(40))))
    seen = [session.step() for _ in range(4)]
    assert {one.num_cached for step in seen for one in step if one.handle == again + 1} == {199}


def test_more_enter_at_once_where_more_wait_than_run(open_session: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CachedRunner, "prefill_tokens", lambda self, past: 32)
    session = open_session(num_slots=50, steady=True)
    for place in range(21):
        ids = tuple(3 + (place * 7 + n) % 80 for n in range(9))
        session.submit(SequenceRequest(prompt_ids=ids, max_tokens=20, seed=0, cache_key=None))
        if place == 0:
            session.step()
    seen = []
    for _ in range(4):
        session.step()
        seen.append(session.num_busy)
    assert seen == [9, 17, 21, 21], "8 of 8 tokens each while they are the majority, then 4"


def test_slots_that_grow_copy_what_they_hold_and_take_no_memory_for_others(
    open_session: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[int] = []
    grown = KVCache.grown

    def counted(self: KVCache, num_slots: int, num_positions: int, live: Sequence[int]) -> KVCache:
        copied.append(sum(live))
        return grown(self, num_slots, num_positions, live)

    monkeypatch.setattr(KVCache, "grown", counted)
    monkeypatch.setattr(CachedRunner, "prefill_tokens", lambda self, past: 32)
    session = open_session(num_slots=50, steady=True)
    session.submit(SequenceRequest(prompt_ids=(4, 5, 6), max_tokens=90, seed=2))
    session.step()
    session.submit(SequenceRequest(prompt_ids=tuple(3 + n % 80 for n in range(200)), max_tokens=5, seed=1))
    while session.num_busy or session.num_waiting:
        session.step()
    assert len(copied) > 2
    assert max(copied) < 90 + 200


def test_nobody_is_admitted_whom_memory_cannot_hold(
    model: Decoder, open_session: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CachedRunner, "held_tokens", lambda self: 60)
    session = open_session(num_slots=4)
    for _ in range(3):
        session.submit(SequenceRequest(prompt_ids=(3, 4, 5), max_tokens=25, seed=0))
    session.submit(SequenceRequest(prompt_ids=(3, 4, 5), max_tokens=200, seed=0))
    assert len(session.step()) == 2
    seen = []
    while session.num_busy or session.num_waiting:
        seen.append(len(session.step()))
    assert max(seen) == 2
    assert seen[-199:] == [1] * 199, "the largest comes alone"


def test_a_mask_is_asked_at_each_token_and_told_of_it(open_session: Opened) -> None:
    class Alternating:
        """Even tokens, then odd ones."""

        def __init__(self) -> None:
            self.taken: list[int] = []

        def allowed(self) -> Tensor:
            allowed = torch.zeros(512, dtype=torch.bool)
            allowed[4 + len(self.taken) % 2 : 60 : 2] = True
            return allowed

        def accept(self, token_id: int) -> None:
            self.taken.append(token_id)

    mask = Alternating()
    free = SequenceRequest(prompt_ids=(5, 6, 7), max_tokens=9, seed=4)
    (expected,) = (run(open_session(), [free])[0],)
    out = run(open_session(), [free, replace(free, mask=mask)])
    assert [token % 2 for token in out[1][0]] == [0, 1] * 4 + [0]
    assert mask.taken == out[1][0][:-1]
    assert out[0][0] == expected[0]


@pytest.mark.parametrize("kind", [CachedRunner, PlainRunner])
def test_scores_are_those_of_what_it_draws(
    kind: type[Runner], model: Decoder, open_session: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"{kind.__module__}.LOGIT_ROWS", 4)
    session = open_session(runner=kind(model))  # type: ignore[call-arg]  # both take one
    request = SequenceRequest(prompt_ids=(5, 6, 7), max_tokens=9, seed=4, top_logprobs=3)
    session.submit(request)
    events: list[Drawn] = []
    while session.num_busy or session.num_waiting:
        events += session.step()
    ids = (*request.prompt_ids, *(token for event in events for token in event.token_ids))
    parts = list(session.score(ids, 3))
    assert [part.token_ids for part in parts] == [ids[1:5], ids[5:9], ids[9:]]
    assert [one for part in parts for one in part.logprobs][2:] == pytest.approx(
        [event.logprobs[0] for event in events], abs=1e-4
    )
    for one, other in zip([row for part in parts for row in part.top][2:], events, strict=True):
        assert [token for token, _ in one] == [token for token, _ in other.top[0]]
    assert [(part.token_ids, part.logprobs, part.top) for part in session.score(ids[:1], 3)] == [((), (), ())]
    assert not torch.is_inference_mode_enabled()


def test_what_is_no_number_ends_its_own_sequence_only(model: Decoder, open_session: Opened) -> None:
    with torch.no_grad():
        model.embedding.weight[11] = float("nan")
    if model.lm_head is None:
        model.lm_head = torch.nn.Linear(model.hidden_size, model.vocab_size, bias=False)
    good = SequenceRequest(prompt_ids=(5, 6, 7), max_tokens=6, seed=4, bias={11: -1e9})
    bad = replace(good, prompt_ids=(5, 11, 7))
    expected = run(open_session(), [good])[0]
    session = open_session(num_slots=2)
    out = run(session, [bad, good, good, bad, good])
    assert [out[place][2] for place in range(5)] == ["error", "length", "length", "error", "length"]
    for place in (1, 2, 4):
        assert out[place][0] == expected[0]
        assert out[place][1] == pytest.approx(expected[1], abs=1e-4)


@pytest.mark.parametrize(
    "change", [{"prompt_ids": ()}, {"max_tokens": 0}, {"max_tokens": CONTEXT}, {"prompt_ids": (1,) * CONTEXT}]
)
def test_what_cannot_be_drawn_is_refused(change: dict[str, object], open_session: Opened) -> None:
    session = open_session()
    with pytest.raises(ValueError, match=r"prompt|context"):
        session.submit(replace(SequenceRequest(prompt_ids=(1, 2), max_tokens=2, seed=0), **change))  # type: ignore[arg-type]
    assert session.num_waiting == 0
