"""Whoever can write into the folder of a ledger puts links, pipes and locks where spiritsafe writes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from exam_parts import Stage, ToyModel, make_stage

from spiritsafe.core.errors import SourceError, StorageError
from spiritsafe.core.files.lock import locked
from spiritsafe.exam.sitting import sit as sitting
from spiritsafe.ledger import Ledger, log

LINE = b"touch PWNED #"


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return make_stage(tmp_path, count=8)


@pytest.mark.parametrize("name", ["ledger.jsonl.torn", "ledger.jsonl.lock"])
def test_a_link_beside_the_ledger_to_a_file_of_the_examiners(stage: Stage, name: str) -> None:
    """A stranger's unfinished line is set aside, and the link says where: not into a file that a shell runs."""
    own, beside = stage.root / "bashrc", stage.ledger.path.with_name(name)
    own.write_bytes(b"# my own file\n")
    beside.unlink(missing_ok=True)
    beside.symlink_to(own)
    with stage.ledger.path.open("ab") as file:
        file.write(LINE)
    if name.endswith("lock"):
        with pytest.raises(StorageError, match="not a file"):
            stage.register(ToyModel())
    else:
        stage.register(ToyModel())
        assert stage.ledger.verify().ok
        aside = [path for path in stage.root.glob("*.torn") if not path.is_symlink()]
        assert [(path.read_bytes(), path.stat().st_mode & 0o777) for path in aside] == [(LINE + b"\n", 0o600)]
    assert own.read_bytes() == b"# my own file\n"


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
@pytest.mark.parametrize("name", ["ledger.jsonl", "ledger.jsonl.lock"])
def test_a_pipe_or_a_device_in_the_place_of_ledger_or_lock(
    stage: Stage, name: str, make: Callable[[Path], None]
) -> None:
    path = stage.root / name
    path.unlink(missing_ok=True)
    make(path)
    with pytest.raises((SourceError, StorageError), match="not a file") as caught:
        Ledger(stage.ledger.path).append("note", {}, stage.examiner)
    assert caught.value.hint


def test_a_ledger_exchanged_for_a_link_to_a_file_of_the_examiners(stage: Stage) -> None:
    own = stage.root / "netrc"
    own.write_bytes(b"the only copy, without a newline")
    stage.ledger.path.unlink()
    stage.ledger.path.symlink_to(own)
    with pytest.raises(StorageError, match="not a file"):
        Ledger(stage.ledger.path).append("note", {}, stage.examiner)
    assert own.read_bytes() == b"the only copy, without a newline"


def test_a_lock_that_somebody_holds_for_ever(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_LOCK_WAIT_S", 0.0)
    lock = stage.ledger.path.with_name("ledger.jsonl.lock")
    with lock.open("rb") as file:  # to read it is enough
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="is still locked by a process that does not say which") as caught:
            stage.register(ToyModel())
        assert "run the same command again" in caught.value.hint
    stage.register(ToyModel())


def test_a_second_sitting_in_one_folder(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitting, "locked", partial(locked, wait_s=0.0))
    registration = stage.register(ToyModel())
    (stage.root / "sitting").mkdir()
    with (
        locked(stage.root / "sitting" / "sitting.lock"),
        pytest.raises(StorageError, match=rf"is still locked by process {os.getpid()} on "),
    ):
        stage.sit(ToyModel(), registration)
    stage.sit(ToyModel(), registration)
    stage.check()
