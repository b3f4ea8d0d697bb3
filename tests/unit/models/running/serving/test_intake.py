"""Lines become orders; prompts are prepared beside, and what is cancelled before is not."""

from __future__ import annotations

import json
import os
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spiritsafe.core.serving import Failed, Job
from spiritsafe.models.running.serving.intake import Intake, Order, lines_of


def line(operation: str, job_id: int, text: str) -> bytes:
    return json.dumps({"op": operation, "id": job_id, "job": {"text": text}}).encode()


@given(st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"")), max_size=9), st.binary(max_size=3))
def test_lines_of_a_pipe(lines: list[bytes], rest: bytes) -> None:
    rest = rest.replace(b"\n", b"")
    source, sink = os.pipe()
    try:
        os.write(sink, b"".join(line + b"\n" for line in lines) + rest)
        os.close(sink)
        assert list(lines_of(source)) == lines
    finally:
        os.close(source)


def test_a_line_longer_than_a_pipe_holds() -> None:
    source, sink = os.pipe()
    long = b"x" * 3_000_000

    def write() -> None:
        with os.fdopen(sink, "wb") as file:
            file.write(long + b"\n" + b"y\n")

    writer = threading.Thread(target=write)
    writer.start()
    assert [len(line) for line in lines_of(source)] == [3_000_000, 1]
    writer.join()
    os.close(source)


def test_a_slow_prompt_does_not_hold_up_a_cancellation() -> None:
    """The first prompt takes until the second was cancelled, which is then not prepared."""
    second_is_cancelled = threading.Event()
    prepared: list[str] = []

    def prepare(job: Job) -> Any:
        prepared.append(str(job.text))
        assert second_is_cancelled.wait(60)
        return Failed(fault="asker", message="no")

    lines = [line("run", 1, "slow"), line("run", 2, "never"), line("cancel", 2, ""), line("run", 3, "last")]
    intake = Intake(iter(lines), prepare, lambda job: (1,))
    intake.start()
    assert intake.orders.get() == Order("cancel", 2)
    assert intake.cancel(2)
    second_is_cancelled.set()
    orders = [intake.orders.get() for _ in range(4)]
    assert sorted(order.kind for order in orders) == ["close", "run", "run", "run"]
    wanted = [order.job_id for order in orders if order.kind == "run" and intake.is_wanted(order.job_id)]
    assert wanted == [1, 3]
    assert prepared == ["slow", "last"]
    assert not intake.cancel(1)


@pytest.mark.parametrize("error", [ValueError("oops"), MemoryError("all gone")])
def test_a_job_whose_preparation_breaks_is_told_so(error: Exception) -> None:
    def prepare(job: Job) -> Any:
        raise error

    intake = Intake(iter([line("run", 1, "x")]), prepare, lambda job: (1,))
    intake.start()
    orders = [intake.orders.get(), intake.orders.get()]
    (order,) = [order for order in orders if order.kind == "run"]
    assert isinstance(order.what, Failed)
    assert (order.what.fault, str(error) in order.what.message) == ("model", True)


def test_a_ping_goes_where_prompts_go_so_that_its_answer_says_that_nothing_hangs() -> None:
    is_prepared = threading.Event()

    def prepare(job: Job) -> Any:
        assert is_prepared.wait(60)
        return Failed(fault="asker", message="no")

    intake = Intake(iter([line("run", 1, "slow"), b'{"op":"ping"}', line("cancel", 5, "")]), prepare, lambda job: (1,))
    intake.start()
    first = [intake.orders.get() for _ in range(2)]
    assert [order.kind for order in first] == ["cancel", "close"], "it waits behind the prompt"
    is_prepared.set()
    assert [intake.orders.get().kind for _ in range(2)] == ["run", "ping"]
