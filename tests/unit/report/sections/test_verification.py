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
    (exam,) = data.exams
    assert exam.verification is not None
    assert "one person held all keys" in words
    assert made.count("<li><p>") == len(exam.verification.steps)
    assert "exam verify runs/quickstart-4be1c09f2a71/certificates/student.json" in words
    for entry in exam.verification.certificates:
        assert entry.digest in words
        assert f"What the certificate of {entry.model} says" in words
        assert f"What may be relied on in the certificate of {entry.model}" in words
    assert words.count("The maker held no key of this exam.") == len(exam.verification.certificates)
    assert exam.verification.ledger_head in words
    assert exam.paper in words


def test_without_certificates_the_page_says_what_its_numbers_are_worth(data: ReportData, no_exam: ReportData) -> None:
    (exam,) = data.exams
    assert exam.verification is not None
    silent = exam.model_copy(update={"verification": None})
    for bare in (no_exam, data.model_copy(update={"exams": (silent,)})):
        assert "rest on the maker’s word alone" in text(verify_section(bare))
    none = exam.verification.model_copy(update={"certificates": (), "ledger_head": None})
    words = text(verify_section(data.model_copy(update={"exams": (exam.model_copy(update={"verification": none}),)})))
    assert "No model of this run holds a certificate" in words


def test_each_exam_is_verified_by_itself(two_exams: ReportData) -> None:
    words = text(verify_section(two_exams))
    first, second = words.split(" code ", 1)
    assert two_exams.exams[0].paper in first
    assert two_exams.exams[1].paper in second


def test_lineage_and_licences(data: ReportData) -> None:
    words = text(lineage_section(data))
    assert "SmolLM2-135M-sums (Apache-2.0): weights, outputs, logits" in words
    assert "made elsewhere" in words
    served = data.lineage[0].model_copy(update={"num_parameters": 0, "weight_bytes": 0})
    assert "not known served" in text(lineage_section(data.model_copy(update={"lineage": (served,)})))
    assert "No lineage was recorded" in text(lineage_section(data.model_copy(update={"lineage": ()})))


def test_how_to_repeat(data: ReportData) -> None:
    words = text(run_section(data))
    assert "spiritsafe run quickstart" in words
    assert "torch 2.13.0" in words
    assert data.run.recipe in words
    bare = data.run.model_copy(update={"versions": {}})
    assert "not recorded" in text(run_section(data.model_copy(update={"run": bare})))
