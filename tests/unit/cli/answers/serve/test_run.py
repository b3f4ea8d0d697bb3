"""``spiritsafe serve TARGET…``: what cannot be is said before anything starts; else it answers until told to end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from click.testing import CliRunner, Result
from places import TESTS
from routing_parts import TASK, collections, simple_router

from spiritsafe import cli
from spiritsafe.core.errors import CompatibilityError, RecipeError, SourceError, SpiritsafeError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.files.digests import digest_file, digest_model
from spiritsafe.core.records import Message
from spiritsafe.models.sources.resolve import resolve_source
from spiritsafe.serve import make_key, read_router, usage_totals, write_router
from spiritsafe.tasks import load_task

RELEASE = TESTS / "golden" / "release"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli.cli, ["serve", *map(str, arguments)])


@pytest.fixture(autouse=True)
def _nothing_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: object, **__: object) -> None:
        pytest.fail("it starts")

    monkeypatch.setattr("spiritsafe.cli.answers.serve.run.local_model", start)


def model(folder: Path) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    return folder


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--host", "0.0.0.0"), "no keys were given"),
        (("--host", "0.0.0.0", "--keys", "{keys}", "--no-keys"), "Both --keys and --no-keys"),
        (("--host", "no such host"), "There is no host"),
        (("--port", "{taken}"), "cannot be had"),
        (("--keys", "{empty}"), "has no keys"),
        (("--usage", "{text}/usage.sqlite"), "cannot be written"),
        (("--usage", "{text}"), "is no usage ledger"),
        (("--name", "a b"), "is no name"),
        (("--router", "{text}"), "text"),
        (("--router", "{router}", "--name", "auto"), "A model is called auto"),
        (("--device", "gpu"), "is no device"),
        (("--max-context", "1"), "not in the range"),
    ],
)
def test_what_cannot_be_is_said_before_anything_starts(
    options: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_key("ada", tmp_path / "keys.toml")
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("This is no ledger.")
    write_router(tmp_path / "router", simple_router())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        names = {name: str(tmp_path / name) for name in ("empty", "text", "router")}
        names |= {"keys": str(tmp_path / "keys.toml"), "taken": str(taken.getsockname()[1])}
        done = call(model(tmp_path / "m"), "--port", "0", *(option.format(**names) for option in options))
    assert isinstance(done.exception, SpiritsafeError) or done.exit_code == 2, done.output
    words = done.exception.message if isinstance(done.exception, SpiritsafeError) else done.output
    assert said in words.lower() or said in words


def test_an_option_without_a_model_or_with_two_of_one_name_is_refused(tmp_path: Path) -> None:
    assert isinstance(call(tmp_path / "none").exception, SourceError)
    assert isinstance(call(model(tmp_path / "m"), f"m={model(tmp_path / 'n')}").exception, RecipeError)
    assert call().exit_code == 2


@pytest.mark.slow
def test_a_file_of_a_release_is_served_with_its_certificate(tmp_path: Path) -> None:
    key = make_key("ada", tmp_path / "keys.toml")
    file = RELEASE / "rel-student-Q8_0.gguf"
    command = [
        *(sys.executable, "-m", "spiritsafe", "serve", f"small={file}", "--port", "0", "--max-batch", "2"),
        *("--keys", str(tmp_path / "keys.toml"), "--usage", str(tmp_path / "usage.sqlite")),
    ]
    environment = {**os.environ, "SPIRITSAFE_CACHE": str(tmp_path / "cache")}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert line.endswith(" serves small (1 key)\n"), server.communicate()
        body = {"model": "small", "max_tokens": 4, "messages": [{"role": "user", "content": "1+1?"}], "seed": 1}
        request = urllib.request.Request(f"{line.split()[0]}/v1/chat/completions", json.dumps(body).encode())
        request.add_header("Content-Type", "application/json")
        request.add_header("x-api-key", key)
        with urllib.request.urlopen(request, timeout=300) as answer:
            said = json.load(answer)
            assert answer.headers["spiritsafe-model-digest"] == digest_file(file)
            certificate = read_json(RELEASE / "exams" / "exam" / "student-q8.certificate.json")
            assert certificate["result"]["model_digest"] == digest_file(file)
            assert answer.headers["spiritsafe-certificate"].startswith("sha256:")
        assert said["usage"]["completion_tokens"] <= 4
        server.send_signal(signal.SIGTERM)
        _, error = server.communicate(timeout=120)
        assert (server.returncode, "Traceback" in error) == (0, False), error
    finally:
        server.kill()
        server.communicate()
    (total,) = usage_totals(tmp_path / "usage.sqlite", "key")
    assert (total.name, total.num_requests, total.prompt_tokens) == ("ada", 1, said["usage"]["prompt_tokens"])


def test_a_router_of_models_that_are_not_served_is_refused_before_any_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_router(tmp_path / "router.json", simple_router())
    place = model(tmp_path / "m")
    monkeypatch.setattr("spiritsafe.cli.answers.serve.run.local_model", lambda *_: place)
    monkeypatch.setattr("spiritsafe.serve.WorkerEngine", lambda _: pytest.fail("it starts"))
    error = call(place, "--port", "0", "--router", tmp_path / "router.json").exception
    assert isinstance(error, CompatibilityError)
    assert "not served: small" in error.message
    monkeypatch.setattr("spiritsafe.cli.answers.serve.run.local_model", lambda *_: pytest.fail("it starts"))
    error = call(RELEASE, "--port", "0", "--router", tmp_path / "router.json").exception
    assert isinstance(error, CompatibilityError)  # a release says its digests: nothing is looked for


class Asked(NamedTuple):
    """What came back: head, text, and the model that it names."""

    headers: Mapping[str, str]
    text: str
    model: str


def ask(url: str, messages: Sequence[Message], *, stream: bool = False) -> Asked:
    body = {"model": "auto", "max_tokens": 5, "seed": 1, "ignore_eos": True, "stream": stream}
    body["messages"] = [{"role": one.role, "content": one.content} for one in messages]
    request = urllib.request.Request(f"{url}/v1/chat/completions", json.dumps(body).encode())
    request.add_header("Content-Type", "application/json")
    with urllib.request.urlopen(request, timeout=300) as answer:
        raw = answer.read().decode()
        if not stream:
            said = json.loads(raw)
            return Asked(answer.headers, said["choices"][0]["message"]["content"], said["model"])
        chunks = [json.loads(line[6:]) for line in raw.splitlines() if line.startswith("data: {")]
        text = "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)
        return Asked(answer.headers, text, chunks[0]["model"])


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["prompt", "cascade"])
def test_attempts_become_a_router_that_is_served_with_its_rungs(kind: str, tmp_path: Path) -> None:
    places = [resolve_source(f"tiny:{number}", cache=tmp_path / "cache") for number in (0, 1)]
    digests = [digest_model(place) for place in places]
    rungs = collections(tmp_path / "attempts", digests=digests, is_easy=lambda text: text.count(" ") < 2)  # two terms
    flags = ["--cascade"] if kind == "cascade" else []
    out = tmp_path / "router.json"
    sizes = ("--cost", "bytes", "--bytes", "100", "--bytes", "900")
    assert call("calibrate", *rungs, "--out", out, "--max-cost", "700", *sizes, *flags).exit_code == 0
    router = read_router(out, digests)
    usage = tmp_path / "usage.sqlite"
    command = [
        *(sys.executable, "-m", "spiritsafe", "serve", f"one={places[0]}", f"two={places[1]}", "--port", "0"),
        *("--router", str(out), "--usage", str(usage), "--device", "cpu", "--max-context", "512"),
    ]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        line = server.stdout.readline()
        assert " serves one, two, auto " in line, server.communicate()
        url = line.split()[0]
        with urllib.request.urlopen(f"{url}/v1/models/auto", timeout=300) as answer:
            told = json.load(answer)["spiritsafe"]
        assert (told["kind"], told["digest"], told["context"]) == ("router", router.content_digest, 512)
        assert [(rung["name"], rung["digest"]) for rung in told["router"]["rungs"]] == [
            ("one", digests[0]),
            ("two", digests[1]),
        ]
        assert told["router"]["accuracy"]["value"] == router.point.accuracy.value
        questions = [one.messages for one in load_task(TASK).problems("dev", seed=77, count=8)]
        answers = [ask(url, question, stream=bool(number % 2)) for number, question in enumerate(questions)]
        server.send_signal(signal.SIGTERM)
        _, error = server.communicate(timeout=120)
        assert (server.returncode, "Traceback" in error) == (0, False), error
    finally:
        server.kill()
        server.communicate()
    # random weights are sure of nothing, so that a cascade keeps no answer of the first
    picks = [1 if kind == "cascade" else router.pick(question) for question in questions]
    assert kind == "cascade" or set(picks) == {0, 1}
    for pick, answer in zip(picks, answers, strict=True):
        assert answer.headers["spiritsafe-rung"] == answer.model == ("one", "two")[pick]
        assert answer.headers["spiritsafe-model-digest"] == digests[pick]
        assert answer.headers.get("spiritsafe-dropped-tokens") == ("5" if kind == "cascade" else None)
    totals = {one.name: one for one in usage_totals(usage, "model")}
    assert {name: one.num_requests for name, one in totals.items()} == {
        name: picks.count(place) for place, name in enumerate(("one", "two")) if place in picks
    }
    num_dropped = 5 * len(picks) if kind == "cascade" else 0
    assert sum(one.dropped_tokens for one in totals.values()) == num_dropped
    assert sum(one.completion_tokens for one in totals.values()) == 5 * len(picks)
