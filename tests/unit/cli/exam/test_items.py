"""``exam items``, a shorter sitting and ``exam foreign`` as their users meet them."""

from __future__ import annotations

import json
import re
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fake_endpoint import FakeEndpoint
from item_parts import able, past_sittings
from places import ROOT

from spiritsafe.cli.exam import command
from spiritsafe.core.files.record_files import read_record, write_record
from spiritsafe.exam import ShorterTerms, learn_items
from spiritsafe.exam.records.items import PaperItems
from spiritsafe.stats.contamination.reference_models import ForeignTest

EXPERIMENTS = ROOT / "experiments"
LADDER = EXPERIMENTS / "ladder"


def exam(*arguments: str) -> Any:
    return CliRunner().invoke(command, list(arguments))


def said(done: Any) -> str:
    """Output and error, as one paragraph."""
    return f"{done.output} {done.exception} {getattr(done.exception, 'hint', '')}"


@pytest.fixture(scope="module")
def ladder_items(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What the published ladder of students teaches."""
    path = tmp_path_factory.mktemp("items") / "items.json"
    certificates = [str(file) for file in sorted(LADDER.glob("*.certificate.json"))]
    done = exam("items", *certificates, "--paper", str(LADDER), "--shorter", "50", "--out", str(path))
    assert done.exit_code == 0, said(done)
    return path, done.output


def test_items_of_published_certificates(ladder_items: tuple[Path, str]) -> None:
    path, text = ladder_items
    assert "23 sittings of 200 problems (100 public, 100 sealed)." in text
    assert "checked against the paper. The ledger was not given" in text
    assert "Warning" not in text
    assert re.search(r"Hardest: \d+ \((sealed|public)\) ", text)
    assert re.search(r"\+0\.\d\d ± 0\.\d\d  \"teacher\"", text)
    assert "problems were solved by each of 23 students" in text
    assert re.search(r"\d+ chosen problems of the sealed half .* as precisely as 50 of its 100", text)
    items = read_record(path, PaperItems)
    assert items.checked == "paper"
    assert len(items.sittings) == 23


def test_other_papers_and_too_few_are_refused_by_name() -> None:
    mixed = exam(
        "items", str(LADDER / "teacher.certificate.json"), str(EXPERIMENTS / "quickstart" / "student.certificate.json")
    )
    assert mixed.exit_code != 0
    assert "another paper" in said(mixed)
    assert "student" in said(mixed)
    one = exam("items", str(LADDER / "teacher.certificate.json"), str(LADDER / "teacher.certificate.json"))
    assert one.exit_code != 0
    assert "at least two models" in said(one)
    two = exam("items", str(LADDER / "teacher.certificate.json"), str(LADDER / "base.certificate.json"))
    assert two.exit_code == 0, said(two)
    assert "Warning: 2 sittings are few" in two.output
    ledger = exam(
        "items", str(LADDER / "teacher.certificate.json"), str(LADDER / "base.certificate.json"),
        "--ledger", str(EXPERIMENTS / "quickstart" / "ledger.jsonl"),
    )  # fmt: skip
    assert ledger.exit_code != 0
    assert "teacher.certificate.json: Step" in said(ledger)


def register(paper: Path, root: Path, endpoint: FakeEndpoint, *options: str) -> Any:
    exam("key", str(root / "maker.json"), "--holder", "Maker")
    return exam(
        "register", str(paper), "--endpoint", endpoint.url, "--endpoint-model", "fake-model", "--name", "shorty",
        "--ledger", str(root / "ledger.jsonl"), "--key", str(root / "maker.json"),
        "--max-tokens", "8", "--probes", "0", "--hypothesis", "as good as its kin",
        "--out", str(root / "registration.json"), *options,
    )  # fmt: skip


def test_a_shorter_registration_is_made_from_the_file(ladder_items: tuple[Path, str], tmp_path: Path) -> None:
    items, _ = ladder_items
    shutil.copy(LADDER / "ledger.jsonl", tmp_path / "ledger.jsonl")
    with closing(FakeEndpoint(lambda request: "7")) as endpoint:
        half = register(LADDER, tmp_path, endpoint, "--shorter", str(items))
        assert half.exit_code != 0
        assert "both --shorter FILE and --as-precise-as N" in said(half)
        claim = register(
            LADDER, tmp_path, endpoint, "--shorter", str(items), "--as-precise-as", "50", "--claim", "score >= 0.1"
        )
        assert claim.exit_code != 0
        assert "cannot keep a claim" in said(claim)
        wrong = register(LADDER, tmp_path, endpoint, "--shorter", str(LADDER / "paper.json"), "--as-precise-as", "50")
        assert wrong.exit_code != 0
        assert "Not a valid PaperItems" in said(wrong)
        done = register(LADDER, tmp_path, endpoint, "--shorter", str(items), "--as-precise-as", "50")
    assert done.exit_code == 0, said(done)
    assert "It will predict the score of the sealed half, not measure it" in done.output
    registration = json.loads((tmp_path / "registration.json").read_text())
    assert registration["chosen"]["num_fixed"] == 50
    assert len(registration["chosen"]["places"]) < 50


def test_an_adaptive_registration_leaves_the_choice_to_the_answers(
    ladder_items: tuple[Path, str], tmp_path: Path
) -> None:
    items, _ = ladder_items
    shutil.copy(LADDER / "ledger.jsonl", tmp_path / "ledger.jsonl")
    with closing(FakeEndpoint(lambda request: "7")) as endpoint:
        alone = register(LADDER, tmp_path, endpoint, "--adaptive")
        assert alone.exit_code != 0
        assert "both --shorter FILE and --as-precise-as N" in said(alone)
        done = register(LADDER, tmp_path, endpoint, "--shorter", str(items), "--as-precise-as", "50", "--adaptive")
    assert done.exit_code == 0, said(done)
    assert "one after the other, until the ability is known as precisely as from 50 at random" in done.output
    registration = json.loads((tmp_path / "registration.json").read_text())
    assert registration["chosen"]["adaptive"] is True
    assert registration["chosen"]["places"] == []


def test_a_shorter_certificate_is_never_shown_as_a_score(tmp_path: Path) -> None:
    stage, certificates = past_sittings(tmp_path, count=40)
    items = learn_items(certificates)
    write_record(tmp_path / "items.json", items)
    stage.certificate(able(0.2, "short"), name="short", shorter=ShorterTerms(items=items, num_fixed=12))
    given = ("--paper", str(stage.papers), "--ledger", str(stage.ledger.path))
    done = exam(
        "verify", str(tmp_path / "short" / "certificate.json"), *given, "--items", str(tmp_path / "items.json"),
        "--long", "--trust-page", str(tmp_path / "trust.html"),
    )  # fmt: skip
    assert done.exit_code == 0, said(done)
    assert re.search(r'Verified: "short" was asked \d+ chosen problems .* That score was not measured\.', done.output)
    assert "short scored" not in done.output
    assert "Studying was not tested" in done.output
    assert "Predicted, not measured: " in (tmp_path / "trust.html").read_text()
    listed = exam("registrations", str(stage.papers), "--ledger", str(stage.ledger.path))
    assert re.search(r"\"short\" sealed \d+\.\d% predicted from chosen problems", listed.output)
    assert re.search(r"\"past 3\" sealed \d+\.\d%  sha256:", listed.output)


def test_foreign_from_a_file(tmp_path: Path) -> None:
    rows = [
        {"name": f"reference {k}", "foreign": 240 + 3 * k, "num_foreign": 400, "fresh": 220, "num_fresh": 400}
        for k in range(8)
    ]
    student = {"name": "pupil", "student": True, "foreign": 350, "num_foreign": 400, "fresh": 225, "num_fresh": 400}
    file, out = tmp_path / "counts.jsonl", tmp_path / "test.json"
    file.write_text("".join(json.dumps(row) + "\n" for row in [*rows, student]))
    done = exam("foreign", str(file), "--out", str(out))
    assert done.exit_code == 0, said(done)
    assert "A sign of studying the foreign benchmark" in done.output
    assert "Smallest leak that would be found" in done.output
    assert re.search(r"pupil +87\.5% +56\.2% +\+31\.2  student", done.output)
    assert read_record(out, ForeignTest).num_references == 8
    file.write_text(json.dumps(rows))
    wrong = exam("foreign", str(file))
    assert wrong.exit_code != 0
    assert "0 rows say that they are the student's" in said(wrong)
