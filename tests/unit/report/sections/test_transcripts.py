from __future__ import annotations

from page_checker import PageChecker

from spiritsafe.report import ReportData, Transcript
from spiritsafe.report.sections.transcripts import MAX_ANSWERS, MAX_CHARACTERS, transcripts_section


def show(data: ReportData, *transcripts: Transcript) -> PageChecker:
    page = PageChecker(transcripts_section(data.model_copy(update={"transcripts": transcripts})))
    assert page.problems == []
    return page


def test_a_prompt_stands_once_above_all_answers(data: ReportData) -> None:
    page = show(data, *data.transcripts[:3])
    assert page.text.count("47 + 8 − 19") == 1
    assert page.tags.count("article") == 1
    for shown in ("SmolLM2-135M-Instruct", "unparsed", "ran out of tokens", "correct", "wrong", "36 was expected"):
        assert shown in page.text


def test_most_problems_are_folded(data: ReportData) -> None:
    page = show(data, *data.transcripts)
    assert page.tags.count("details") == 1
    assert "3 more problems" in page.text
    assert "1 more problem" in show(data, *data.transcripts[:-2]).text


def test_hostile_answers_stay_text(data: ReportData) -> None:
    attacks = (
        "</pre></div><script>alert(1)</script>",
        "<img src=https://example.invalid/x onerror=alert(1)>",
        '"><style>body{display:none}</style><!--',
        "]]><svg/onload=alert(1)>&#x3c;script&#x3e;",
        "\u202e drow \x00 \x1b]0;title\x07",
    )
    reference = show(data, data.transcripts[0])
    for attack in attacks:
        first = data.transcripts[0]
        assert first.verdict is not None
        verdict = first.verdict.model_copy(update={"answer": attack, "reason": attack})
        page = show(data, first.model_copy(update={"text": attack, "model": attack, "verdict": verdict}))
        assert set(page.tags) - {"q"} == set(reference.tags)
        assert not [key for _, key, _ in page.attributes if key.startswith("on")]
        if attack.isprintable():
            assert page.text.count(" ".join(attack.split())) >= 3


def test_length_and_number_are_bounded(data: ReportData) -> None:
    first = data.transcripts[0]
    page = show(data, first.model_copy(update={"text": "x" * 100_000}))
    assert page.text.count("x" * MAX_CHARACTERS) == 1
    assert "more characters]" in page.text
    many = [first.model_copy(update={"text": f"answer {number}."}) for number in range(MAX_ANSWERS + 5)]
    page = show(data, *many)
    assert f"{MAX_ANSWERS} of {MAX_ANSWERS + 5} answers are shown" in page.text
    assert f"answer {MAX_ANSWERS}." not in page.text


def test_empty_answers_and_no_transcripts(data: ReportData) -> None:
    assert "(wrote nothing)" in show(data, data.transcripts[0].model_copy(update={"text": " \n"})).text
    assert "kept no train or dev transcripts" in show(data).text
