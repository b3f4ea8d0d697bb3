"""Control behind the real application: keys, limits, queues, usage and certificates as clients meet them."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from asynchronous import asynchronous
from ending_engine import EndingEngine, ending_model
from prometheus_client.parser import text_string_to_metric_families

from spiritsafe.serve import Deployment, KeyRing, QueueLimits, UsageLedger, make_app, make_key, usage_totals
from spiritsafe.serve.operation import usage
from spiritsafe.serve.operation.control import ServerControl


class House:
    """A server of one model with keys, and a client."""

    def __init__(self, folder: Path, *, limits: str = "", is_slow: bool = False, **queues: Any) -> None:
        self.keys = {name: make_key(name, folder / "keys.toml") for name in ("ada", "ben")}
        text = (folder / "keys.toml").read_text()
        head, ada, ben = text.split("[keys.")
        (folder / "keys.toml").write_text(f"{head}[keys.{ben}[keys.{ada}{limits}")
        self.engine = EndingEngine(ending_model("m"), is_slow=is_slow)
        self.ledger = UsageLedger(folder / "usage.sqlite")
        self.control = ServerControl(
            ["m"], keys=KeyRing(folder / "keys.toml"), ledger=self.ledger, queues=QueueLimits(**queues)
        )
        models = {"m": Deployment(engine=self.engine, model=ending_model("m"))}
        self.app = make_app(models, hooks=self.control.hooks, routes=self.control.routes())

    @asynccontextmanager
    async def open(self) -> AsyncIterator[House]:
        async with (
            TestServer(self.app, handler_cancellation=True) as self.server,
            aiohttp.ClientSession() as self.client,
        ):
            yield self
        await asyncio.to_thread(self.ledger.close)

    async def ask(self, who: str, **more: Any) -> tuple[int, Any, Mapping[str, str]]:
        body = {"model": "m", "messages": [{"role": "user", "content": "Hi"}], **more}
        headers = {"x-api-key": self.keys[who]}
        async with self.client.post(self.server.make_url("/v1/chat/completions"), json=body, headers=headers) as answer:
            return answer.status, await answer.json(), answer.headers

    async def gauge(self, name: str) -> float:
        async with self.client.get(self.server.make_url("/metrics")) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            text = await answer.text()
        found = [one for family in text_string_to_metric_families(text) for one in family.samples if one.name == name]
        return sum(float(one.value) for one in found)

    async def until(self, name: str, value: float) -> None:
        while await self.gauge(name) != value:
            await asyncio.sleep(0)


@asynchronous
async def test_limits_are_told_and_kept_and_one_keys_are_not_the_others(tmp_path: Path) -> None:
    async with House(tmp_path, limits="requests_per_minute = 2\ntokens_per_day = 1000\n").open() as house:
        _, _, first = await house.ask("ada")
        assert (first["x-ratelimit-limit-requests"], first["x-ratelimit-remaining-requests"]) == ("2", "1")
        _, _, second = await house.ask("ada")
        assert (second["x-ratelimit-limit-tokens"], second["x-ratelimit-remaining-tokens"]) == ("1000", "987")
        status, body, headers = await house.ask("ada")
        assert status == 429
        assert body["error"] == {
            "message": body["error"]["message"],
            "type": "rate_limit_error",
            "param": None,
            "code": "rate_limit_exceeded",
        }
        assert "2 requests a minute" in body["error"]["message"]
        assert 1 <= int(headers["Retry-After"]) <= 30
        status, _, free = await house.ask("ben")
        assert status == 200
        assert not any(name.startswith("x-ratelimit") for name in free)
        caches = [job.cache_key for job in house.engine.jobs]
        assert caches[0] == caches[1] != caches[2]
        assert not {"", *house.keys.values()} & set(caches)
        assert await house.gauge("spiritsafe:requests_total") == 4
    totals = {total.name: total for total in usage_totals(tmp_path / "usage.sqlite", "key")}
    assert (totals["ada"].num_requests, totals["ada"].num_failed, totals["ada"].prompt_tokens) == (3, 1, 20)
    assert (totals["ben"].cached_tokens, totals["ben"].completion_tokens) == (4, 3)


@asynchronous
async def test_a_client_that_hangs_up_frees_its_place_and_is_written_down(tmp_path: Path) -> None:
    async with House(tmp_path, is_slow=True, places=1).open() as house:
        gone = asyncio.create_task(house.ask("ada"))
        await house.until("vllm:num_requests_running", 1)
        queued = asyncio.create_task(house.ask("ada"))
        await house.until("vllm:num_requests_waiting", 1)
        waiting = asyncio.create_task(house.ask("ben"))
        await house.until("vllm:num_requests_waiting", 2)
        for task in (queued, gone):
            task.cancel()
        await house.until("vllm:num_requests_waiting", 0)
        house.engine.free.set()
        status, _, _ = await waiting
        assert status == 200
        await house.until("vllm:num_requests_running", 0)
    totals = {total.name: total for total in usage_totals(tmp_path / "usage.sqlite", "key")}
    assert (totals["ada"].num_requests, totals["ada"].num_failed) == (2, 2)
    assert totals["ben"].num_failed == 0


@asynchronous
async def test_beyond_the_queue_and_beyond_the_wait_is_429(tmp_path: Path) -> None:
    async with House(tmp_path, is_slow=True, places=1, most_waiting=1, longest_wait_s=0.2).open() as house:
        running = asyncio.create_task(house.ask("ada"))
        await house.until("vllm:num_requests_running", 1)
        answers = await asyncio.gather(house.ask("ada"), house.ask("ben"))
        said = sorted(body["error"]["message"] for status, body, _ in answers if status == 429)
        assert len(said) == 2
        assert said[0].startswith("It waited 0.2 s in the queue")
        assert said[1].startswith("The queue is full")
        house.engine.free.set()
        assert (await running)[0] == 200


@asynchronous
async def test_a_ledger_that_cannot_be_written_stops_no_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "_BUSY_S", 0.01)
    house = House(tmp_path)
    with closing(sqlite3.connect(tmp_path / "usage.sqlite", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        async with house.open():
            assert (await house.ask("ben"))[0] == 200
            await house.until("spiritsafe:usage_ledger_written", 0)
            assert (await house.ask("ben"))[0] == 200
    assert house.ledger.num_lost == 2


@asynchronous
async def test_without_keys_only_names_of_this_machine_are_answered() -> None:
    control = ServerControl(["m"], only_local=True)
    app = make_app({"m": Deployment(engine=EndingEngine(ending_model("m"), is_slow=False), model=ending_model("m"))},
                   hooks=control.hooks)  # fmt: skip
    async with TestServer(app) as server, aiohttp.ClientSession() as client:
        for host, status in (
            *(("localhost", 200), ("127.0.0.1:8080", 200), ("[::1]:80", 200)),
            *(("evil.example", 403), ("127.0.0.1.evil.example", 403), ("10.0.0.1", 403), ("", 403)),
        ):
            async with client.get(server.make_url("/v1/models"), headers={"Host": host}) as answer:
                assert (host, answer.status) == (host, status)


@asynchronous
async def test_a_model_that_is_silent_for_long_is_told_of() -> None:
    silences = {"m": 0.0, "n": 59.0}
    control = ServerControl(["m", "n"], silences=lambda: silences)
    app = make_app({}, hooks=control.hooks, routes=control.routes())
    async with TestServer(app) as server, aiohttp.ClientSession() as client:

        async def health() -> tuple[int, Any]:
            async with client.get(server.make_url("/health")) as answer:
                return answer.status, await answer.json()

        assert await health() == (200, {"status": "ok"})
        silences["n"] = 60.0
        assert await health() == (503, {"status": "unready", "reason": "n has said nothing for 60 s"})
        async with client.get(server.make_url("/metrics")) as answer:
            text = await answer.text()
        assert 'spiritsafe:silent_seconds{model_name="m"} 0.0' in text
        assert 'spiritsafe:silent_seconds{model_name="n"} 60.0' in text
