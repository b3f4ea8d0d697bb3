from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from tiny_training import counting_documents, tiny_decoder

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError, IntegrityError, RecipeError
from spiritsafe.models.interface.batch import Document, DrawnCompletion
from spiritsafe.models.interface.language_model import LanguageModel
from spiritsafe.training.checkpoints.state import STATE_FILE
from spiritsafe.training.config import TrainConfig
from spiritsafe.training.data.documents import DocumentStore, write_documents
from spiritsafe.training.data.feed import CollectiveFeed, FixedFeed
from spiritsafe.training.loop import train
from spiritsafe.training.objective import TracesObjective

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


def test_a_store_feeds_and_is_described_as_the_list_it_was_made_of(tmp_path: Path) -> None:
    documents = [replace(document, weight=1 / (place + 1)) for place, document in enumerate(DOCUMENTS)]
    listed = FixedFeed(documents, CONFIG, tiny_decoder())
    stored = FixedFeed(write_documents(tmp_path / "documents.bin", documents), CONFIG, tiny_decoder())
    assert stored.describe() == listed.describe()
    assert stored.num_steps == listed.num_steps
    for step in range(listed.num_steps):
        assert stored.documents_of(step, tiny_decoder()) == listed.documents_of(step, tiny_decoder())


def test_the_digest_of_documents_is_the_one_that_runs_of_before_were_resumed_by() -> None:
    described = FixedFeed(DOCUMENTS[:3], CONFIG, tiny_decoder()).describe()
    hasher = sha256()
    for document in DOCUMENTS[:3]:
        ids = struct.pack(f"<{len(document.token_ids)}q", *document.token_ids)
        hasher.update(f"{len(document.token_ids)},1.0;".encode() + ids + bytes(document.supervised))
    assert described == {"documents": hasher.hexdigest()}


def test_a_run_on_a_list_can_be_resumed_on_a_store(tmp_path: Path) -> None:
    store = write_documents(tmp_path / "documents.bin", DOCUMENTS)
    stop = StopAfter(2)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_decoder(), DOCUMENTS, TracesObjective(), CONFIG, directory=tmp_path / "a", events=stop)
    resumed, unbroken = tiny_decoder(), tiny_decoder()
    train(resumed, store, TracesObjective(), CONFIG, directory=tmp_path / "a")
    train(unbroken, DOCUMENTS, TracesObjective(), CONFIG, directory=tmp_path / "b")
    assert all(torch.equal(p, q) for p, q in zip(resumed.parameters(), unbroken.parameters(), strict=True))


@pytest.mark.parametrize(
    "bad",
    [
        Document(token_ids=(1, 2, 3), supervised=(True, False, False)),
        Document(token_ids=(1, 99_999), supervised=(False, True)),
        Document(token_ids=(1,) * 101, supervised=(True,) * 101),
        Document(token_ids=(), supervised=()),
    ],
)
def test_what_is_wrong_with_a_document_is_said_alike_of_lists_and_stores(bad: Document) -> None:
    documents = [*DOCUMENTS[:4], bad, *DOCUMENTS[4:], bad]
    said = []
    for given in (documents, DocumentStore.of(documents)):
        with pytest.raises((RecipeError, CompatibilityError), match="Document 4 ") as found:
            FixedFeed(given, CONFIG, tiny_decoder())
        said.append((type(found.value), found.value.diagnostics()))
    assert said[0] == said[1]


def test_all_that_is_known_of_a_draw_is_described() -> None:
    document = Document(token_ids=(1, 2, 3, 4), supervised=(False, False, True, True))
    draws = [
        None,
        DrawnCompletion(advantage=1.0, group=0),
        DrawnCompletion(advantage=0.5, group=0),
        DrawnCompletion(advantage=1.0, group=1),
        DrawnCompletion(logprobs=(-1.0, -2.0), advantage=1.0, group=0),
        DrawnCompletion(logprobs=(-1.0, -2.5), advantage=1.0, group=0),
    ]
    described = [
        FixedFeed([replace(document, drawn=drawn)], CONFIG, tiny_decoder()).describe()["documents"] for drawn in draws
    ]
    assert len(set(described)) == len(draws)


def test_documents_are_checked_before_anything_is_trained() -> None:
    bad = Document(token_ids=(1, 2, 3), supervised=(False, False, False))
    with pytest.raises(RecipeError, match="nothing to learn"):
        FixedFeed([*DOCUMENTS, bad], CONFIG, tiny_decoder())


class StopAfter:
    """Ends the run, as a signal would, when so many steps are done."""

    def __init__(self, num_steps: int) -> None:
        self.num_steps = num_steps

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        if done == self.num_steps:
            raise KeyboardInterrupt

    def metrics(self, kind: str, values: dict[str, JSON]) -> None:
        pass


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


class Now(CollectiveFeed):
    """Documents in some steps only; it may see a reason to end early."""

    def __init__(self, counts: Sequence[int], *, end_at: int | None = None) -> None:
        self.num_steps = self.end_step = len(counts)
        self.counts = counts
        self.end_at = end_at

    def describe(self) -> dict[str, JSON]:
        return {"feed": "now"}

    def epoch_of(self, step: int) -> int:
        return step

    def documents_of(self, step: int, model: LanguageModel) -> Sequence[Document]:
        if step == self.end_at:
            self.end_step = step + 1
        return DOCUMENTS[: self.counts[step]]


def weights_after(directory: Path, feed: Now, *, evaluated: list[int] | None = None) -> list[torch.Tensor]:
    model = tiny_decoder()
    heard = evaluated if evaluated is not None else []
    config = CONFIG.model_copy(update={"eval_every": 100})
    train(
        model,
        feed,
        TracesObjective(),
        config,
        directory=directory,
        evaluate=lambda model, step: heard.append(step) or {},
    )
    return [p.detach().clone() for p in model.parameters()]


def test_a_step_without_documents_changes_nothing_not_even_by_moments(tmp_path: Path) -> None:
    # The last step changes weights, those before it do not; a step that only decays moments would.
    short = weights_after(tmp_path / "short", Now([3, 5, 0, 0], end_at=1))
    idle = weights_after(tmp_path / "idle", Now([3, 5, 0, 0]))
    assert all(torch.equal(p, q) for p, q in zip(short, idle, strict=True))
    result = train(tiny_decoder(), Now([0, 0, 4]), TracesObjective(), CONFIG, directory=tmp_path / "late")
    rows = result.curve
    assert [(row["loss"], row["grad_norm"], row["tokens"], row["changed_share"]) for row in rows[:2]] == [
        (0, 0, 0, 0)
    ] * 2
    assert rows[2]["tokens"] > 0
    assert rows[2]["changed_share"] > 0.9
    assert [row["learning_rate"] for row in rows] == [
        row["learning_rate"]
        for row in train(tiny_decoder(), Now([2, 2, 4]), TracesObjective(), CONFIG, directory=tmp_path / "full").curve
    ]


def test_idle_steps_do_not_count_as_updates_in_any_sitting(tmp_path: Path) -> None:
    unbroken = weights_after(tmp_path / "unbroken", Now([3, 0, 0, 5, 2]))
    for first in (1, 2, 3, 4):
        weights_after(tmp_path / str(first), Now([3, 0, 0, 5, 2], end_at=first - 1))
        resumed = weights_after(tmp_path / str(first), Now([3, 0, 0, 5, 2]))
        assert all(torch.equal(p, q) for p, q in zip(unbroken, resumed, strict=True)), first


def test_a_feed_may_end_the_run_on_its_planned_course(tmp_path: Path) -> None:
    evaluated: list[int] = []
    weights_after(tmp_path / "ended", Now([2] * 6, end_at=2), evaluated=evaluated)
    assert evaluated == [3]
    whole = train(tiny_decoder(), Now([2] * 6), TracesObjective(), CONFIG, directory=tmp_path / "whole")
    seldom = CONFIG.model_copy(update={"checkpoint_every_steps": 100})
    ended = train(tiny_decoder(), Now([2] * 6, end_at=2), TracesObjective(), seldom, directory=tmp_path / "again")
    assert ended.steps == 3
    assert (tmp_path / "again" / STATE_FILE).exists()
    times = {"seconds", "feed_seconds", "tokens_per_s"}
    for row, other in zip(ended.curve, whole.curve, strict=False):
        assert {k: v for k, v in row.items() if k not in times} == {k: v for k, v in other.items() if k not in times}
        assert 0.0 <= row["feed_seconds"] <= row["seconds"]
    assert len(ended.curve) == 3
