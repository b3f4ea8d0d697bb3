"""The files in ``deploy/``: a unit that systemd accepts, an image that runs as nobody, commands that exist."""

from __future__ import annotations

import http.server
import json
import re
import shlex
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest
from places import ROOT

from spiritsafe.cli import cli

UNIT = ROOT / "deploy" / "spiritsafe-serve.service"
DOCKERFILE = ROOT / "deploy" / "Dockerfile"


def parsed(words: list[str], folder: Path) -> dict[str, object]:
    """What the command line of ``spiritsafe serve …`` means; files that must exist are made."""
    local = [str(folder / word.strip("/").replace("/", "_")) if word.startswith("/") else word for word in words]
    for word in local:
        if word.startswith(str(folder)):
            Path(word).touch()
    command = cli.get_command(click.Context(cli), "serve")
    assert isinstance(command, click.Group)
    return command.commands["run"].make_context("run", local).params


def unit_lines(name: str) -> list[str]:
    return re.findall(rf"^{name}=(.*)$", UNIT.read_text(), flags=re.M)


def test_the_unit_starts_a_server_that_ends_before_systemd_loses_patience(tmp_path: Path) -> None:
    (line,) = unit_lines("ExecStart")
    program, *words = shlex.split(line)
    assert (Path(program).name, words[0]) == ("spiritsafe", "serve")
    values = parsed(words[1:], tmp_path)
    assert values["host"] == "0.0.0.0"
    assert values["keys_file"] is not None
    state, cache = unit_lines("StateDirectory"), unit_lines("CacheDirectory")
    assert f"/var/lib/{state[0]}/" in line
    kept = {"SPIRITSAFE_CACHE": f"/var/cache/{cache[0]}", "NUMBA_CACHE_DIR": f"/var/cache/{cache[0]}/numba"}
    assert unit_lines("Environment") == [f"{name}={folder}" for name, folder in kept.items()]
    assert int(unit_lines("TimeoutStopSec")[0]) >= float(str(values["shutdown_timeout"])) + 20
    assert unit_lines("KillMode") == ["mixed"]  # only the server gets SIGTERM: its workers finish what is under way
    assert unit_lines("ExecReload") == ["/bin/kill -HUP $MAINPID"]


def test_systemd_accepts_the_unit_and_finds_it_closed(tmp_path: Path) -> None:
    program = shutil.which("systemd-analyze")
    if program is None:
        pytest.skip("systemd-analyze is not installed")
    unit = tmp_path / UNIT.name
    text = UNIT.read_text()
    unit.write_text(text.replace("/opt/spiritsafe/bin/spiritsafe", sys.executable))
    done = subprocess.run([program, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    unit.write_text(text.replace("ProtectHome=yes", "ProtectHomes=yes"))  # it does look
    done = subprocess.run([program, "verify", "--man=no", str(unit)], capture_output=True, text=True, check=False)
    assert "ProtectHomes" in done.stderr
    line = [program, "security", "--offline=true", "--threshold=20", str(UNIT)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-200:]  # exposure of at most 2.0 of 10


@pytest.fixture
def instructions() -> dict[str, list[str]]:
    parse = pytest.importorskip("dockerfile_parse", reason="dockerfile-parse is not installed")
    parser = parse.DockerfileParser(fileobj=DOCKERFILE.open("rb+"))
    found: dict[str, list[str]] = {}
    for one in parser.structure:
        found.setdefault(one["instruction"], []).append(one["value"])
    parser.fileobj.close()
    return found


def test_the_image_serves_as_nobody_with_keys_and_is_built_of_files_that_are_there(
    instructions: dict[str, list[str]], tmp_path: Path
) -> None:
    assert instructions["USER"] == ["65532:65532"]
    entry, command = (json.loads(instructions[name][0]) for name in ("ENTRYPOINT", "CMD"))
    assert entry == ["spiritsafe", "serve"]
    values = parsed(command, tmp_path)
    assert (values["host"], values["port"]) == ("0.0.0.0", int(instructions["EXPOSE"][0]))
    assert values["keys_file"] is not None
    for copied in instructions["COPY"]:
        for name in copied.split()[:-1]:
            assert (ROOT / name).exists(), name
    extras = re.findall(r"'\.\[([a-z,]+)\]'", " ".join(instructions["RUN"]))
    declared = (ROOT / "pyproject.toml").read_text()
    assert [f"\n{extra} = [" in declared for extra in extras[0].split(",")] == [True, True]


class Health(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("status", "code"), [(200, 0), (503, 1)])
def test_the_image_is_healthy_while_the_server_takes_requests(
    status: int, code: int, instructions: dict[str, list[str]]
) -> None:
    words = json.loads(instructions["HEALTHCHECK"][0].partition("CMD")[2])
    handler = type("Handler", (Health,), {"status": status})
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        port = server.server_address[1]
        line = [sys.executable, *(word.replace("127.0.0.1:8080", f"127.0.0.1:{port}") for word in words[1:])]
        done = subprocess.run(line, capture_output=True, check=False, timeout=60)
        thread.join()
    assert done.returncode == code
