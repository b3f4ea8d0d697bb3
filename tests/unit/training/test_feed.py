from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import IntegrityError, RecipeError
from spiritsafe.models.batch import Document
from spiritsafe.models.interface import LanguageModel
from spiritsafe.training.config import TrainConfig
from spiritsafe.training.feed import FixedFeed
from spiritsafe.training.loop import train
from spiritsafe.training.objective import TracesObjective
from tiny_training import counting_documents, tiny_decoder

DOCUMENTS = counting_documents(20, seed=1)
CONFIG = TrainConfig(
    learning_rate=1e-3,
    tokens_per_step=80,
    micro_batch_tokens=100,
    max_epochs=2,
    compute_dtype="float32",
    checkpoint_every_steps=1,
    checkpoint_every_s=None,
)


def test_a_list_feeds_each_document_once_an_epoch() -> None:
    feed = FixedFeed(DOCUMENTS, CONFIG, tiny_decoder())
    seen = [d for step in range(feed.num_steps) for d in feed.documents_of(step, tiny_decoder())]
    assert sorted(d.token_ids for d in seen) == sorted(d.token_ids for d in DOCUMENTS * 2)
    assert {feed.epoch_of(step) for step in range(feed.num_steps)} == {0, 1}
    other = FixedFeed(DOCUMENTS[:-1], CONFIG, tiny_decoder())
    assert feed.describe() != other.describe()


def test_documents_are_checked_before_anything_is_trained() -> None:
    bad = Document(token_ids=(1, 2, 3), supervised=(False, False, False))
    with pytest.raises(RecipeError, match="nothing to learn"):
        FixedFeed([*DOCUMENTS, bad], CONFIG, tiny_decoder())


class Growing:
    """Gives step n the first n + 1 documents, and remembers what it was asked."""

    num_steps = 4

    def __init__(self, name: str = "growing") -> None:
        self.name = name
        self.asked: list[int] = []

    def describe(self) -> dict[str, JSON]:
        return {"feed": self.name}

    def epoch_of(self, step: int) -> int:
        return 0

    def documents_of(self, step: int, model: LanguageModel) -> Sequence[Document]:
        model.eval()
        self.asked.append(step)
        return DOCUMENTS[: step + 1]


def test_a_feed_decides_each_steps_documents_and_the_end(tmp_path: Path) -> None:
    feed, model = Growing(), tiny_decoder()
    result = train(model, feed, TracesObjective(), CONFIG, directory=tmp_path)
    assert feed.asked == [0, 1, 2, 3]
    assert [row["tokens"] for row in result.curve] == [
        sum(len(d.token_ids) for d in DOCUMENTS[: step + 1]) for step in range(4)
    ]
    assert model.training
    again = Growing()
    assert train(tiny_decoder(), again, TracesObjective(), CONFIG, directory=tmp_path).steps == 4
    assert again.asked == []
    with pytest.raises(IntegrityError, match="another run"):
        train(tiny_decoder(), Growing("other"), TracesObjective(), CONFIG, directory=tmp_path)
