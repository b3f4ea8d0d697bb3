"""``spiritsafe serve TARGET…``: what cannot be is said before anything starts; else it answers until told to end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from places import TESTS

from spiritsafe import cli
from spiritsafe.core.errors import RecipeError, SourceError, SpiritsafeError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.files.digests import digest_file
from spiritsafe.serve import make_key, usage_totals

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
    ],
)
def test_what_cannot_be_is_said_before_anything_starts(
    options: tuple[str, ...], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_key("ada", tmp_path / "keys.toml")
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("This is no ledger.")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        names = {name: str(tmp_path / name) for name in ("empty", "text")}
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
