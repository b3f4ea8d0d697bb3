from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_training import tiny_decoder

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.files.checked_lines import write_sealed_lines
from spiritsafe.core.records import Record
from spiritsafe.models import LanguageModel
from spiritsafe.training.data.rounds import Round, RoundFeed, RoundFormat, RoundHeader, round_path


class Word(Record):
    """An answer that only this test knows."""

    text: str


class Tally(RoundHeader):
    before: int
    num_words: int


class Page(Round[Tally, Word]):
    @property
    def text(self) -> str:
        return " ".join(word.text for word in self.answers)


PAGES = RoundFormat(make=Page, header=Tally, answer=Word, encode=Record.canonical, decided_by="pens and paper")


class PageFeed(RoundFeed[Page, Sequence[str]]):
    """Two words a round, one a step; a round's ``before`` is the words of all rounds before it."""

    def __init__(self, directory: Path, model: LanguageModel, pen: str = "blue") -> None:
        super().__init__(
            PAGES,
            directory=directory,
            steps_per_round=2,
            description={"pen": pen},
            first_weights={"hand": 1},
            events=None,
        )
        self.drawn: list[int] = []
        self.model = model

    def words_of(self, step: int) -> str:
        served, place = self._opened(step, self.model)
        return served[place]

    def _before(self, index: int) -> int:
        return 2 * index

    def _draw(self, index: int, model: LanguageModel, weights: str, before: Any) -> Page:
        self.drawn.append(index)
        words = tuple(Word(text=f"{index}.{place}") for place in range(2))
        header = Tally(feed=self._digest, round_index=index, before=before, weights=weights, num_words=2)
        return Page(header, words)

    def _prepare(self, round_: Page) -> Sequence[str]:
        return round_.text.split()


@pytest.fixture
def feed(tmp_path: Path) -> PageFeed:
    return PageFeed(tmp_path, tiny_decoder())


def test_rounds_that_only_this_test_knows_are_drawn_once_and_served(feed: PageFeed, tmp_path: Path) -> None:
    assert [feed.words_of(step) for step in range(4)] == ["0.0", "0.1", "1.0", "1.1"]
    assert feed.drawn == [0, 1]
    assert [feed.epoch_of(step) for step in range(4)] == [0, 0, 1, 1]
    assert feed.describe() == {"pen": "blue"}
    assert PAGES.read(tmp_path, 1, feed=feed._digest).text == "1.0 1.1"
    assert PAGES.read_header(tmp_path, 1, feed=feed._digest).before == 2


def test_a_later_sitting_reads_what_an_earlier_one_drew(feed: PageFeed, tmp_path: Path) -> None:
    served = [feed.words_of(step) for step in range(4)]
    files = {path.name: path.read_bytes() for path in tmp_path.glob("round-*")}
    for first in range(4):
        again = PageFeed(tmp_path, feed.model)
        assert [again.words_of(step) for step in range(first, 4)] == served[first:]
        assert again.drawn == []
    assert {path.name: path.read_bytes() for path in tmp_path.glob("round-*")} == files


def test_a_round_of_other_weights_or_after_other_rounds_is_drawn_again(feed: PageFeed, tmp_path: Path) -> None:
    feed.words_of(0)
    other = PageFeed(tmp_path, tiny_decoder())
    with torch.no_grad():
        next(other.model.parameters()).mul_(1.5)
    other.words_of(0)
    assert other.drawn == [0]
    stored = PAGES.read(tmp_path, 0, feed=feed._digest)
    PAGES.write(tmp_path, Page(stored.header.model_copy(update={"before": 7}), stored.answers))
    again = PageFeed(tmp_path, other.model)
    again.words_of(0)
    assert again.drawn == [0]


def test_in_the_middle_of_a_round_only_its_file_will_do(feed: PageFeed, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match=r"round-00000.jsonl is missing"):
        feed.words_of(1)
    feed.words_of(0)
    with pytest.raises(IntegrityError, match=r"belongs to another run: pens and paper differ"):
        PageFeed(tmp_path, feed.model, pen="red").words_of(1)
    round_path(tmp_path, 0).rename(round_path(tmp_path, 1))
    with pytest.raises(IntegrityError, match=r"belongs to another run"):
        feed.words_of(3)
    write_sealed_lines(round_path(tmp_path, 0), [b'{"format":2}'])
    with pytest.raises(IntegrityError, match="another version"):
        PageFeed(tmp_path, feed.model).words_of(1)
