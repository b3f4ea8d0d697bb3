from __future__ import annotations

import sys
from pathlib import Path

import pytest
from finished_run import SilentWatcher

from spiritsafe.core.errors import ProcedureError, SourceError, SpiritsafeError, TaskError
from spiritsafe.core.process import own_command as exam_process
from spiritsafe.pipeline.stages.exam import call_exam


def test_an_error_of_the_safe_is_raised_here_with_its_class(tmp_path: Path) -> None:
    arguments = ["seal", "arith:nosuch", "--out", str(tmp_path / "p"), "--ledger", str(tmp_path / "l")]
    call_exam(["key", str(tmp_path / "k")], events=SilentWatcher())
    with pytest.raises(TaskError) as caught:
        call_exam([*arguments, "--key", str(tmp_path / "k")], events=SilentWatcher())
    assert "nosuch" in caught.value.message
    assert caught.value.hint


def test_progress_comes_back(tmp_path: Path) -> None:
    class Ear(SilentWatcher):
        heard = 0

        def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
            Ear.heard += 1

    files = {name: str(tmp_path / name) for name in ("paper", "ledger.jsonl", "key.json")}
    call_exam(["key", files["key.json"]], events=Ear())
    call_exam(
        [
            "seal",
            "arith:sums?terms=2&digits=1-2",
            "--count",
            "4",
            "--out",
            files["paper"],
            "--ledger",
            files["ledger.jsonl"],
            "--key",
            files["key.json"],
        ],
        events=Ear(),
    )
    assert Ear.heard > 0
    assert Path(files["ledger.jsonl"]).is_file()


def test_a_process_that_dies_is_reported_with_its_last_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake = tmp_path / "python"
    fake.write_text("#!/bin/sh\necho 'last words' >&2\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setattr(exam_process.sys, "executable", str(fake))
    with pytest.raises(ProcedureError, match=r"exit code 3: last words"):
        call_exam(["sit"], events=SilentWatcher())


def test_only_known_error_classes_are_raised() -> None:
    error = exam_process._error_of({"type": "system", "message": "m", "hint": "h"}, 1, "sit", "")
    assert isinstance(error, SpiritsafeError)
    assert isinstance(
        exam_process._error_of({"type": "SourceError", "message": "m", "hint": "h"}, 1, "x", ""), SourceError
    )
    assert sys.executable
