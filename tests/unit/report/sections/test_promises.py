from __future__ import annotations

from page_checker import PageChecker
from report_parts import example_promises

from spiritsafe.report.sections.promises import trust_table


def test_each_promise_with_state_finding_and_what_is_left() -> None:
    promises = example_promises()
    page = PageChecker(trust_table(promises, caption="Promises"))
    assert page.problems == []
    for promise in promises:
        for words in (promise.text, promise.state, promise.finding, promise.cheat):
            assert words in page.text
    assert "To check it, give --witness FILE." in page.text
    assert page.text.count("To check it") == 1
    assert "(step 4, 5)" in page.text


def test_what_others_wrote_stays_text() -> None:
    attack = "</td><script>alert(1)</script>\u202e"
    (first, *_) = example_promises()
    made = trust_table([first.model_copy(update={"finding": attack})], caption=attack)
    page = PageChecker(made)
    assert page.problems == []
    assert "script" not in page.tags
    assert "\u202e" not in made
