"""Reads a page as a browser would and says what is wrong with it."""

from __future__ import annotations

from html.parser import HTMLParser


class PageChecker(HTMLParser):
    """Parses a page and records what is wrong with it: unbalanced tags, doubled ids, references to nothing."""

    _VOID = frozenset({"meta", "link", "br", "hr", "col"})

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.problems: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        self.problems += [f"<{name}> is never closed" for name in self._open]
        ids = [value for _, key, value in self.attributes if key == "id"]
        self.problems += [f"id {name} stands twice" for name in set(ids) if ids.count(name) > 1]
        references = [value.split() for _, key, value in self.attributes if key == "aria-labelledby"]
        references += [[value[1:]] for _, key, value in self.attributes if key == "href" and value.startswith("#")]
        self.problems += [f"#{name} is nowhere" for names in references for name in names if name not in ids]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_startendtag(tag, attrs)
        if tag not in self._VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, key, value or "") for key, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        if not self._open or self._open.pop() != tag:
            self.problems.append(f"</{tag}> closes nothing")

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.words.append(data)

    @property
    def text(self) -> str:
        """What a reader sees and hears."""
        return " ".join(" ".join(self.words).split())
