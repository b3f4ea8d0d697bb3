"""What ``exam verify`` says behind its steps, of a published certificate."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result
from places import ROOT

from spiritsafe.cli.exam import command

PUBLISHED = ROOT / "experiments" / "quickstart"


def verify(*more: str, certificate: Path = PUBLISHED / "student.certificate.json") -> Result:
    return CliRunner().invoke(
        command,
        [
            "verify", str(certificate), "--paper", str(PUBLISHED / "paper.json"),
            "--ledger", str(PUBLISHED / "ledger.jsonl"), *more,
        ],
    )  # fmt: skip


def test_one_line_a_promise_behind_score_and_statements() -> None:
    done = verify()
    assert done.exit_code == 0, done.output
    steps, _, rest = done.output.partition('\nVerified: "student" scored 48.3% [39.1%, 57.6%] on 120 sealed problems')
    assert steps.startswith(" 1. ok      certificate file: ")
    _, _, promises = rest.partition("\nWhat may be relied on:\n")
    lines = promises.splitlines()
    assert lines[0] == "holds             The problems were fixed before anybody sat."
    assert "does not hold     The maker held no key of this exam." in lines
    assert "not checked here  The examiner is one that you trust. Give --trust KEY_ID." in lines
    assert any(line.startswith("cannot be told    The score is not from studying") for line in lines)


def test_the_long_form_and_the_page(tmp_path: Path) -> None:
    page = tmp_path / "trust.html"
    done = verify("--long", "--trust-page", str(page))
    assert done.exit_code == 0, done.output
    assert done.output.count("    left to a cheater: ") == done.output.count("    found: ") >= 15
    text = page.read_text("utf-8")
    assert text.startswith("<!doctype html>")
    assert "&quot;student&quot;: what may be relied on" in text


def test_a_certificate_that_fails_says_what_falls_with_it(tmp_path: Path) -> None:
    forged = tmp_path / "forged.json"
    data = (PUBLISHED / "student.certificate.json").read_bytes()
    forged.write_bytes(data.replace(b'"self-examined"', b'"third party"'))
    done = verify(certificate=forged)
    assert done.exit_code != 0
    assert "FAILED  certificate signatures" in done.output
    assert "Verified" not in done.output
    lines = done.output.partition("What may be relied on:\n")[2].splitlines()
    assert lines[0] == "nothing: that takes a certificate that passes every step."
    forged.write_bytes(b"{}")
    done = verify(certificate=forged)
    assert done.exit_code != 0
    assert "What may be relied on" not in done.output
