from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import final

import numpy as np
import pytest
import torch
from tiny_training import OperatorLog, counting_documents, tiny_decoder

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.distil.hidden.layer_pairs import (
    _alignment,
    _gram,
    align_monotone,
    pairs_by_similarity,
    pairs_from_kept_layers,
    spaced_layers,
)
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import PackedBatch, pack_documents
from spiritsafe.models.interface.language_model import Head, LanguageModel


def cut(teacher: Decoder, kept: tuple[int, ...]) -> Decoder:
    """The teacher without its other layers."""
    student = tiny_decoder(layers=len(kept), hidden=teacher.hidden_size)
    theirs = dict(teacher.state_dict())
    mine = {}
    for name in student.state_dict():
        parts = name.split(".")
        if parts[0] == "blocks":
            parts[1] = str(kept[int(parts[1])])
        mine[name] = theirs[".".join(parts)]
    student.load_state_dict(mine)
    return student


def test_layers_are_spaced_evenly_and_end_before_the_last() -> None:
    assert spaced_layers(2, 3) == (0,)
    assert spaced_layers(9, 1) == (7,)
    assert spaced_layers(10, 3) == (2, 5, 8)
    assert spaced_layers(31, 4) == (6, 14, 21, 29)
    for num_layers, num_pairs in itertools.product(range(2, 40), range(1, 6)):
        layers = spaced_layers(num_layers, num_pairs)
        assert layers[-1] == num_layers - 2
        assert sorted(set(layers)) == list(layers)
        assert len(layers) == min(num_pairs, num_layers - 1)
        gaps = [two - one for one, two in itertools.pairwise((-1, *layers))]
        assert max(gaps) - min(gaps) <= 1


@pytest.mark.parametrize(("num_layers", "num_pairs"), [(1, 1), (4, 0)])
def test_what_leaves_no_pair_is_refused(num_layers: int, num_pairs: int) -> None:
    with pytest.raises(CompatibilityError, match="cannot be matched"):
        spaced_layers(num_layers, num_pairs)


def test_a_layer_in_front_of_a_gap_answers_the_stream_behind_the_gap() -> None:
    # kept 0 1 2 5 7: layer 2's reader was layer 5, which read the stream after 4; layer 5's reader was 7, after 6.
    assert pairs_from_kept_layers((0, 1, 2, 5, 7), 4) == ((0, 0), (1, 1), (2, 4), (3, 6))
    assert pairs_from_kept_layers((0, 1, 2, 5, 7), 1) == ((3, 6),)
    assert pairs_from_kept_layers((3, 4), 2) == ((0, 3),)


def test_the_next_layer_of_the_student_reads_what_it_read_in_the_teacher_when_pairs_agree() -> None:
    teacher = tiny_decoder(layers=6)
    kept = (0, 1, 4, 5)
    student = cut(teacher, kept)
    with torch.no_grad():  # layers 2 and 3 of the teacher do nothing: the cut is exact
        for layer in (2, 3):
            teacher.blocks[layer].out.weight.zero_()
            teacher.blocks[layer].down.weight.zero_()
        batch = pack_documents(counting_documents(3))
        pairs = pairs_from_kept_layers(kept, 3)
        assert pairs == ((0, 0), (1, 3), (2, 4))
        mine = student.forward_with_layers(batch, [one for one, _ in pairs])[1]
        theirs = teacher.forward_with_layers(batch, [two for _, two in pairs])[1]
    for one, two in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize("kept", [(2, 1), (1, 1, 2), (-1, 2)])
def test_kept_layers_out_of_order_are_refused(kept: tuple[int, ...]) -> None:
    with pytest.raises(CompatibilityError, match="not the layers"):
        pairs_from_kept_layers(kept, 1)


def test_cka_equals_its_formula_over_features() -> None:
    rng = np.random.default_rng(0)
    for rows, first, second in ((50, 4, 9), (7, 30, 12), (20, 5, 5)):
        x, y = rng.normal(size=(rows, first)), rng.normal(size=(rows, second)) + 3.0
        y[:, :3] += x[:, :3]
        xc, yc = x - x.mean(0), y - y.mean(0)
        expected = np.square(yc.T @ xc).sum() / np.linalg.norm(xc.T @ xc) / np.linalg.norm(yc.T @ yc)
        assert _alignment(_gram(torch.tensor(x)), _gram(torch.tensor(y))) == pytest.approx(expected, rel=1e-10)


def test_cka_sees_neither_rotation_nor_scale_nor_shift() -> None:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(40, 6, generator=generator, dtype=torch.float64)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=generator, dtype=torch.float64)).Q
    assert _alignment(_gram(x), _gram(3.0 * x @ rotation + 5.0)) == pytest.approx(1.0, abs=1e-12)
    assert _alignment(_gram(x), _gram(torch.ones(40, 2))) == 0.0


def test_the_alignment_is_the_best_of_all_ascending_ones() -> None:
    draw = random.Random(0)
    for _ in range(200):
        num_rows = draw.randint(1, 4)
        num_columns = draw.randint(num_rows, 7)
        table = [[draw.random() for _ in range(num_columns)] for _ in range(num_rows)]
        best = max(
            itertools.combinations(range(num_columns), num_rows),
            key=lambda path: sum(table[row][column] for row, column in enumerate(path)),
        )
        assert align_monotone(table) == best


def test_more_student_than_teacher_layers_cannot_be_aligned() -> None:
    with pytest.raises(CompatibilityError, match="in order"):
        align_monotone([[1.0], [1.0]])


def test_similarity_finds_the_layers_a_student_was_cut_from() -> None:
    teacher = tiny_decoder(layers=7, seed=3)
    student = cut(teacher, (0, 1, 2, 3))  # no gap before its last layer: its streams are the teacher's
    documents = counting_documents(30)
    assert pairs_by_similarity(student, teacher, documents, 3) == ((0, 0), (1, 1), (2, 2))
    assert pairs_by_similarity(student, teacher, documents, 2) == ((0, 0), (2, 2))


@final
class Recording(LanguageModel):
    """A "model" whose streams are given."""

    def __init__(self, streams: list[torch.Tensor]) -> None:
        super().__init__()
        self.streams = streams
        self.num_layers, self.hidden_size = len(streams), streams[0].shape[1]
        self.nothing = torch.nn.Parameter(torch.zeros(1))
        self.most_layers = 0

    def forward(self, batch: PackedBatch) -> torch.Tensor:
        return self.streams[-1]

    def forward_with_layers(
        self, batch: PackedBatch, layers: Sequence[int]
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        self.most_layers = max(self.most_layers, len(layers))
        return self.streams[-1], tuple(self.streams[layer] for layer in layers)

    def head(self) -> Head:
        raise NotImplementedError

    def save_weights(self, directory: Path) -> None:
        raise NotImplementedError


def test_a_massive_channel_does_not_decide_which_layers_are_alike() -> None:
    documents = counting_documents(10)
    num_tokens = sum(len(document.token_ids) for document in documents)
    generator = torch.Generator().manual_seed(0)
    teacher = [torch.randn(num_tokens, 16, generator=generator) for _ in range(7)]
    student = [stream.clone() for stream in teacher[:4]]  # alike in all channels but one
    for layer, stream in enumerate(student):
        stream[:, 3] = teacher[layer + 2][:, 3]
    for stream in (*teacher, *student):
        stream[:, 3] *= 1000.0
    assert _alignment(_gram(student[0]), _gram(teacher[2])) > 0.99
    assert _alignment(_gram(student[0]), _gram(teacher[0])) < 0.1
    pairs = pairs_by_similarity(Recording(student), Recording(teacher), documents, 3)
    assert pairs == ((0, 0), (1, 1), (2, 2))


def test_few_streams_are_held_together_however_many_layers_there_are() -> None:
    documents = counting_documents(5)
    num_tokens = sum(len(document.token_ids) for document in documents)
    streams = [torch.randn(num_tokens, 4, generator=torch.Generator().manual_seed(layer)) for layer in range(30)]
    student, teacher = Recording(streams[:12]), Recording(streams)
    pairs_by_similarity(student, teacher, documents, 11)
    assert max(student.most_layers, teacher.most_layers) <= 4


def test_memory_does_not_grow_with_the_number_of_layers() -> None:
    documents = counting_documents(20)
    largest = []
    for layers in (4, 12):
        models = tiny_decoder(layers=layers), tiny_decoder(layers=layers, seed=1)
        with OperatorLog() as log:
            pairs_by_similarity(*models, documents, 2)
        largest.append(log.largest_bytes)
    assert largest[0] == largest[1]


def test_a_teacher_of_one_layer_is_refused() -> None:
    with pytest.raises(CompatibilityError, match="one layer"):
        pairs_by_similarity(tiny_decoder(layers=3), tiny_decoder(layers=1), counting_documents(3), 1)
