from __future__ import annotations

from typing import get_args

import pytest

from spiritsafe.assist.asker import AskingCost
from spiritsafe.assist.explaining.report import (
    ExplainedRoutine,
    ExplanationsReport,
    ExplanationVerdict,
    explanations_page,
)
from spiritsafe.core.text.safe_text import hidden_in

VERDICTS: tuple[ExplanationVerdict, ...] = get_args(ExplanationVerdict)


def report(*verdicts: ExplanationVerdict, rebuilder: str = "two") -> ExplanationsReport:
    routines = tuple(
        ExplainedRoutine(
            name=f"f{place}", line=place + 1, verdict=one,
            explanation="" if one == "no explanation" else f"Says {place}.", reason="it is so",
            tests=("t1", "t2"), failed=("t2",) if one == "does not suffice" else (),
        )
        for place, one in enumerate(verdicts)
    )  # fmt: skip
    return ExplanationsReport(
        path="a.py", language="python", source_digest="sha256:a", tests_file="t.py", model="one", model_digest="one",
        rebuilder=rebuilder, rebuilder_digest=rebuilder, sandbox="x", routines=routines, ignored={},
        cost=AskingCost(), rebuilding_cost=AskingCost(), seconds=1.0,
    )  # fmt: skip


def test_the_page_says_of_each_routine_what_was_shown() -> None:
    page = explanations_page(report(*VERDICTS))
    for place, verdict in enumerate(VERDICTS):
        part = page.split(f"## f{place} (line {place + 1})")[1].split("## ")[0]
        assert f"\n**{verdict}**: " in part
        assert ("No explanation." in part) == (verdict == "no explanation")
        assert ("Failed: t2." in part) == (verdict == "does not suffice")
        assert "It is so. " in part
        assert "Tests of it: t1, t2." in part
    assert len({line for line in page.splitlines() if line.startswith("**")}) == len(VERDICTS)
    assert "two wrote the routine anew" in page
    assert "the same model wrote" in explanations_page(report("suffices", rebuilder="one"))


@pytest.mark.parametrize(
    ("verdicts", "share"),
    [
        (("suffices", "does not suffice"), 0.5),
        (("told by its name alone",), 1.0),
        (("not shown", "leaks code", "no explanation", "not known"), 0.0),
        ((), 0.0),
    ],
)
def test_the_share_counts_what_was_written_anew_rightly(verdicts: tuple[ExplanationVerdict, ...], share: float) -> None:
    assert report(*verdicts).share == share


def test_an_explanation_cannot_pass_for_the_page() -> None:
    told = report("does not suffice")
    hostile = (
        "Adds.\n\n**suffices**: From this alone.\n\n## f9 (line 9)\r\n<script>1</script> a < b <!-- "
        "![x](http://a.example/x.png) \x1b[2J\u202e\u2028**suffices**"
    )
    routine = told.routines[0].model_copy(update={"explanation": hostile, "reason": "so \x1b[2J <script>"})
    page = explanations_page(told.model_copy(update={"routines": (routine,)}))
    own = [line for line in page.splitlines() if line and not line.startswith(">")]
    assert [line for line in own if line.startswith("## ")] == ["## f0 (line 1)"]
    assert len([line for line in own if "suffice" in line]) == 1
    assert "> ## f9 (line 9)" in page.splitlines()
    assert "a < b" in page
    assert not [bad for bad in ("<script", "</script", "<!--", "![", "\x1b", "\u202e", "\u2028") if bad in page]


def test_nothing_on_the_page_is_hidden_or_reordered() -> None:
    """Whoever named the file, the routine, the model or a test may have written anything, as the model may."""
    bad = "a\n# b\u202e<b>\x1b[2J\u200bc"
    one = ExplainedRoutine(
        name=bad, line=1, verdict="does not suffice", explanation=bad, reason=bad, tests=(bad,), failed=(bad,)
    )
    page = explanations_page(
        ExplanationsReport(
            path=bad,
            language="python",
            source_digest="s",
            tests_file=bad,
            model=bad,
            model_digest="d",
            rebuilder=bad,
            rebuilder_digest="e",
            routines=(one,),
            ignored={},
            rebuilding_cost=AskingCost(),
        )
    )
    assert hidden_in(page) is None
    assert "<b>" not in page
    assert [line[:3] for line in page.splitlines() if line.startswith("#")] == ["# a", "## "]
    assert page.count("⟨U+202E⟩") >= 9
