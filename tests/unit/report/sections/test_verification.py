from __future__ import annotations

from page_checker import PageChecker

from spiritsafe.report import ReportData
from spiritsafe.report.sections.verification import lineage_section, run_section, verify_section


def text(markup: str) -> str:
    page = PageChecker(markup)
    assert page.problems == []
    return page.text


def test_steps_certificates_and_separation(data: ReportData) -> None:
    made = verify_section(data)
    words = text(made)
    assert data.verification is not None
    assert "one person held all keys" in words
    assert made.count("<li><p>") == len(data.verification.steps)
    assert "exam verify runs/quickstart-4be1c09f2a71/certificates/student.json" in words
    for entry in data.verification.certificates:
        assert entry.digest in words
        assert f"What the certificate of {entry.model} says" in words
        assert f"What may be relied on in the certificate of {entry.model}" in words
    assert words.count("The maker held no key of this exam.") == len(data.verification.certificates)
    assert data.verification.ledger_head in words
    assert data.exam is not None
    assert data.exam.paper in words


def test_without_certificates_the_page_says_what_its_numbers_are_worth(data: ReportData) -> None:
    assert "rest on the maker’s word alone" in text(verify_section(data.model_copy(update={"verification": None})))
    assert data.verification is not None
    none = data.verification.model_copy(update={"certificates": (), "ledger_head": None})
    words = text(verify_section(data.model_copy(update={"verification": none, "exam": None})))
    assert "No model of this run holds a certificate" in words


def test_lineage_and_licences(data: ReportData) -> None:
    words = text(lineage_section(data))
    assert "SmolLM2-135M-sums (Apache-2.0): weights, outputs, logits" in words
    assert "made elsewhere" in words
    assert "No lineage was recorded" in text(lineage_section(data.model_copy(update={"lineage": ()})))


def test_how_to_repeat(data: ReportData) -> None:
    words = text(run_section(data))
    assert "spiritsafe run quickstart" in words
    assert "torch 2.13.0" in words
    assert data.run.recipe in words
    bare = data.run.model_copy(update={"versions": {}})
    assert "not recorded" in text(run_section(data.model_copy(update={"run": bare})))
