"""Doors to other tools as their users meet them: what comes in is called practice, what goes out is a certificate's."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from places import ROOT, TESTS

from spiritsafe.cli.exam import command
from spiritsafe.core.errors import CompatibilityError, IntegrityError, RecipeError
from spiritsafe.ledger import KeyPair

FOREIGN = TESTS / "golden" / "foreign"
CERTIFICATE = ROOT / "experiments" / "quickstart" / "student.certificate.json"


def exam(*arguments: str | Path) -> Any:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def lm_eval(name: str) -> Path:
    return next((FOREIGN / f"lm-eval-{name}").glob("samples_*.jsonl"))


def test_an_inspect_log_is_imported_and_compared(tmp_path: Path) -> None:
    other, out = tmp_path / "b.jsonl", tmp_path / "a.jsonl"
    assert exam("import", FOREIGN / "sums-b.json", "--out", other).exit_code == 0
    done = exam("import", FOREIGN / "sums-a.json", "--out", out, "--against", other)
    assert done.exit_code == 0, done.output
    assert "mockllm/model on sums: 7 problems, inspect-ai 0.3." in done.output
    assert "2 correct, 1 wrong, 1 unparsed, 0 unscored, 1 refused, 1 truncated, 1 error" in done.output
    assert "accuracy 28.6% [3.7%, 71.0%], all in the denominator" in done.output
    assert "-42.9 points [" in done.output
    assert "McNemar mid-p" in done.output
    assert "This is practice: nothing was sealed and nothing was registered" in done.output
    lines = out.read_text("utf-8").splitlines()
    assert json.loads(lines[0])["evidence"] == "practice"
    assert len(lines) == 8


def test_sample_files_of_the_harness_are_imported(tmp_path: Path) -> None:
    done = exam("import", lm_eval("b"), "--out", tmp_path / "b.jsonl", "--filter", "strict")
    assert done.exit_code == 0, done.output
    assert "b on sums: 7 problems, lm-eval 0.4.13, exact_match,strict" in done.output
    assert "does not record how an answer ended" in done.output
    assert "practice" in done.output


def test_tries_are_said(tmp_path: Path) -> None:
    assert "2 problems × 2 tries" in exam("import", FOREIGN / "epochs.json", "--out", tmp_path / "e.jsonl").output


def test_options_of_the_other_tool_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    for arguments in (
        (FOREIGN / "sums-a.json", "--metric", "exact_match"),
        (FOREIGN / "sums-a.json", "--filter", "strict"),
        (lm_eval("a"), "--scorer", "pattern"),
        (FOREIGN / "README.md",),
    ):
        done = exam("import", *arguments, "--out", out)
        assert isinstance(done.exception, RecipeError), arguments
    assert not out.exists()


def test_what_cannot_be_compared_is_not_written(tmp_path: Path) -> None:
    other, out = tmp_path / "b.jsonl", tmp_path / "a.jsonl"
    exam("import", lm_eval("b"), "--out", other, "--filter", "strict")
    done = exam("import", FOREIGN / "sums-a.json", "--out", out, "--against", other)
    assert isinstance(done.exception, CompatibilityError)
    assert not out.exists()


def test_a_practice_file_is_no_certificate(tmp_path: Path) -> None:
    out = tmp_path / "a.jsonl"
    exam("import", FOREIGN / "sums-a.json", "--out", out)
    paper = CERTIFICATE.parent / "paper.json"
    assert exam("verify", out, "--paper", paper).exit_code != 0
    for kind in ("in-toto", "every-eval-ever"):
        done = exam("export", out, "--format", kind, "--out", tmp_path / "x.json")
        assert isinstance(done.exception, IntegrityError)
    exam("key", tmp_path / "k.json")
    done = exam("rerun", out, "--paper", paper, "--endpoint", "http://127.0.0.1:9", "--endpoint-model", "m",
                "--key", tmp_path / "k.json", "--out", tmp_path / "r.json")  # fmt: skip
    assert isinstance(done.exception, IntegrityError)


def test_a_certificate_goes_out_in_both_schemas(tmp_path: Path) -> None:
    out, key = tmp_path / "out.json", tmp_path / "key.json"
    done = exam("export", CERTIFICATE, "--format", "in-toto", "--out", out)
    assert done.exit_code == 0, done.output
    assert '"student": WARNED, not signed' in done.output
    said = json.loads(out.read_text("utf-8"))
    assert said["predicate"]["result"] == "WARNED"
    pair = KeyPair.generate("Ann")
    pair.save(key)
    done = exam("export", CERTIFICATE, "--format", "in-toto", "--key", key, "--out", out)
    assert f'"student": WARNED, signed by {pair.public.label}' in done.output
    assert json.loads(out.read_text("utf-8"))["signatures"][0]["keyid"] == pair.public.key_id
    assert exam("export", CERTIFICATE, "--format", "every-eval-ever", "--out", out).exit_code == 0
    assert json.loads(out.read_text("utf-8"))["schema_version"] == "0.3.0"


def test_an_altered_certificate_and_a_key_in_vain_are_refused(tmp_path: Path) -> None:
    out, altered = tmp_path / "out.json", tmp_path / "altered.json"
    text = CERTIFICATE.read_text("utf-8")
    altered.write_text(text.replace('"model_name":"student"', '"model_name":"teacher"'), "utf-8")
    assert altered.read_text("utf-8") != text
    for kind in ("in-toto", "every-eval-ever"):
        assert isinstance(exam("export", altered, "--format", kind, "--out", out).exception, IntegrityError)
    key = tmp_path / "key.json"
    KeyPair.generate("Ann").save(key)
    done = exam("export", CERTIFICATE, "--format", "every-eval-ever", "--key", key, "--out", out)
    assert isinstance(done.exception, RecipeError)
    assert not out.exists()


@pytest.mark.parametrize("missing", ["results_*.json"])
def test_a_moved_results_file_can_be_named(tmp_path: Path, missing: str) -> None:
    shutil.copytree(lm_eval("a").parent, tmp_path / "a")
    (results,) = (tmp_path / "a").glob(missing)
    results.rename(tmp_path / "r.json")
    file = next((tmp_path / "a").glob("samples_*.jsonl"))
    done = exam("import", file, "--out", tmp_path / "o.jsonl", "--filter", "strict", "--results", tmp_path / "r.json")
    assert done.exit_code == 0, done.output
