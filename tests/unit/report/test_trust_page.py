from __future__ import annotations

from pathlib import Path

from page_checker import PageChecker
from report_parts import estimate, example_promises

from spiritsafe.exam.records.trust import TrustPage
from spiritsafe.report import build_trust_page, write_trust_page


def example_page(**changes: object) -> TrustPage:
    page = TrustPage(
        certificate="sha256:" + 8 * "4be1c09f",
        model_name="student",
        task="arith:sums",
        sealed=estimate(0.545, 0.069),
        verified=True,
        promises=example_promises(),
    )
    return page.model_copy(update=changes)


def test_the_page_is_one_file_that_loads_and_runs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "trust.html"
    write_trust_page(path, example_page())
    text = path.read_text("utf-8")
    page = PageChecker(text)
    assert page.problems == []
    assert not {"script", "img", "iframe", "object"} & set(page.tags)
    assert not [value for _, key, value in page.attributes if key in ("src", "href") and value != "data:,"]
    assert "default-src &#x27;none&#x27;" in text
    assert '"student": what may be relied on' in page.text
    assert "Every step of the verification passed" in page.text
    assert "sha256:" + 8 * "4be1c09f" in page.text


def test_a_failed_verification_is_said_first() -> None:
    assert "The verification failed" in PageChecker(build_trust_page(example_page(verified=False))).text


def test_a_hostile_name_stays_text() -> None:
    page = PageChecker(build_trust_page(example_page(model_name="</title><script>alert(1)</script>\x1b[2K")))
    assert page.problems == []
    assert "script" not in page.tags
    assert "⟨U+001B⟩" in page.text
