from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cache_parts import open_cache, tiny_documents, tiny_teacher
from places import SUPPORT

from spiritsafe.core.errors import CompatibilityError, NumericalError, RecipeError
from spiritsafe.core.process.platforms import PLATFORMS_FILE, read_platforms
from spiritsafe.distil.cache import CaptureConfig, capture, self_test
from spiritsafe.distil.cache.estimate import padded_entries
from spiritsafe.distil.cache.writer import logits_chunks, merge_documents, supervised_positions, teacher_identity
from spiritsafe.distil.signal import document_key
from spiritsafe.models.interface.batch import Document, pack_documents
from spiritsafe.models.transformers_backend.loading import LoadedModel
from spiritsafe.training.data.documents import write_documents

CONFIG = CaptureConfig(threshold=0.05, rows_per_shard=120, micro_batch_tokens=150)


class Events:
    def __init__(self) -> None:
        self.seen: list[tuple[float, float | None, str]] = []
        self.kept: list[dict[str, Any]] = []

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        self.seen.append((done, total, unit))

    def metrics(self, kind: str, values: dict[str, Any]) -> None:
        self.kept.append(values)


def _files(directory: Path) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes()
        for path in sorted(directory.iterdir())
        if path.name not in ("capture.lock", PLATFORMS_FILE)
    }


def test_a_cache_holds_what_the_teacher_says_of_the_supervised_rows(tmp_path: Path) -> None:
    documents, teacher, events = tiny_documents(12), tiny_teacher(), Events()
    report = capture(teacher, documents, CaptureConfig(num_head=300, num_draws=1), tmp_path, events=events)
    num_rows = sum(sum(d.supervised[1:]) for d in documents)
    assert (report.num_documents, report.num_rows) == (12, num_rows)
    assert report.num_bytes == sum(len(data) for data in _files(tmp_path).values())
    assert events.seen[-1] == (num_rows, num_rows, "rows")
    assert [done for done, _, _ in events.seen] == sorted(done for done, _, _ in events.seen)
    assert events.kept == [report.to_json()]
    cache = open_cache(tmp_path)
    for document in documents:
        with torch.no_grad():
            batch = pack_documents([document])
            logits = teacher.model(batch).double() @ teacher.model.head().weight_VH.double().t()
        exact = torch.softmax(logits, 1)[torch.from_numpy(supervised_positions(document))]
        positions, rows = cache.document(document_key(document.token_ids))
        np.testing.assert_array_equal(positions, supervised_positions(document))
        ids, probs = padded_entries(rows)
        got = torch.zeros_like(exact).scatter_add_(1, torch.from_numpy(ids), torch.from_numpy(probs))
        assert float((got - exact).abs().sum(1).max()) < 0.05  # eight bits over a span of about ten nats
        entropy = torch.distributions.Categorical(exact).entropy()
        np.testing.assert_allclose(rows.entropy_R, entropy, rtol=1e-3)


def test_the_same_document_says_the_same_in_other_batches_and_orders(tmp_path: Path) -> None:
    documents = tiny_documents(20)
    capture(tiny_teacher(), documents, CONFIG, tmp_path / "one")
    other = CONFIG.model_copy(update={"micro_batch_tokens": 500, "rows_per_shard": 10_000})
    capture(tiny_teacher(), documents[::-1], other, tmp_path / "two")
    one, two = open_cache(tmp_path / "one"), open_cache(tmp_path / "two")
    same = total = 0
    for document in documents:
        mine, theirs = (cache.document(document_key(document.token_ids))[1] for cache in (one, two))
        rows = [padded_entries(part) for part in (mine, theirs)]
        width = min(ids.shape[1] for ids, _ in rows)
        same += int((rows[0][0][:, :width] == rows[1][0][:, :width]).all(1).sum())
        total += len(mine)
    assert same > 0.99 * total  # not all: sums in another order may move a draw over a boundary
    reseeded = CONFIG.model_copy(update={"seed": 1})
    capture(tiny_teacher(), documents, reseeded, tmp_path / "three")
    assert _files(tmp_path / "three")["shard-00000.rows"] != _files(tmp_path / "one")["shard-00000.rows"]


def test_an_unbroken_resumed_and_repaired_capture_have_the_same_bytes(tmp_path: Path) -> None:
    documents = tiny_documents(20)
    capture(tiny_teacher(), documents, CONFIG, tmp_path)
    whole = _files(tmp_path)
    assert len(whole) >= 4
    (tmp_path / "shard-00001.rows").unlink()
    (tmp_path / "shard-00002.rows").write_bytes(whole["shard-00002.rows"][:-5])
    (tmp_path / ".shard-00001.rows.x.tmp").write_bytes(b"half")
    untouched = (tmp_path / "shard-00000.rows").stat().st_mtime_ns
    capture(tiny_teacher(), documents, CONFIG, tmp_path)
    assert _files(tmp_path) == whole
    assert (tmp_path / "shard-00000.rows").stat().st_mtime_ns == untouched


PROGRAM = """
import os, sys
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
from cache_parts import tiny_documents, tiny_teacher
from spiritsafe.distil.cache import CaptureConfig, capture
config = CaptureConfig(threshold=0.02, rows_per_shard=60, micro_batch_tokens=100)
teacher, documents = tiny_teacher(), tiny_documents(60)
for line in sys.stdin:  # one import of torch for all runs
    child = os.fork()
    if child == 0:
        capture(teacher, documents, config, Path(line.strip()))
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


def test_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    program = PROGRAM.format(tests=str(SUPPORT))
    broken, unbroken = tmp_path / "broken", tmp_path / "unbroken"
    rng, killed = random.Random(4), 0
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def run(directory: Path, num_shards: int | None) -> int:
            """Exit code of a capture that is killed when it has so many shards more."""
            wanted = len(list(directory.glob("shard*"))) + (num_shards or 0)
            process.stdin.write(f"{directory}\n")
            child = int(process.stdout.readline())
            if num_shards is not None:
                while len(list(directory.glob("shard*"))) < wanted:
                    time.sleep(0.001)
                time.sleep(rng.random() * 0.02)
                os.kill(child, signal.SIGKILL)
            return int(process.stdout.readline())

        for _ in range(4):
            killed += run(broken, rng.randint(1, 4)) == -signal.SIGKILL
        assert killed >= 3
        assert (run(broken, None), run(unbroken, None)) == (0, 0)
        process.stdin.close()
    assert len(list(broken.glob("shard*"))) > 15
    assert _files(broken) == _files(unbroken)


def test_logits_that_are_not_finite_stop_the_capture_and_save_the_document(tmp_path: Path) -> None:
    teacher, documents = tiny_teacher(), tiny_documents(6)
    bad = documents[3]
    model = _Poisoned(teacher.model, bad.token_ids)
    poisoned = LoadedModel(
        model=model,
        chat=teacher.chat,
        checkpoint=teacher.checkpoint,
        directory=teacher.directory,  # type: ignore[arg-type]
    )
    with pytest.raises(NumericalError, match="not finite"):
        capture(poisoned, documents, CONFIG, tmp_path)
    saved = json.loads((tmp_path / "rejected-document.json").read_text())
    assert saved["token_ids"] == list(bad.token_ids)
    assert saved["position"] == int(supervised_positions(bad)[2])
    assert saved["key"] == document_key(bad.token_ids)
    capture(teacher, documents, CONFIG, tmp_path)  # a sound teacher goes on from there
    assert open_cache(tmp_path).document(saved["key"])


class _Poisoned:
    """A model with NaN at the third supervised row of one document."""

    def __init__(self, model: Any, tokens: tuple[int, ...]) -> None:
        self._model = model
        self._tokens = tokens

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, batch: Any) -> torch.Tensor:
        hidden = self._model(batch).clone()
        ids, prefix, start = batch.token_ids_N.tolist(), batch.prefix_length, batch.prefix_length
        for length in batch.lengths[1 if prefix else 0 :]:
            if tuple(ids[:prefix] + ids[start : start + length]) == self._tokens:
                rows = [n for n in range(start, start + length) if batch.targets_N[n] != -100]
                hidden[rows[2]] = float("nan")
            start += length
        return hidden


def test_another_capture_in_the_directory_is_refused_with_the_field_that_differs(tmp_path: Path) -> None:
    documents = tiny_documents(4)
    capture(tiny_teacher(), documents, CONFIG, tmp_path)
    with pytest.raises(CompatibilityError, match="seed: expected 7, found 0"):
        capture(tiny_teacher(), documents, CONFIG.model_copy(update={"seed": 7}), tmp_path)
    with pytest.raises(CompatibilityError, match="other documents"):
        capture(tiny_teacher(), documents[:3], CONFIG, tmp_path)


def test_unfit_documents_are_refused(tmp_path: Path) -> None:
    unsupervised = Document(token_ids=(1, 2), supervised=(True, False))
    with pytest.raises(RecipeError, match="No document"):
        capture(tiny_teacher(), [unsupervised], CONFIG, tmp_path)
    with pytest.raises(CompatibilityError, match="vocabulary"):
        capture(tiny_teacher(), [Document(token_ids=(1, 999), supervised=(False, True))], CONFIG, tmp_path / "a")
    long = Document(token_ids=(1,) * 2000, supervised=(True,) * 2000)
    with pytest.raises(CompatibilityError, match="context"):
        capture(tiny_teacher(), [long], CONFIG, tmp_path / "b")
    with pytest.raises(RecipeError, match="flags"):
        merge_documents([Document(token_ids=(1, 2), supervised=(True,))])


def test_copies_of_a_document_are_stored_once_with_all_their_rows() -> None:
    one = Document(token_ids=(1, 2, 3), supervised=(False, True, False))
    two = Document(token_ids=(1, 2, 3), supervised=(False, False, True), weight=0.5)
    merged = merge_documents([one, two, one])
    assert [(d.token_ids, d.supervised) for d in merged] == [((1, 2, 3), (False, True, True))]


def merged_by_hand(documents: list[Document]) -> list[tuple[tuple[int, ...], tuple[bool, ...]]]:
    flags: dict[tuple[int, ...], tuple[bool, ...]] = {}
    for document in documents:
        known = flags.get(document.token_ids, document.supervised)
        flags[document.token_ids] = tuple(a or b for a, b in zip(known, document.supervised, strict=True))
    return [(ids, mask) for ids, mask in flags.items() if any(mask[1:])]


def test_many_copies_are_merged_as_a_dictionary_would_whatever_holds_them(tmp_path: Path) -> None:
    rng = random.Random(3)
    documents = []
    for _ in range(300):
        ids = rng.choice([(1, 2, 3), (1, 2), (1, 2, 4), (3, 2, 1, 0), (7,), (5, 5)])
        flags = tuple(rng.random() < 0.2 for _ in ids) if ids != (5, 5) else (rng.random() < 0.5, False)
        documents.append(Document(token_ids=ids, supervised=flags))
    for count in (0, 1, 5, 40, 300):
        wanted = merged_by_hand(documents[:count])
        for given in (documents[:count], write_documents(tmp_path / "documents.bin", documents[:count])):
            assert [(d.token_ids, d.supervised) for d in merge_documents(given)] == wanted


def test_a_store_of_documents_is_captured_to_the_same_bytes_as_a_list(tmp_path: Path) -> None:
    documents = [*tiny_documents(9), *tiny_documents(3)]
    store = write_documents(tmp_path / "documents.bin", documents)
    for name, given in (("list", documents), ("store", store)):
        capture(tiny_teacher(), given, CONFIG, tmp_path / name)
        assert self_test(tmp_path / name, tiny_teacher(), given).passed
    assert _files(tmp_path / "list") == _files(tmp_path / "store")


def test_logits_come_in_chunks_within_the_budget_and_are_exact() -> None:
    model = tiny_teacher().model
    hidden = torch.randn(50, 128, generator=torch.Generator().manual_seed(0))
    budget = 7 * 3 * 260 * 4  # logits and two more matrices of that size
    wanted = hidden @ model.head().weight_VH.detach().t()
    covered = []
    for chunk, logits in logits_chunks(model, hidden, logits_bytes=budget):
        assert 1 <= len(logits) <= 7
        torch.testing.assert_close(logits, wanted[chunk])
        covered += range(chunk.start, chunk.stop)
    assert covered == list(range(50))


def test_the_memory_budget_changes_nothing_but_rounding(tmp_path: Path) -> None:
    documents = tiny_documents(6)
    for name, budget in (("small", 4 * 260 * 12), ("large", None)):
        capture(tiny_teacher(), documents, CONFIG.model_copy(update={"logits_bytes": budget}), tmp_path / name)
    for document in documents:
        small, large = (
            open_cache(tmp_path / n).document(document_key(document.token_ids))[1] for n in ("small", "large")
        )
        np.testing.assert_allclose(small.entropy_R, large.entropy_R, rtol=1e-3)
        np.testing.assert_array_equal(small.num_head_R, large.num_head_R)


def test_the_identity_names_the_model_and_its_tokens() -> None:
    identity = teacher_identity(tiny_teacher())
    assert identity.compute_dtype == "float32"
    assert identity.vocab_size == 260
    assert len({identity.teacher, identity.tokenizer, identity.chat_template}) == 3


def test_a_capture_that_goes_on_elsewhere_says_so_and_one_that_is_read_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sitting() -> list[str]:
        events = Events()
        capture(tiny_teacher(), documents, CONFIG, tmp_path, events=events)
        return [values["message"] for values in events.kept if "message" in values]

    documents = tiny_documents(30)
    assert sitting() == []
    (here,) = read_platforms(tmp_path)
    assert here is not None
    assert here.compute_dtype == "float32"
    elsewhere = here.model_copy(update={"processor": "Another"})
    monkeypatch.setattr(sys.modules[capture.__module__], "this_platform", lambda device, dtype: elsewhere)
    assert sitting() == []  # all is there: nothing is computed
    assert read_platforms(tmp_path) == (here,)
    shards = sorted(tmp_path.glob("*.rows"))
    assert len(shards) > 1
    shards[-1].unlink()
    (said,) = sitting()
    assert "begun on" in said
    assert "Another" in said
    assert read_platforms(tmp_path) == (here, elsewhere)
