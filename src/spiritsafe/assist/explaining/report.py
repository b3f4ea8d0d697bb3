"""What became of the explanations of one file: a record, and the page that people read.

In: nothing. Out: :class:`ExplanationsReport`, and its text in Markdown.
"""

from __future__ import annotations

import re
from typing import Literal, final

from spiritsafe.assist.asker import AskingCost
from spiritsafe.assist.code_report import CodeReport
from spiritsafe.core.records import Record
from spiritsafe.core.text.safe_text import one_line, visible

ExplanationVerdict = Literal[
    "suffices",
    "told by its name alone",
    "does not suffice",
    "not shown",
    "leaks code",
    "no explanation",
    "not known",
]
"""The routine was written anew from it, and all tests passed, which they do not without it; they do without it, too;
a test failed; no test notices when the routine is gone, so nothing can be shown; it spells out code, so that nothing is
shown; the model gave none; the rebuilding model gave none, or its code could not be run."""
_MEANS: dict[ExplanationVerdict, str] = {
    "suffices": "From this alone a model wrote the routine anew, and all tests passed; without it they did not.",
    "told by its name alone": "All tests passed, but so they did when the model had only the heading.",
    "does not suffice": "What a model wrote from this failed tests.",
    "not shown": "No test notices when the routine is taken away, so nothing was shown.",
    "leaks code": "It spells out code, so rebuilding it shows nothing.",
    "no explanation": "The model gave none.",
    "not known": "It could not be tried.",
}
_TAG, _IMAGE = re.compile(r"<(?=[A-Za-z/!?])"), re.compile(r"!\[")
"""What begins HTML, and what is fetched as soon as the page is shown."""


@final
class ExplainedRoutine(Record):
    """A routine and what was said of it.

    Attributes:
        name: The routine's.
        line: Where it begins, from 1.
        verdict: See :data:`ExplanationVerdict`.
        explanation: As the model wrote it.
        reason: What else is to be said; "": nothing.
        tests: Those that fail when the routine is taken away.
        failed: Those that failed on what was written from the explanation.
    """

    name: str
    line: int
    verdict: ExplanationVerdict
    explanation: str
    reason: str = ""
    tests: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()


@final
class ExplanationsReport(CodeReport):
    """What became of one file; ``tests_file`` has the tests that decided, ``cost`` is that of explanations.

    Attributes:
        rebuilder: The name of the model that wrote the routines anew.
        rebuilder_digest: Its digest; the same as the other where one model did both.
        routines: Each of them.
        ignored: Of tests that do not hold for the file as it is, why.
        rebuilding_cost: Of writing anew.
    """

    rebuilder: str
    rebuilder_digest: str
    routines: tuple[ExplainedRoutine, ...]
    ignored: dict[str, str]
    rebuilding_cost: AskingCost

    @property
    def share(self) -> float:
        """Of the routines, how many were written anew rightly, by name alone or not."""
        good = sum(one.verdict in ("suffices", "told by its name alone") for one in self.routines)
        return good / max(1, len(self.routines))


def explanations_page(report: ExplanationsReport) -> str:
    """The page, in Markdown."""
    by = "the same model" if report.rebuilder_digest == report.model_digest else report.rebuilder
    parts = [
        _harmless_line(f"# {report.path}"),
        _harmless_line(
            f"Explained by {report.model}; each explanation was tried: {by} wrote the routine anew from it and the "
            f"heading, and the tests in {report.tests_file} decided."
        ),
    ]
    for one in report.routines:
        parts += [_harmless_line(f"## {one.name} (line {one.line})"), _as_quoted(one.explanation) or "No explanation."]
        told = f"**{one.verdict}**: {_MEANS[one.verdict]}"
        if one.reason:
            told += f" {one.reason[0].upper()}{one.reason[1:]}."
        if one.failed:
            told += f" Failed: {', '.join(one.failed)}."
        if one.tests:
            told += f" Tests of it: {', '.join(one.tests)}."
        parts.append(_harmless_line(told))
    return "\n\n".join(parts) + "\n"


def _as_quoted(text: str) -> str:
    """A model's text as a quotation: no heading or verdict in it can pass for one of the page's own."""
    return "\n".join(f"> {line}".rstrip() for line in _harmless(text).splitlines())


def _harmless_line(text: str) -> str:
    return _harmless(one_line(text))


def _harmless(text: str) -> str:
    return _IMAGE.sub(r"!\\[", _TAG.sub("&lt;", visible(text)))
