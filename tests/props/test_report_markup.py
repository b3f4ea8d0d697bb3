"""Whatever a model writes, it stays text: no tag of its own, no character that hides, and nothing readable is lost."""

from __future__ import annotations

import unicodedata
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from spiritsafe.core.text.safe_text import visible
from spiritsafe.report.html.markup import tag

TEXT = st.text() | st.text(alphabet="<>&\"'/=-! \n\t\r\x00\u202ascriptp", max_size=40)


class _Reader(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.events: list[tuple[str, object]] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.events.append((tag, attrs))

    def handle_endtag(self, tag: str) -> None:
        self.events.append(("/" + tag, None))

    def handle_data(self, data: str) -> None:
        self.events.append(("", data))

    def handle_comment(self, data: str) -> None:
        self.events.append(("!", data))


@given(TEXT, TEXT)
def test_text_and_attributes_come_back_as_they_are_shown(text: str, attribute: str) -> None:
    events = _Reader(tag("p", text, title=attribute)).events
    assert [name for name, _ in events if name] == ["p", "/p"]
    assert events[0] == ("p", [("title", visible(attribute))])
    assert "".join(str(data) for name, data in events if not name) == visible(text)


@given(TEXT)
def test_nothing_hidden_is_left_and_showing_it_twice_changes_nothing(text: str) -> None:
    shown = visible(text)
    hidden = [char for char in shown if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn")]
    assert set(hidden) <= set("\n\t\u200c\u200d")
    assert visible(shown) == shown
    shown.encode("utf-8")
