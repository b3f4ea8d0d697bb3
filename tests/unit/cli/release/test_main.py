"""``spiritsafe release …``: keys, verification, pushing, and a first word that is no command's name."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from release_parts import ReleaseParts, make_release
from upload_hub import upload_hub

from spiritsafe import cli
from spiritsafe.cli.paths import FOLDER, GuardedCommand
from spiritsafe.cli.release import _Group
from spiritsafe.core.errors import IntegrityError, RecipeError
from spiritsafe.release import write_release

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # of huggingface_hub 2.4 (httpx)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> ReleaseParts:
    return make_release(tmp_path_factory.mktemp("parts"))


@pytest.fixture
def directory(parts: ReleaseParts, tmp_path: Path) -> Path:
    write_release(tmp_path / "rel", parts.plan, parts.key)
    return tmp_path / "rel"


def call(*arguments: object) -> Result:
    return CliRunner().invoke(cli.cli, ["release", *map(str, arguments)])


def test_verify_says_each_step(directory: Path, parts: ReleaseParts) -> None:
    done = call("verify", directory, "--json")
    assert done.exit_code == 0, done.output
    assert [step["name"] for step in json.loads(done.stdout)["steps"]][:3] == ["signature", "manifest", "digests"]
    assert " 1. ok      signature: signed with the key that lies beside" in done.stderr
    key = directory.parent / "maker.pem"
    key.write_bytes(parts.key.public.pem)
    assert "the key that was given" in call("verify", directory, "--key", key).stderr
    with (directory / "toy-q8_0.Modelfile").open("r+b") as file:
        file.write(b"f")
    done = call("verify", directory)
    assert isinstance(done.exception, IntegrityError)
    assert " 3. FAILED  digests: Changed since it was signed: toy-q8_0.Modelfile." in done.stderr
    assert " 4. FAILED  release record: not reached: step 3 failed" in done.stderr


def test_a_key_is_made_once(tmp_path: Path) -> None:
    file, public = tmp_path / "release.pem", tmp_path / "public.pem"
    first, second = call("key", file, "--out", public), call("key", file, "--out", public)
    assert first.stdout == second.stdout
    assert first.stdout.startswith("sha256:")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert public.read_bytes().startswith(b"-----BEGIN PUBLIC KEY-----")
    done = call("key", file, "--out", file)
    assert isinstance(done.exception, RecipeError)


def test_push_and_its_dry_run(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with upload_hub(monkeypatch) as hub:
        done = call("push", directory, "--to", "ada/Llama-toy", "--dry-run", "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["files"]["toy-q8_0.gguf"] == 2052
        assert "23 files, " in done.stderr
        assert hub.repositories == {}
        done = call("push", directory, "--to", "ada/Llama-toy", "--private")
        assert done.exit_code == 0, done.output
        assert done.stdout == f"{hub.url}/ada/Llama-toy/commit/{hub.head('ada/Llama-toy')}\n"
        assert hub.private == {"ada/Llama-toy": True}


def test_what_is_no_command_is_for_make() -> None:
    given: list[tuple[Path, str]] = []

    @click.command(cls=GuardedCommand, name="make")
    @click.argument("run", type=FOLDER)
    @click.option("--files", default="")
    def make(run: Path, files: str) -> None:
        given.append((run, files))

    @click.command(cls=GuardedCommand, name="verify")
    def other() -> None:
        given.append((Path("verified"), ""))

    group = _Group("release", commands={"make": make, "verify": other})
    for words in ([".", "--files", "q8_0"], ["--files", "q8_0", "."], ["make", ".", "--files", "q8_0"]):
        assert CliRunner().invoke(group, words).exit_code == 0
    assert given == [(Path("."), "q8_0")] * 3
    assert CliRunner().invoke(group, ["verify"]).exit_code == 0
    assert given[-1] == (Path("verified"), "")
    assert "Usage: release [OPTIONS] COMMAND" in CliRunner().invoke(group, ["--help"]).output
    done = CliRunner().invoke(_Group("release", commands={"verify": other}), ["nothing"])
    assert "No such command 'nothing'" in done.output
