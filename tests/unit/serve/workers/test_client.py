"""The server's end of the pipe: deaths, cancellations, slow readers, starts that fail."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from pathlib import Path

import psutil
import pytest

from spiritsafe.core.errors import EndpointError, SourceError
from spiritsafe.core.records import Message
from spiritsafe.core.serving import Accepted, AnswerPiece, Ended, Failed, Job, JobEvent
from spiritsafe.serve.workers.client import WorkerEngine, worker_command

PROGRAM = Path(__file__).parents[3] / "support" / "served_program.py"


def run_with(
    test: Callable[[WorkerEngine], Awaitable[None]],
    *arguments: str,
    start_timeout_s: float = 60.0,
    silence_timeout_s: float = 600.0,
) -> None:
    """Run a test with an engine; afterwards no task, thread or process of it is left."""

    async def whole() -> None:
        engine = WorkerEngine(
            [sys.executable, str(PROGRAM), *arguments],
            start_timeout_s=start_timeout_s,
            silence_timeout_s=silence_timeout_s,
        )
        try:
            await test(engine)
        finally:
            await engine.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert engine.pid is None

    before = set(threading.enumerate())
    asyncio.run(whole())
    for thread in set(threading.enumerate()) - before:
        thread.join(60)  # one that told of an end is about to end
    assert set(threading.enumerate()) <= before
    assert _left() == []


def _left() -> list[int]:
    """Programs of these tests that still run."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.Error):  # another test's, which has ended
            found += [child.pid] if str(PROGRAM) in child.cmdline() else []
    return found


async def events_of(engine: WorkerEngine, text: str) -> list[JobEvent]:
    return [event async for event in engine.run(Job(text=text))]


def text_of(events: list[JobEvent]) -> str:
    return "".join(part.text for event in events if isinstance(event, AnswerPiece) for part in event.parts)


def test_answers_of_many_jobs_at_once() -> None:
    async def test(engine: WorkerEngine) -> None:
        assert (await engine.describe()).name == "served"
        texts = [f"text {place}" for place in range(50)]
        answers = await asyncio.gather(*[events_of(engine, text) for text in texts])
        for text, events in zip(texts, answers, strict=True):
            assert events[0] == Accepted(num_prompt_tokens=len(text))
            assert text_of(events) == text
            assert events[-1] == Ended(reason="stop", num_tokens=len(text))
        assert await engine.count(Job(text="abc")) == 3
        assert engine._jobs == {}

    run_with(test)


def test_a_worker_that_dies_fails_its_jobs_and_the_next_job_starts_another(caplog: pytest.LogCaptureFixture) -> None:
    async def test(engine: WorkerEngine) -> None:
        dying, waiting = await asyncio.gather(events_of(engine, "die"), events_of(engine, "wait"))
        for events in (dying, waiting):
            assert isinstance(events[-1], Failed)
            assert events[-1].fault == "model"
            assert events[-1].message == "The model's process has ended.", "nothing of this machine"
        assert "SIGKILL" in caplog.text
        assert "these are my last words" in caplog.text
        assert text_of(dying) == "half"
        assert text_of(await events_of(engine, "again")) == "again"

    run_with(test)


def test_a_worker_that_is_killed_from_outside_fails_its_jobs() -> None:
    async def test(engine: WorkerEngine) -> None:
        events: list[JobEvent] = []
        async with aclosing(engine.run(Job(text="wait"))) as answer:
            async for event in answer:
                events.append(event)
                if isinstance(event, AnswerPiece):
                    assert engine.pid is not None
                    os.kill(engine.pid, signal.SIGKILL)
        assert isinstance(events[-1], Failed)
        assert text_of(await events_of(engine, "again")) == "again"

    run_with(test)


@pytest.mark.parametrize("way", ["hangs", "is stopped"])
def test_a_worker_that_hangs_is_ended_and_the_next_job_starts_another(
    way: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Time is told by hand."""

    async def test(engine: WorkerEngine) -> None:
        await engine.describe()
        hung, watchdog = engine.pid, engine._watchdog
        assert hung is not None
        assert watchdog is not None
        async with aclosing(engine.run(Job(text="hang" if way == "hangs" else "wait"))) as answer:
            assert isinstance(await anext(answer), Accepted)
            if way == "is stopped":
                os.kill(hung, signal.SIGSTOP)
            other = asyncio.create_task(events_of(engine, "never answered"))
            while engine.pid == hung:
                watchdog._timer.cancel()
                watchdog.tick()
                await asyncio.sleep(0)
            for told in ([event async for event in answer], await other):
                assert isinstance(told[-1], Failed)
                assert (told[-1].fault, told[-1].code) == ("model", "failed")
                assert told[-1].message == "The model's process did not respond and was ended."
        assert "said nothing for 600 s" in caplog.text
        assert engine.silent_s == 0.0
        while "has ended" not in caplog.text:
            await asyncio.sleep(0)
        assert ("I am stuck" in caplog.text) == (way == "hangs")
        assert not psutil.pid_exists(hung)
        assert text_of(await events_of(engine, "again")) == "again"

    run_with(test)


def test_a_worker_that_hangs_while_nobody_asks_is_replaced() -> None:
    async def test(engine: WorkerEngine) -> None:
        await engine.describe()
        hung = engine.pid
        assert hung is not None
        os.kill(hung, signal.SIGSTOP)
        while engine.pid == hung:
            await asyncio.sleep(0.01)
        engine._silence_timeout_s = 600.0
        assert text_of(await events_of(engine, "again")) == "again"

    run_with(test, silence_timeout_s=0.5)


def test_a_worker_that_is_slow_but_answers_between_its_steps_is_not_ended() -> None:
    """Time is told by hand: its answer takes three times as long as a worker that says nothing is given."""

    async def test(engine: WorkerEngine) -> None:
        await engine.describe()
        pid, watchdog = engine.pid, engine._watchdog
        assert watchdog is not None
        num_pings = 3 * watchdog._most_ticks // 2
        answer = asyncio.create_task(events_of(engine, f"slow {num_pings}"))
        for _ in range(num_pings + 2):
            while watchdog._is_asked:
                await asyncio.sleep(0)
            for _ in ("asks", "waits"):
                watchdog._timer.cancel()
                watchdog.tick()
        assert text_of(await answer) == "slow"
        assert engine.pid == pid

    run_with(test)


def test_one_that_dies_again_and_again_is_not_started_any_more() -> None:
    async def test(engine: WorkerEngine) -> None:
        await events_of(engine, "die")
        await events_of(engine, "die")
        assert text_of(await events_of(engine, "fine")) == "fine"  # an answer: the count begins anew
        pids = set()
        for _ in range(3):
            await engine.describe()
            pids.add(engine.pid)
            await events_of(engine, "die")
        assert len(pids) == 3
        (failed,) = await events_of(engine, "fine")
        assert isinstance(failed, Failed)
        assert "again and again" in failed.message
        with pytest.raises(EndpointError, match="3 processes"):
            await engine.describe()

    run_with(test)


@pytest.mark.parametrize("way", ["aclose", "cancel", "cancel before it is read"])
def test_who_goes_away_frees_the_slot(way: str) -> None:
    async def test(engine: WorkerEngine) -> None:
        await engine.describe()
        if way == "aclose":
            answer = engine.run(Job(text="wait"))
            assert isinstance(await anext(answer), Accepted)
            await answer.aclose()
        else:
            begun = asyncio.Event()

            async def read() -> None:
                async with aclosing(engine.run(Job(text="wait"))) as answer:
                    async for _ in answer:
                        begun.set()

            task = asyncio.create_task(read())
            if way == "cancel":
                await begun.wait()
            else:
                while not engine._jobs:
                    await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert engine._jobs == {}
        assert text_of(await events_of(engine, "cancelled")) == "1"

    run_with(test)


def test_an_answer_read_to_its_end_is_not_cancelled() -> None:
    async def test(engine: WorkerEngine) -> None:
        await events_of(engine, "abc")
        assert text_of(await events_of(engine, "cancelled")) == ""

    run_with(test)


def test_a_slow_reader_gets_the_same_answer_in_larger_pieces() -> None:
    async def test(engine: WorkerEngine) -> None:
        async with aclosing(engine.run(Job(text="many 5000"))) as answer:
            first = await anext(answer)
            (mailbox,) = engine._jobs.values()
            while mailbox._waiting[-1][0] != "ended" if mailbox._waiting else True:
                await asyncio.sleep(0)
            assert len(mailbox._waiting) < 5000 / 64 + 64 + 2
            events = [first, *[event async for event in answer]]
        assert text_of(events) == "".join(f"{place}," for place in range(5000))
        assert sum(event.num_tokens for event in events if isinstance(event, AnswerPiece)) == 5000

    run_with(test)


def test_a_model_that_cannot_be_loaded_says_why(caplog: pytest.LogCaptureFixture) -> None:
    async def test(engine: WorkerEngine) -> None:
        with pytest.raises(SourceError, match="no weights here"):
            await engine.describe()
        for _ in range(4):
            (failed,) = await events_of(engine, "x")
            assert isinstance(failed, Failed)
            assert "no weights here" not in failed.message
            assert "no weights here" in caplog.text
            await asyncio.sleep(0)

    run_with(test, "broken")


def test_other_bytes_never_answer_in_a_model_s_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM.read_text())

    async def test() -> None:
        engine = WorkerEngine([sys.executable, str(program)])
        assert text_of(await events_of(engine, "first")) == "first"
        program.write_text(PROGRAM.read_text().replace("sha256:1", "sha256:2"))
        await events_of(engine, "die")
        for _ in range(3):
            (failed,) = await events_of(engine, "x")
            assert isinstance(failed, Failed)
        assert "now holds sha256:2, not sha256:1" in caplog.text
        await engine.close()

    asyncio.run(test())


def test_a_program_that_is_not_there() -> None:
    async def test() -> None:
        engine = WorkerEngine(["/nowhere/program"])
        with pytest.raises(EndpointError, match="No such file"):
            await engine.describe()
        await engine.close()

    asyncio.run(test())


def test_nonsense_ends_it() -> None:
    async def test(engine: WorkerEngine) -> None:
        with pytest.raises(EndpointError, match="nonsense"):
            await engine.describe()

    run_with(test, "babble")


@pytest.mark.parametrize("how", ["deaf", "mute"])
def test_one_that_says_nothing_is_given_up(how: str) -> None:
    async def test(engine: WorkerEngine) -> None:
        with pytest.raises(EndpointError, match=r"said nothing for 0\.5 s"):
            await engine.describe()

    run_with(test, how, start_timeout_s=0.5)


def test_half_a_character_reaches_the_worker() -> None:
    async def test(engine: WorkerEngine) -> None:
        events = await events_of(engine, "a\ud83d")
        assert events[0] == Accepted(num_prompt_tokens=2)

    run_with(test)


def test_closing_fails_what_is_under_way_and_nothing_starts_again() -> None:
    async def test(engine: WorkerEngine) -> None:
        answer = engine.run(Job(text="wait"))
        await anext(answer)
        await engine.close()
        rest = [event async for event in answer]
        assert isinstance(rest[-1], Failed)
        assert "shut down" in rest[-1].message
        (failed,) = await events_of(engine, "x")
        assert isinstance(failed, Failed)

    run_with(test)


def test_a_server_that_is_cancelled_while_it_closes_leaves_no_process() -> None:
    async def test(engine: WorkerEngine) -> None:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(engine.describe(), 0.2)
        assert engine.pid is not None
        closing = asyncio.create_task(engine.close())
        await asyncio.sleep(0)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing

    run_with(test, "deaf")


@pytest.mark.slow
def test_a_real_worker_outlives_hostile_jobs_and_is_replaced_when_it_is_killed(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the train extra is not installed")
    from templates_parts import chatml

    from spiritsafe.models import write_lineage

    write_lineage(chatml(tmp_path / "m"), name="small", license="MIT")
    command = worker_command(tmp_path / "m", device="cpu", dtype="float32", max_batch=2)
    hi = (Message(role="user", content="hi"),)
    huge = (Message(role="user", content="x" * 10_000_000),)
    hostile = [
        (Job(messages=huge), "messages"),
        (Job(token_ids=(10**9,)), "token_ids"),
        (Job(messages=hi, logit_bias=((10**9, 1.0),)), "logit_bias"),
        (Job(text="\ud83d"), "text"),
    ]

    async def told(engine: WorkerEngine, job: Job) -> list[JobEvent]:
        return [event async for event in engine.run(job)]

    async def whole() -> None:
        engine = WorkerEngine(command)
        good = Job(messages=hi, max_tokens=20, ignore_end=True)
        answer, *refused = await asyncio.gather(told(engine, good), *[told(engine, job) for job, _ in hostile])
        assert answer[-1] == Ended(reason="length", num_tokens=20)
        for (_, param), (failed,) in zip(hostile, refused, strict=True):
            assert isinstance(failed, Failed)
            assert (failed.fault, failed.param) == ("asker", param)
        events: list[JobEvent] = []
        async for event in engine.run(Job(messages=hi, max_tokens=900, ignore_end=True)):
            events.append(event)
            if len(events) == 3 and engine.pid is not None:
                os.kill(engine.pid, signal.SIGKILL)
        assert isinstance(events[-1], Failed)
        assert "has ended" in events[-1].message
        assert text_of(await told(engine, good)) == text_of(answer)
        await engine.close()

    asyncio.run(whole())


def test_the_command_of_a_worker() -> None:
    command = worker_command(Path("/m"), device="cpu", dtype="float32", max_batch=8, max_context=512)
    assert command[1:] == [
        *("-m", "spiritsafe.models.running.serving.worker", "/m", "--device", "cpu", "--dtype", "float32"),
        *("--max-batch", "8", "--max-context", "512"),
    ]
    assert worker_command(Path("/m"))[3:] == ["/m", "--max-batch", "64"]
