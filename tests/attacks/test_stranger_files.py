"""Files that a stranger hands over: their words open nothing, and what a command writes destroys nothing."""

from __future__ import annotations

import io
import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from exam_parts import ToyTask, make_stage
from fake_endpoint import Answer, FakeEndpoint
from places import TESTS

from spiritsafe.cli.exam import command
from spiritsafe.core.errors import IntegrityError, RecipeError, SourceError, SpiritsafeError, TaskError
from spiritsafe.exam.paper.files import task_of_paper
from spiritsafe.exam.paper.private import PRIVATE
from spiritsafe.ledger import KeyPair
from spiritsafe.tasks import load_named, load_task, load_verifier

CERTIFICATE = TESTS / "golden" / "certificates" / "plain.certificate.json"

OPENED: list[str] = []
LISTENING: list[bool] = []
DIGEST = "0123456789abcdef" * 2


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if LISTENING and event in ("open", "os.listdir", "import", "socket.connect", "subprocess.Popen"):
        OPENED.append(f"{event} {arguments[0]!r}")


sys.addaudithook(_hear)  # stays for the process; it is asked for by `LISTENING` only


@pytest.fixture
def heard() -> Iterator[list[str]]:
    OPENED.clear()
    LISTENING.append(True)
    yield OPENED
    LISTENING.clear()


def exam(*arguments: object) -> SpiritsafeError:
    done = CliRunner().invoke(command, [str(argument) for argument in arguments])
    assert isinstance(done.exception, SpiritsafeError), (done.output, done.exception)
    assert done.exception.hint
    return done.exception


def crafted(root: Path, name: str) -> Path:
    """A paper whose task is called so, right in all else."""
    task = ToyTask()
    task.name = name
    make_stage(root, count=4, task=task)
    return root / "paper" / "paper.json"


@pytest.fixture
def trap(tmp_path: Path) -> dict[str, str]:
    """Names of tasks that point at something that must not be touched."""
    secret, pipe = tmp_path / "id_rsa", tmp_path / "pipe"
    secret.write_text('{"question": "1", "answer": "2"}\n')
    os.mkfifo(pipe)
    return {
        "file": f"math:{secret}",
        "file with options": f"math:{secret}?hint=false",
        "choice": f"choice:{secret}",
        "device": "math:/dev/zero",
        "pipe": f"math:{pipe}",
        "hub": "math:org/name?config=main",
        "exam file": f"math:{secret}?sha256={DIGEST}&exam={pipe}",
        "empty digest": f"math:{secret}?sha256=",
        "short digest": f"math:{secret}?sha256=00",
        "mix": f"mix:arith:sums|math:{secret}",
        "private": "private:x",
        "module": "antigravity:x",
    }


@pytest.mark.timeout(60)
def test_the_task_of_a_strangers_paper_opens_no_file_no_device_and_no_network(
    tmp_path: Path, trap: dict[str, str], heard: list[str], fake_endpoint: Callable[[Answer], FakeEndpoint]
) -> None:
    key = tmp_path / "me.key"
    KeyPair.generate("Me").save(key)
    good = CERTIFICATE
    model = ("--endpoint", fake_endpoint(lambda body: "#### 1").url, "--endpoint-model", "m")
    for number, (what, name) in enumerate(trap.items()):
        paper = crafted(tmp_path / str(number), name)
        ledger = paper.parent.parent / "ledger.jsonl"
        heard.clear()
        error = exam("rerun", good, "--paper", paper, *model, "--key", key, "--out", tmp_path / "out.json")
        assert isinstance(error, TaskError if what != "private" else IntegrityError), (what, error)
        shared = ("--ledger", ledger, "--key", key)
        assert exam("overlap", paper.parent, *shared, "--file", good, "--out", tmp_path / "o.json")
        for line in heard:
            assert not any(word in line for word in ("id_rsa", "pipe", "/dev/zero", "datasets", "antigravity")), line


def test_a_name_with_the_datas_digest_is_enough_to_grade_and_opens_nothing(tmp_path: Path, heard: list[str]) -> None:
    for name in (
        f"math:/no/such/file.jsonl?answer=answer&hint=true&question=question&sha256={DIGEST}",
        f"choice:/no/such/file.jsonl?sha256={DIGEST}",
        f"mix:arith:sums|math:/dev/zero?sha256={DIGEST}",
        f"math:org/name?sha256={DIGEST}&split=train",
        f"math:a.jsonl?exam=b.jsonl&exam_sha256={DIGEST}&sha256={DIGEST}",
    ):
        assert load_named(name).verifier.name == load_verifier(name).name
    assert not any("no/such" in line or "/dev/zero" in line or "datasets" in line for line in heard)
    data = tmp_path / "data.jsonl"
    data.write_text('{"question": "1+1?", "answer": "2"}\n')
    own = load_task(f"math:{data}").name
    data.unlink()
    assert load_named(own).name == own


def test_a_private_paper_without_families_is_refused_in_words(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=4)
    header = stage.paper.header.model_copy(update={"task": f"{PRIVATE}:x"})
    stratum = {"name": "a", "task": f"{PRIVATE}:x", "num_problems": 4, "num_public": 2}
    bad = type(header).from_json({**header.to_json(), "strata": [stratum]})
    with pytest.raises(TaskError, match="does not say whose verifier"):
        task_of_paper(stage.paper.model_copy(update={"header": bad}))


@pytest.mark.timeout(60)
def test_a_private_file_to_review_opens_nothing_either(tmp_path: Path, trap: dict[str, str], heard: list[str]) -> None:
    key, bank = tmp_path / "me.key", tmp_path / "bank.jsonl"
    KeyPair.generate("Me").save(key)
    for what, name in trap.items():
        bank.write_text(json.dumps({"family": name, "question": "1?", "answer": "1"}) + "\n")
        heard.clear()
        error = exam("review", bank, "--name", "x", "--key", key, "--out", tmp_path / "out.jsonl")
        assert isinstance(error, TaskError), (what, error)
        assert not any("id_rsa" in line or "pipe" in line or "/dev/zero" in line for line in heard), what


@pytest.mark.timeout(120)
def test_pipes_devices_and_bombs_in_place_of_files_end_in_a_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 36)
    (tmp_path / "deep").write_text("[" * 200_000)
    key = tmp_path / "me.key"
    KeyPair.generate("Me").save(key)
    for name in ("pipe", "zero", "sparse", "deep"):
        path = tmp_path / name
        (tmp_path / f"{name}.json").symlink_to(path)
        for arguments in (
            ("verify", path, "--paper", path),
            ("verify", key, "--paper", path, "--ledger", path),
            ("registrations", path, "--ledger", path),
            ("foreign", path),
            ("import", tmp_path / f"{name}.json", "--out", tmp_path / "o"),
        ):
            assert isinstance(exam(*arguments), SourceError | IntegrityError | RecipeError)


@pytest.mark.timeout(120)
def test_a_log_that_unpacks_or_plans_without_end_is_refused(tmp_path: Path) -> None:
    good = json.loads((TESTS / "golden" / "foreign" / "sums-a.json").read_text("utf-8"))
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps(good))
        with archive.open("samples/1.json", "w", force_zip64=True) as member:
            for _ in range(600):
                member.write(b" " * (1 << 20))
    assert len(bomb.getvalue()) < 1 << 20
    files = {"bomb.eval": bomb.getvalue()}
    for name, (section, field, value) in {
        "epochs.json": ("config", "epochs", 10**9),
        "infinite.json": ("config", "epochs", float("inf")),
        "huge.json": ("config", "epochs", 10**400),
        "nan.json": ("config", "epochs", float("nan")),
    }.items():
        log = json.loads(json.dumps(good))
        log["eval"].setdefault(section, {})[field] = value
        files[name] = json.dumps(log).encode()
    log = json.loads(json.dumps(good))
    log["samples"][0]["epoch"] = float("inf")
    files["epoch.json"] = json.dumps(log).encode()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        error = exam("import", tmp_path / name, "--out", tmp_path / "out.jsonl")
        assert isinstance(error, SourceError), (name, error)
    assert "unpacks to more than 512 MiB" in str(
        exam("import", tmp_path / "bomb.eval", "--out", tmp_path / "out.jsonl")
    )
    assert not (tmp_path / "out.jsonl").exists()


def test_an_output_that_a_stranger_linked_to_a_key_or_a_ledger_destroys_neither(tmp_path: Path) -> None:
    """In a folder that others may write, the name of an output can be a link to what must not be lost."""
    stage = make_stage(tmp_path / "exam", count=4)
    key, ledger = tmp_path / "eve.key", stage.ledger.path
    stage.examiner.save(key)
    before = (key.read_bytes(), ledger.read_bytes())
    for target in (key, ledger):
        for name, link in (("symlink", os.symlink), ("hardlink", os.link)):
            out = tmp_path / name
            link(target, out)
            for arguments in (
                ("key", key, "--out", out),
                ("checkpoint", ledger, "--key", key, "--out", out),
                ("witness", ledger, "--ledger", tmp_path / "own", "--key", key, "--name", "n", "--out", out),
            ):
                assert isinstance(exam(*arguments), RecipeError)
            out.unlink()
    assert (key.read_bytes(), ledger.read_bytes()) == before
