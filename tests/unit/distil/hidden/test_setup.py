from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tiny_training import OperatorLog, counting_documents, one_thread, tiny_decoder
from torch.nn import functional

from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.distil.hidden.match import HiddenMatch
from spiritsafe.distil.hidden.projections import AffineProjection, IndexProjection
from spiritsafe.distil.hidden.setup import make_hidden_match
from spiritsafe.distil.losses.divergences import LossMix
from spiritsafe.distil.objective import DistilObjective
from spiritsafe.distil.signal import LiveTeacher
from spiritsafe.models.checkpoints.directory import save_checkpoint, write_lineage
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import Document, pack_documents
from spiritsafe.models.sources.tiny import write_tiny
from spiritsafe.models.transformers_backend.loading import load_model
from spiritsafe.training.config import TrainConfig
from spiritsafe.training.loop import train
from spiritsafe.training.objective import SupervisedRows

KEPT = (0, 1, 4, 5)


def cut(teacher: Decoder, kept: tuple[int, ...] = KEPT) -> Decoder:
    """The teacher without its other layers."""
    student = tiny_decoder(layers=len(kept), hidden=teacher.hidden_size)
    theirs = teacher.state_dict()
    mine = {}
    for name in student.state_dict():
        parts = name.split(".")
        if parts[0] == "blocks":
            parts[1] = str(kept[int(parts[1])])
        mine[name] = theirs[".".join(parts)].clone()
    student.load_state_dict(mine)
    return student


def train_a_little(
    student: Decoder, teacher: Decoder, documents: list[Document], match: HiddenMatch | None, num_steps: int
) -> list[float]:
    """Forward KL, and the match if there is one; the KL of each step."""
    optimiser = torch.optim.Adam(student.parameters(), lr=3e-3)
    signal, batch, losses = LiveTeacher(teacher), pack_documents(documents), []
    rows = SupervisedRows.of(batch, float(batch.num_supervised))
    for step in range(num_steps):
        layers: tuple[int, ...] = ()
        if match is not None:
            match.at_step(step, num_steps)
            layers = match.teacher_layers if match.weight else ()
        view = signal.read(batch, rows.rows_R, layers=layers)
        hidden, streams = student.forward_with_layers(batch, match.student_layers if match and layers else ())
        with torch.no_grad():
            log_p = torch.log_softmax(view.parts[0].rows.hidden_RG @ teacher.head().weight_VH.T, 1)
        log_q = torch.log_softmax(hidden[rows.rows_R] @ student.head().weight_VH.T, 1)
        loss = functional.kl_div(log_q, log_p, reduction="batchmean", log_target=True)
        tensors, grads = [loss, *streams], [torch.ones_like(loss)]
        if match is not None and layers:
            found = match.match([s.detach()[rows.rows_R] for s in streams], view.layers_RG, rows.weights_R)
            grads += [rows.scatter(grad) for grad in found.grads_RH]
        optimiser.zero_grad()
        torch.autograd.backward(tensors, grads)
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def distance(student: Decoder, teacher: Decoder, documents: list[Document], match: HiddenMatch) -> float:
    """Mean of both unweighted terms."""
    batch = pack_documents(documents)
    rows = SupervisedRows.of(batch, 1.0)
    with torch.no_grad():
        mine = student.forward_with_layers(batch, match.student_layers)[1]
        theirs = teacher.forward_with_layers(batch, match.teacher_layers)[1]
    sums = match.match([s[rows.rows_R] for s in mine], [s[rows.rows_R] for s in theirs], rows.weights_R).sums
    return sum(float(total) / count for total, count in sums.values())


def test_a_student_cut_in_depth_gets_the_identity_on_the_layers_behind_the_gaps() -> None:
    teacher = tiny_decoder(layers=6)
    match = make_hidden_match(cut(teacher), teacher, counting_documents(10), kept_layers=KEPT, weight=1.0)
    assert (match.student_layers, match.teacher_layers) == ((0, 1, 2), (0, 3, 4))
    assert [pair.projection.describe()["projection"] for pair in match.pairs] == ["identity"] * 3
    # The first stream is the teacher's own, the second lacks the two removed layers.
    documents = counting_documents(5, seed=3)
    (first, second, _) = (
        distance(cut(teacher), teacher, documents, HiddenMatch([pair], weight=1.0)) for pair in match.pairs
    )
    assert first < 1e-9
    assert second > 0.1


def test_a_student_cut_in_width_gets_its_index_map() -> None:
    teacher, student = tiny_decoder(layers=3, hidden=48), tiny_decoder(layers=3, hidden=32)
    kept = tuple(range(1, 48))[:32]
    with torch.no_grad():
        student.embedding.weight.copy_(teacher.embedding.weight[:, list(kept)])
        for block in (*teacher.blocks, *student.blocks):  # streams stay the embeddings
            block.out.weight.zero_()
            block.down.weight.zero_()
    documents = counting_documents(10)
    match = make_hidden_match(
        student, teacher, documents, kept_layers=(0, 1, 2), kept_channels=kept, weight=1.0, num_pairs=2
    )
    assert all(isinstance(pair.projection, IndexProjection) for pair in match.pairs)
    assert distance(student, teacher, documents, match) == 0.0


@pytest.mark.parametrize("method", ["auto", "procrustes", "low_rank"])
def test_without_a_map_one_is_fitted_that_comes_nearer_than_none(method: Any) -> None:
    teacher, student = tiny_decoder(layers=4, hidden=48, seed=5), tiny_decoder(layers=3, hidden=32, seed=6)
    documents = counting_documents(60)
    match = make_hidden_match(student, teacher, documents, num_pairs=2, weight=1.0, method=method)
    assert all(isinstance(pair.projection, AffineProjection) for pair in match.pairs)
    kind = "low_rank" if method == "low_rank" else "procrustes"
    assert {pair.projection.describe()["projection"] for pair in match.pairs} == {kind}
    arbitrary = HiddenMatch(
        [
            type(pair)(
                student_layer=pair.student_layer,
                teacher_layer=pair.teacher_layer,
                projection=IndexProjection(range(32), 48),
                units=pair.units,
            )
            for pair in match.pairs
        ],
        weight=1.0,
    )
    fresh = counting_documents(20, seed=9)
    assert distance(student, teacher, fresh, match) < 0.8 * distance(student, teacher, fresh, arbitrary)


def test_models_of_one_width_that_grew_up_apart_do_not_get_the_identity() -> None:
    teacher, student = tiny_decoder(layers=4, seed=5), tiny_decoder(layers=3, seed=6)
    match = make_hidden_match(student, teacher, counting_documents(40), num_pairs=1, weight=1.0)
    assert isinstance(match.pairs[0].projection, AffineProjection)


def test_a_rotated_twin_is_recognised() -> None:
    """The same function in rotated channels: Procrustes finds the rotation, and there is nothing left to match."""
    teacher, student = tiny_decoder(layers=3), tiny_decoder(layers=3)
    rotation = torch.linalg.qr(torch.randn(32, 32, generator=torch.Generator().manual_seed(1))).Q
    with torch.no_grad():
        student.embedding.weight.copy_(student.embedding.weight @ rotation)
        for block in student.blocks:  # with norm weights of 1 the root mean square is blind to rotation
            block.qkv.weight.copy_(block.qkv.weight @ rotation)
            block.gate_up.weight.copy_(block.gate_up.weight @ rotation)
            block.out.weight.copy_(rotation.T @ block.out.weight)
            block.down.weight.copy_(rotation.T @ block.down.weight)
    match = make_hidden_match(student, teacher, counting_documents(60), num_pairs=2, weight=1.0)
    assert match.teacher_layers == match.student_layers == (0, 1)
    assert distance(student, teacher, counting_documents(10, seed=4), match) < 1e-6


def test_the_rank_is_taken() -> None:
    teacher, student = tiny_decoder(layers=3, hidden=48), tiny_decoder(layers=3, seed=6)
    documents = counting_documents(20)
    ranks = [
        make_hidden_match(student, teacher, documents, num_pairs=1, weight=1.0, method="low_rank", rank=rank)
        .pairs[0]
        .projection.describe()["rank"]
        for rank in (3, None)
    ]
    assert ranks == [3, 16]


def test_the_other_numbers_are_handed_on() -> None:
    teacher = tiny_decoder(layers=6)
    match = make_hidden_match(
        cut(teacher),
        teacher,
        counting_documents(5),
        kept_layers=KEPT,
        num_pairs=1,
        weight=0.3,
        until=0.7,
        schedule="linear",
        share_of_tokens=0.25,
        seed=4,
    )
    described = match.describe()
    expected = {"weight": 0.3, "until": 0.7, "schedule": "linear", "share_of_tokens": 0.25, "seed": 4}
    assert {name: described[name] for name in expected} == expected


def test_making_it_twice_gives_the_same() -> None:
    teacher, student = tiny_decoder(layers=4, hidden=48), tiny_decoder(layers=3, seed=6)
    with one_thread():
        one, two = (
            make_hidden_match(student, teacher, counting_documents(40), weight=1.0).describe() for _ in range(2)
        )
    assert one == two
    assert one != make_hidden_match(student, teacher, counting_documents(41), weight=1.0).describe()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"method": "index", "kept_layers": None}, RecipeError),
        ({"rank": 3}, RecipeError),
        ({"kept_layers": (0, 1, 4)}, CompatibilityError),
        ({"kept_layers": (0, 1, 4, 6)}, CompatibilityError),
        ({"kept_channels": (0, 1)}, CompatibilityError),
        ({"kept_channels": (0,) * 32}, CompatibilityError),
        ({"num_pairs": 0}, CompatibilityError),
        ({"weight": 0.0}, RecipeError),
    ],
)
def test_what_cannot_take_effect_is_refused(changes: dict[str, Any], error: type[Exception]) -> None:
    teacher = tiny_decoder(layers=6)
    arguments: dict[str, Any] = {"kept_layers": KEPT, "weight": 1.0, **changes}
    with pytest.raises(error):
        make_hidden_match(cut(teacher), teacher, counting_documents(3), **arguments)


def test_too_few_rows_for_a_fit_are_refused() -> None:
    teacher, student = tiny_decoder(layers=4, hidden=48), tiny_decoder(layers=3)
    with pytest.raises(CompatibilityError, match="calibration rows"):
        make_hidden_match(student, teacher, counting_documents(2, longest=10), weight=1.0)


def test_calibration_memory_does_not_grow_with_the_number_of_layers_or_documents(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spiritsafe.distil.hidden.setup._TOKENS_PER_BATCH", 400)
    monkeypatch.setattr("spiritsafe.distil.hidden.layer_pairs._TOKENS_PER_BATCH", 400)
    largest = []
    for layers, count in ((4, 60), (12, 60), (4, 120)):
        teacher, student = tiny_decoder(layers=layers, hidden=48), tiny_decoder(layers=3)
        with OperatorLog() as log:
            make_hidden_match(student, teacher, counting_documents(count), num_pairs=1, weight=1.0)
        largest.append(log.largest_bytes)
    assert largest[1] == largest[0]
    assert largest[2] <= 1.1 * largest[0]  # batches are cut by tokens, so not all are equally full


def test_a_short_training_with_matching_comes_nearer_to_the_teachers_streams() -> None:
    with one_thread():
        teacher = tiny_decoder(layers=6, seed=2)
        documents = counting_documents(14)
        match = make_hidden_match(cut(teacher), teacher, documents, kept_layers=KEPT, weight=3.0, until=1.0)
        before = distance(cut(teacher), teacher, documents, HiddenMatch(match.pairs, weight=1.0))
        without, matched = cut(teacher), cut(teacher)
        kl_without = train_a_little(without, teacher, documents, None, 24)
        kl_matched = train_a_little(matched, teacher, documents, match, 24)
        judge = HiddenMatch(match.pairs, weight=1.0)
        after, control = (distance(model, teacher, documents, judge) for model in (matched, without))
    assert kl_matched[-1] < 0.5 * kl_matched[0]
    assert kl_matched[0] == kl_without[0]
    assert after < 0.6 * before
    assert after < 0.75 * control


def test_a_share_of_the_tokens_is_enough_to_come_nearer() -> None:
    with one_thread():
        teacher = tiny_decoder(layers=6, seed=2)
        documents = counting_documents(14)
        match = make_hidden_match(
            cut(teacher), teacher, documents, kept_layers=KEPT, weight=3.0, until=1.0, share_of_tokens=0.25
        )
        judge, student = HiddenMatch(match.pairs, weight=1.0), cut(teacher)
        before = distance(student, teacher, documents, judge)
        train_a_little(student, teacher, documents, match, 24)
        assert distance(student, teacher, documents, judge) < 0.7 * before


def test_the_released_student_bears_no_trace_of_it(tmp_path: Path) -> None:
    for name, layers in (("teacher", 3), ("student", 2)):
        (tmp_path / name).mkdir()
        write_tiny(tmp_path / name, seed=layers, num_layers=layers, hidden_size=32)
        write_lineage(tmp_path / name, name=name, license="MIT")
    documents = counting_documents(40)
    tensors = {}
    for arm in ("with", "without"):
        teacher, student = (load_model(tmp_path / name, dtype=torch.float32) for name in ("teacher", "student"))
        match = make_hidden_match(student.model, teacher.model, documents, weight=1.0) if arm == "with" else None
        assert isinstance(student.model, Decoder)
        assert isinstance(teacher.model, Decoder)
        parameters = [name for name, _ in student.model.named_parameters()]
        train_a_little(student.model, teacher.model, documents, match, 2)
        assert [name for name, _ in student.model.named_parameters()] == parameters
        save_checkpoint(tmp_path / arm, student.model, student.chat, name=arm, license="MIT")
        tensors[arm] = load_file(tmp_path / arm / "model.safetensors")
    shapes = {arm: {name: (tensor.shape, tensor.dtype) for name, tensor in tensors[arm].items()} for arm in tensors}
    assert shapes["with"] == shapes["without"]
    assert any(not torch.equal(tensors["with"][name], tensors["without"][name]) for name in shapes["with"])
    assert (tmp_path / "with" / "config.json").read_bytes() == (tmp_path / "without" / "config.json").read_bytes()
    files = [sorted(path.name for path in (tmp_path / arm).iterdir()) for arm in ("with", "without")]
    assert files[0] == files[1]


def test_the_objective_anneals_it_away_in_a_run_of_the_loop(tmp_path: Path) -> None:
    teacher = tiny_decoder(layers=6, seed=2)
    student, documents = cut(teacher), counting_documents(12)
    match = make_hidden_match(student, teacher, documents, kept_layers=KEPT, weight=1.0, until=0.5)
    config = TrainConfig(
        learning_rate=3e-3, tokens_per_step=250, micro_batch_tokens=100, max_steps=12, compute_dtype="float32"
    )
    objective = DistilObjective(LiveTeacher(teacher), LossMix(forward_kl=1.0), hidden=match)
    curve = train(student, documents, objective, config, directory=tmp_path).curve
    errors = [row["hidden_error"] for row in curve if "hidden_error" in row]
    assert len(errors) == 6
    assert errors[-1] < errors[0]
    assert match.weight == 0.0
