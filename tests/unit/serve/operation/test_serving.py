"""A whole server in a process of its own: it starts with an answer, and ends without losing one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from asynchronous import asynchronous
from ending_engine import EndingEngine, ending_model
from places import TESTS

from spiritsafe.core.errors import IntegrityError, RecipeError, SpiritsafeError
from spiritsafe.serve import (
    ModelToServe,
    ServerSettings,
    WorkerEngine,
    is_loopback,
    make_key,
    open_port,
    serve,
    url_of,
)

PROGRAM = TESTS / "support" / "ending_engine.py"


class Server:
    def __init__(self, folder: Path, timeout_s: float = 600.0) -> None:
        command = [sys.executable, str(PROGRAM), str(folder), str(timeout_s)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        assert self.url.startswith("http://127.0.0.1:"), self.process.stderr

    def ask(self, model: str, *, stream: bool = False, key: str = "") -> Any:
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}
        request = urllib.request.Request(f"{self.url}/v1/chat/completions", json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        request.add_header("Authorization", f"Bearer {key}")
        return urllib.request.urlopen(request, timeout=300)

    def status(self, path: str) -> int:
        try:
            with urllib.request.urlopen(self.url + path, timeout=300) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def until_draining(self) -> None:
        while self.status("/health") != 503:
            pass

    def end(self) -> tuple[int, str]:
        out, error = self.process.communicate(timeout=120)
        assert "Traceback" not in error, error
        return self.process.returncode, out.strip()


@contextmanager
def served(folder: Path, timeout_s: float = 600.0) -> Iterator[Server]:
    server = Server(folder, timeout_s)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


def statuses(folder: Path) -> list[tuple[str, int, int]]:
    with closing(sqlite3.connect(folder / "usage.sqlite")) as connection:
        return connection.execute("SELECT model, status, completion_tokens FROM requests ORDER BY id").fetchall()


def refused(server: Server, model: str, **how: Any) -> tuple[int, str, Any]:
    """Status, code and headers."""
    with pytest.raises(urllib.error.HTTPError) as found:
        server.ask(model, **how)
    with found.value as error:
        return error.code, json.load(error)["error"]["code"], error.headers


def in_a_thread(work: Any) -> tuple[threading.Thread, list[Any]]:
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    return thread, found


def test_a_server_that_is_told_to_end_finishes_what_it_began_and_takes_nothing_new(tmp_path: Path) -> None:
    with served(tmp_path) as server, ExitStack() as stack:
        assert server.status("/health") == 200
        stream = stack.enter_context(server.ask("slow", stream=True))
        first = stream.readline()
        assert first.startswith(b"data: ")
        server.send(signal.SIGTERM)
        server.until_draining()
        status, code, headers = refused(server, "quick")
        assert (status, code) == (503, "shutting_down")
        assert 1 <= int(headers["Retry-After"]) <= 60
        (tmp_path / "go").touch()
        assert stream.read().endswith(b"data: [DONE]\n\n")
        assert server.end() == (0, "whole")
    assert statuses(tmp_path) == [("quick", 503, 0), ("slow", 200, 3)]


def test_what_does_not_end_in_time_is_ended_with_an_error_that_says_why(tmp_path: Path) -> None:
    with served(tmp_path, timeout_s=0.5) as server, ExitStack() as stack:
        stream = stack.enter_context(server.ask("slow", stream=True))
        stream.readline()
        thread, plain = in_a_thread(lambda: refused(server, "slow"))
        waiting, queued = in_a_thread(lambda: refused(server, "slow"))
        while server.status("/metrics") and b'vllm:num_requests_waiting{model_name="slow"} 1.0' not in metrics(server):
            pass
        server.send(signal.SIGTERM)
        last = stream.read()
        assert b'"code":"shutting_down"' in last
        thread.join()
        waiting.join()
        assert [one[0][:2] for one in (plain, queued)] == [(503, "shutting_down")] * 2
        assert server.end() == (0, "ended")
    assert sorted(statuses(tmp_path)) == [("slow", 503, 0), ("slow", 503, 1), ("slow", 503, 1)]


def metrics(server: Server) -> bytes:
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=300) as answer:
        return bytes(answer.read())


def test_a_second_signal_ends_at_once(tmp_path: Path) -> None:
    with served(tmp_path) as server, ExitStack() as stack:
        stream = stack.enter_context(server.ask("slow", stream=True))
        stream.readline()
        server.send(signal.SIGTERM)
        server.until_draining()
        server.send(signal.SIGINT)
        assert b'"code":"shutting_down"' in stream.read()
        assert server.end() == (0, "ended")
    assert statuses(tmp_path) == [("slow", 503, 1)]


def test_keys_are_asked_for_and_read_again_when_told(tmp_path: Path) -> None:
    keys = tmp_path / "keys.toml"
    ada = make_key("ada", keys)
    keys.write_text(keys.read_text() + 'models = ["quick"]\nrequests_per_minute = 3\n')
    with served(tmp_path) as server:
        for bad in ("", "sk-spiritsafe-no"):
            status, code, headers = refused(server, "quick", key=bad)
            assert (status, code, headers["WWW-Authenticate"]) == (401, "invalid_api_key", "Bearer")
        with server.ask("quick", key=ada) as answer:
            assert json.load(answer)["choices"][0]["message"]["content"] == "one two"
            assert answer.headers["x-ratelimit-remaining-requests"] == "2"
        assert refused(server, "slow", key=ada)[:2] == (404, "model_not_found")  # for her there is no such model
        ben = make_key("ben", keys)
        server.send(signal.SIGHUP)
        with server.ask("quick", key=ben) as answer:
            assert answer.status == 200
        assert server.status("/v1/models") == 401
        assert (server.status("/health"), server.status("/metrics")) == (200, 200)
        server.send(signal.SIGTERM)
        assert server.end() == (0, "whole")
    with closing(sqlite3.connect(tmp_path / "usage.sqlite")) as connection:
        assert connection.execute("SELECT key FROM requests ORDER BY id").fetchall() == [("ada",), ("ben",)]


class Watcher:
    def __init__(self) -> None:
        self.said: list[str | None] = []

    def begin(self, label: str) -> None:
        self.said.append(label)

    def end(self, summary: str | None = None) -> None:
        self.said.append(summary)


class Broken(EndingEngine):
    async def describe(self) -> Any:
        raise RecipeError("This model is broken.", hint="Mend it.")


@asynchronous
async def test_a_model_that_is_not_what_it_should_be_ends_the_start_and_every_worker() -> None:
    good = EndingEngine(ending_model("x"), is_slow=False)
    for bad, words in (
        (ModelToServe(name="bad", start=lambda: Broken(ending_model("x"), is_slow=False)), "broken"),
        (ModelToServe(name="bad", start=lambda: good, digest="sha256:" + "0" * 64), "its release says sha256:000"),
    ):
        watcher, opened = Watcher(), open_port("127.0.0.1", 0)
        with opened, pytest.raises((IntegrityError, RecipeError), match=words):
            await serve(
                [ModelToServe(name="good", start=lambda: good), bad],
                opened,
                ServerSettings(),
                watcher=watcher,
                ready=lambda _: pytest.fail("it answers"),
            )
        assert good.closed.is_set()
        assert watcher.said == ["load good", "sha256:cdcdcdcdcdcd…, no certificate", "load bad", None]


@asynchronous
async def test_health_and_metrics_tell_of_a_worker_that_hangs_until_it_is_ended() -> None:
    """Time is told by hand."""
    engine = WorkerEngine([sys.executable, str(TESTS / "support" / "served_program.py")])
    answers = asyncio.Event()
    with open_port("127.0.0.1", 0) as opened:
        url = url_of(opened)
        task = asyncio.create_task(
            serve(
                [ModelToServe(name="m", start=lambda: engine)],
                opened,
                ServerSettings(),
                watcher=Watcher(),
                ready=lambda _: answers.set(),
            )
        )
        await answers.wait()
        watchdog, hung = engine._watchdog, engine.pid
        assert watchdog is not None
        assert hung is not None
        while watchdog._is_asked:  # an answer on its way would come between
            await asyncio.sleep(0)
        os.kill(hung, signal.SIGSTOP)
        async with aiohttp.ClientSession() as client:

            async def get(path: str) -> tuple[int, str]:
                async with client.get(url + path) as answer:
                    return answer.status, await answer.text()

            assert await get("/health") == (200, '{"status": "ok"}')
            while engine.silent_s < 60.0:
                watchdog._timer.cancel()
                watchdog.tick()
                await asyncio.sleep(0)
            status, said = await get("/health")
            assert (status, "m has said nothing for" in said) == (503, True)
            assert 'spiritsafe:silent_seconds{model_name="m"} 0.0' not in (await get("/metrics"))[1]
            while engine.pid == hung:
                watchdog._timer.cancel()
                watchdog.tick()
                await asyncio.sleep(0)
            assert await get("/health") == (200, '{"status": "ok"}'), "the next request starts another"
            assert 'spiritsafe:silent_seconds{model_name="m"} 0.0' in (await get("/metrics"))[1]
        os.kill(os.getpid(), signal.SIGTERM)
        assert await task


class Loading(EndingEngine):
    async def describe(self) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        await self.closed.wait()


@asynchronous
async def test_a_signal_while_models_load_ends_the_start() -> None:
    engine = Loading(ending_model("x"), is_slow=False)
    with open_port("127.0.0.1", 0) as opened:
        task = serve(
            [ModelToServe(name="m", start=lambda: engine)],
            opened,
            ServerSettings(),
            watcher=Watcher(),
            ready=lambda _: pytest.fail("it answers"),
        )
        assert await asyncio.wait_for(task, 60)
    assert engine.closed.is_set()


def test_ports_and_hosts() -> None:
    with open_port("127.0.0.1", 0) as opened:
        port = opened.getsockname()[1]
        assert url_of(opened) == f"http://127.0.0.1:{port}"
        with socket.socket() as caller:  # nobody is kept waiting while models load
            assert caller.connect_ex(("127.0.0.1", port)) != 0
        opened.listen()
        with pytest.raises(RecipeError, match=f"Port {port} of 127.0.0.1 cannot be had"):
            open_port("127.0.0.1", port)
    for host in ("no such host", "x" * 300, "a\0b", "\udcff"):
        with pytest.raises(SpiritsafeError):
            open_port(host, 0)
    assert [is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "localhost", "0.0.0.0")] == [True] * 3 + [False]
