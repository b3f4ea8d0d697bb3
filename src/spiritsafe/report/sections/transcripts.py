"""Sample transcripts: what models were asked on train and dev problems, and what they wrote.

In: transcripts. Out: a section that shows each prompt once with every model's answer below. Model output is hostile
text: it is escaped, its hidden characters are made visible, and it is cut to a length that keeps the page readable.
"""

from __future__ import annotations

from collections.abc import Iterable

from spiritsafe.report.data.run import ReportData, Transcript
from spiritsafe.report.html.markup import Html, paragraph, section, tag
from spiritsafe.report.numbers import count_text

MAX_CHARACTERS = 3000
MAX_ANSWERS = 60
_OPEN = 3  # prompts that are shown unfolded


def transcripts_section(data: ReportData) -> Html:
    """Prompts with the answers of all models."""
    title = "Sample transcripts"
    if not data.transcripts:
        return section("transcripts", title, paragraph("This run kept no train or dev transcripts."))
    shown = data.transcripts[:MAX_ANSWERS]
    lead = "Train and dev problems only; exam problems stay sealed."
    if len(shown) < len(data.transcripts):
        lead += f" {len(shown)} of {count_text(len(data.transcripts))} answers are shown."
    talks = [_transcript(group) for group in _grouped(shown)]
    rest = talks[_OPEN:]
    folded = (
        tag("details", tag("summary", f"{len(rest)} more problem{'s' if len(rest) > 1 else ''}"), *rest)
        if rest
        else None
    )
    return section("transcripts", title, paragraph(lead, class_="lead"), *talks[:_OPEN], folded)


def _grouped(transcripts: Iterable[Transcript]) -> list[list[Transcript]]:
    """Answers to the same messages together, in the order of their first answer."""
    groups: dict[tuple[object, ...], list[Transcript]] = {}
    for transcript in transcripts:
        groups.setdefault((transcript.split, transcript.messages), []).append(transcript)
    return list(groups.values())


def _transcript(group: list[Transcript]) -> Html:
    prompt = [
        tag("div", tag("span", message.role, class_="who"), _quoted(message.content), class_="turn")
        for message in group[0].messages
    ]
    head = tag("p", f"{group[0].split} problem", class_="split")
    return tag("article", head, *prompt, *(_answer(transcript) for transcript in group), class_="talk")


def _answer(transcript: Transcript) -> Html:
    verdict = transcript.verdict
    status = verdict.status if verdict else "not graded"
    badge = tag("span", status, class_=f"badge b-{status}" if verdict else "badge")
    details = []
    if verdict and verdict.answer is not None:
        details.append(tag("span", "read as ", tag("q", _cut(verdict.answer, 200))))
    if verdict and verdict.reason:
        details.append(tag("span", _cut(verdict.reason, 300)))
    if transcript.finish_reason != "stop":
        ends = {"length": "ran out of tokens", "refused": "refused", "error": "failed"}
        details.append(tag("span", ends[transcript.finish_reason]))
    foot = tag("p", badge, *(part for detail in details for part in (" · ", detail)), class_="judged")
    return tag(
        "div",
        tag("span", transcript.model, class_="who model"),
        _quoted(transcript.text) if transcript.text.strip() else paragraph("(wrote nothing)", class_="none"),
        foot,
        class_="turn answer",
    )


def _quoted(text: str) -> Html:
    return tag("pre", _cut(text, MAX_CHARACTERS), class_="quoted", dir="auto")


def _cut(text: str, limit: int) -> str:
    left_out = len(text) - limit
    return text if left_out <= 0 else f"{text[:limit]} … [{count_text(left_out)} more characters]"
