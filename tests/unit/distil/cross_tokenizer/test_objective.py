from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from across_language import LETTERS, MERGES, TEXTS, Cutter, ExactModel, pair_of
from across_parts import TEXTS as REAL_TEXTS
from across_parts import byte_level, chat_of, tiny_chat
from tiny_training import one_thread, tiny_decoder

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Message
from spiritsafe.distil.cross_tokenizer.head import AcrossMix
from spiritsafe.distil.cross_tokenizer.objective import AcrossTokenizersObjective, join_chunks
from spiritsafe.distil.cross_tokenizer.pairing import PairTable, pair_conversations
from spiritsafe.distil.cross_tokenizer.scores_file import CachedChunkTeacher, capture_scores, scores_header
from spiritsafe.distil.cross_tokenizer.spans import TokenBytes
from spiritsafe.distil.cross_tokenizer.teachers import ChunkScores, LiveChunkTeacher
from spiritsafe.distil.cross_tokenizer.vocabulary import map_vocabularies
from spiritsafe.distil.signal import TeacherRows
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import pack_documents, shared_prefix
from spiritsafe.training import TracesObjective, TrainConfig, train
from spiritsafe.training.objective import LossResult, Objective

SOME = random.Random(4).sample(sorted(TEXTS), 30)


def language(student: Cutter, teacher: Cutter, mix: AcrossMix, texts: list[str] = SOME) -> AcrossTokenizersObjective:
    return AcrossTokenizersObjective(
        LiveChunkTeacher(ExactModel(teacher), boundary_ids=teacher.boundary_ids()),
        PairTable.of(pair_of(student, teacher, text) for text in texts),
        mix,
        common=map_vocabularies(student.vocabulary, teacher.vocabulary),
        boundary_ids=student.boundary_ids(),
    )


def step(objective: Objective, model: Any, texts: list[str], cutter: Cutter) -> LossResult:
    batch = pack_documents([cutter.document(text) for text in texts])
    model.zero_grad(set_to_none=True)
    return objective(model, batch, float(batch.num_supervised))


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl"])
def test_a_student_that_knows_the_language_has_nothing_to_learn_on_whole_texts(divergence: Any) -> None:
    """One chunk a text: its likelihood is the joint probability, which no tokenization changes."""
    student = ExactModel(LETTERS)
    mix = AcrossMix(divergence=divergence, temperature=1.0)
    table = PairTable.of(pair_of(LETTERS, MERGES, text) for text in SOME)
    whole = PairTable.of(
        type(pair)(
            student=pair.student,
            teacher=pair.teacher,
            alignment=type(pair.alignment)(
                chunk_A=pair.alignment.chunk_A * 0,
                chunk_B=pair.alignment.chunk_B * 0,
                bytes_K=pair.alignment.bytes_K.sum(keepdims=True),
            ),
        )
        for pair in table.pairs.values()
    )
    found = step(AcrossTokenizersObjective(LiveChunkTeacher(ExactModel(MERGES)), whole, mix), student, SOME, LETTERS)
    assert float(found.loss) == pytest.approx(0.0, abs=1e-12)
    assert student.weight_VH.grad is not None
    assert float(student.weight_VH.grad.abs().max()) < 1e-9
    # Smaller chunks are conditioned on what the tokenizer has already decided, so there the two may differ.
    finer = step(AcrossTokenizersObjective(LiveChunkTeacher(ExactModel(MERGES)), table, mix), student, SOME, LETTERS)
    assert float(finer.loss) > 1e-4


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl"])
def test_debiased_on_both_sides_two_tokenizations_of_one_language_agree_on_every_unit(divergence: Any) -> None:
    """Words as chunks: given the boundary before and with the one behind, a word is one event in any tokenization."""
    texts = [t for t in TEXTS if pair_of(LETTERS, MERGES, t).alignment.num_chunks == 3]  # word, word, end
    assert len(texts) > 10
    losses, slopes = {}, {}
    for debias in ("none", "outcome", "both"):
        student = ExactModel(LETTERS)
        mix = AcrossMix(debias=debias, temperature=1.0, divergence=divergence)  # type: ignore[arg-type]  # of the three
        losses[debias] = float(step(language(LETTERS, MERGES, mix, texts), student, texts, LETTERS).loss)
        assert student.weight_VH.grad is not None
        slopes[debias] = float(student.weight_VH.grad.abs().max())
    assert losses["both"] == pytest.approx(0.0, abs=1e-12)
    assert slopes["both"] < 1e-9
    assert losses["outcome"] > 1e-4
    assert losses["none"] > 1e-4


def test_the_same_tokenizer_has_nothing_to_learn_at_all() -> None:
    mix = AcrossMix(chunk=1.0, one_to_one=1.0, debias="both")
    student = ExactModel(MERGES)
    found = step(language(MERGES, MERGES, mix), student, SOME, MERGES)
    assert float(found.loss) == pytest.approx(0.0, abs=1e-10)
    assert float(found.means["one_to_one_kl"][0]) == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("pick", ["plain", "debiased", "joined", "all"])
def test_micro_batches_add_up_and_the_order_of_documents_does_not_matter(pick: str) -> None:
    mix = {
        "plain": AcrossMix(ce=0.5),
        "debiased": AcrossMix(debias="both"),
        "joined": AcrossMix(debias="outcome", least_boundary=0.3),
        "all": AcrossMix(ce=0.1, one_to_one=0.5, debias="both", least_boundary=0.3),
    }[pick]
    objective = language(LETTERS, MERGES, mix)
    torch.manual_seed(0)
    model = ExactModel(LETTERS)
    with torch.no_grad():
        model.weight_VH += 0.3 * torch.randn_like(model.weight_VH)
    documents = [LETTERS.document(text) for text in SOME]
    total = float(sum(sum(document.supervised) for document in documents))
    gradients = []
    for parts in ([documents], [documents[20:], documents[:7][::-1], documents[7:20]]):
        model.zero_grad(set_to_none=True)
        loss = sum(float(objective(model, pack_documents(part), total).loss) for part in parts)
        assert model.weight_VH.grad is not None
        gradients.append((loss, model.weight_VH.grad.clone()))
    assert gradients[0][0] == pytest.approx(gradients[1][0], rel=1e-9)
    torch.testing.assert_close(gradients[0][1], gradients[1][1])


def test_shared_prefixes_change_nothing(tmp_path: Path) -> None:
    student, teacher = tiny_chat(tmp_path / "a"), chat_of(tmp_path / "b", byte_level(380))
    user = (Message(role="user", content="Say something."),)
    table = pair_conversations([(user, text[:40]) for text in REAL_TEXTS[:4]], student=student, teacher=teacher)
    objective = AcrossTokenizersObjective(LiveChunkTeacher(tiny_decoder(vocab=380, seed=2)), table, AcrossMix(ce=0.2))
    documents = table.documents()
    prefix = shared_prefix(documents)
    assert prefix > 10
    found = []
    for length in (0, prefix):
        model = tiny_decoder(vocab=260, seed=1)
        batch = pack_documents(documents, prefix_length=length)
        found.append((float(objective(model, batch, 100.0).loss), model.head().weight_VH.grad))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-5)
    assert found[0][1] is not None
    assert found[1][1] is not None
    torch.testing.assert_close(found[0][1], found[1][1], rtol=1e-3, atol=1e-6)


def test_joining_keeps_the_likelihood_and_needs_a_boundary() -> None:
    scores = ChunkScores(
        log_prob_K=torch.tensor([-1.0, -2.0, -4.0, -8.0, -16.0]),
        log_boundary_K=torch.tensor([0.05, 0.5, 1.0, 0.01, 1.0]).log(),
        log_before_K=torch.arange(5.0),
        starts=TeacherRows(hidden_RG=torch.arange(5.0)[:, None], weight_UG=torch.ones(3, 1)),
    )
    last_K = torch.tensor([False, False, True, False, True])
    chunk_R = torch.tensor([0, 0, 1, 2, 3, 4, 4])
    rows, last, joined = join_chunks(chunk_R, last_K, scores, least_boundary=0.1)
    assert rows.tolist() == [0, 0, 0, 1, 2, 2, 2]
    assert last.tolist() == [False, True, True]
    assert joined.log_prob_K.tolist() == [-3.0, -4.0, -24.0]
    assert joined.log_boundary_K is not None
    assert joined.log_boundary_K.exp().tolist() == pytest.approx([0.5, 1.0, 1.0])
    assert joined.log_before_K is not None
    assert joined.log_before_K.tolist() == [0.0, 2.0, 3.0]
    assert joined.starts is not None
    assert joined.starts.hidden_RG.flatten().tolist() == [0.0, 2.0, 3.0]


def test_a_student_learns_from_a_teacher_with_another_tokenizer(tmp_path: Path) -> None:
    """Live and cached alike; the student comes nearer to the teacher than fine-tuning on the same texts brings it."""
    student, teacher = tiny_chat(tmp_path / "a"), chat_of(tmp_path / "b", byte_level(380))
    user = (Message(role="user", content="?"),)
    texts = [f"the answer is {n * 37 % 100} and {n}" for n in range(12)]
    table = pair_conversations([(user, text) for text in texts], student=student, teacher=teacher)
    words = TokenBytes.of_chat(teacher)
    large = tiny_decoder(vocab=380, seed=7, initializer_range=0.35)
    header = scores_header(teacher="sha256:large", vocabulary=words.fingerprint)
    capture_scores(tmp_path / "scores.npz", header, large, table.pairs.values())
    sources = {
        "live": LiveChunkTeacher(large),
        "cached": CachedChunkTeacher(tmp_path / "scores.npz", header),
    }
    config = TrainConfig(
        learning_rate=3e-3,
        tokens_per_step=400,
        micro_batch_tokens=400,
        max_steps=12,
        compute_dtype="float32",
        checkpoint_every_s=None,
    )
    objectives: dict[str, Objective] = {
        name: AcrossTokenizersObjective(source, table, AcrossMix()) for name, source in sources.items()
    }
    objectives["traces"] = TracesObjective()
    gaps: dict[str, float] = {}
    with one_thread():
        for name, objective in objectives.items():
            model: Decoder = tiny_decoder(vocab=260, seed=1)
            train(model, table.documents(), objective, config, directory=tmp_path / name)
            batch = pack_documents(table.documents())
            value, count = objectives["live"](model, batch, 1.0).means["chunk_divergence"]
            gaps[name] = float(value) / count
        start, count = objectives["live"](tiny_decoder(vocab=260, seed=1), batch, 1.0).means["chunk_divergence"]
    assert gaps["live"] < 0.9 * float(start) / count
    assert gaps["live"] < 0.9 * gaps["traces"]
    assert gaps["cached"] == pytest.approx(gaps["live"], rel=0.02)


@pytest.mark.parametrize("divergence", ["forward_kl", "reverse_kl"])
@pytest.mark.parametrize("options", [{}, {"debias": "both", "least_boundary": 0.3}])
def test_a_live_teacher_of_nan_makes_the_loss_not_finite(divergence: Any, options: dict[str, Any]) -> None:
    """NaN is what a cache says of likelihoods that it does not know; a broken teacher must not pass for that."""
    broken = ExactModel(MERGES)
    with torch.no_grad():
        broken.weight_VH[:, 3:] = torch.nan
    objective = AcrossTokenizersObjective(
        LiveChunkTeacher(broken, boundary_ids=MERGES.boundary_ids()),
        PairTable.of(pair_of(LETTERS, MERGES, text) for text in SOME),
        AcrossMix(divergence=divergence, **options),
        boundary_ids=LETTERS.boundary_ids(),
    )
    assert not math.isfinite(float(step(objective, ExactModel(LETTERS), SOME, LETTERS).loss))


def test_what_the_mix_needs_must_be_there() -> None:
    live, table = LiveChunkTeacher(ExactModel(MERGES)), PairTable.of([pair_of(LETTERS, MERGES, SOME[0])])
    with pytest.raises(CompatibilityError, match="both vocabularies"):
        AcrossTokenizersObjective(live, table, AcrossMix(one_to_one=1.0))
    with pytest.raises(CompatibilityError, match="student's boundary"):
        AcrossTokenizersObjective(live, table, AcrossMix(debias="outcome"))
    objective = AcrossTokenizersObjective(live, table, AcrossMix())
    with pytest.raises(CompatibilityError, match="was not paired"):
        step(objective, ExactModel(LETTERS), SOME[:2], LETTERS)
    wrong = language(LETTERS, MERGES, AcrossMix(one_to_one=1.0))
    with pytest.raises(CompatibilityError, match="outside the student"):
        step(wrong, tiny_decoder(vocab=3), SOME[:1], LETTERS)


def test_the_description_tells_runs_apart() -> None:
    described = [
        language(LETTERS, MERGES, AcrossMix()).describe(),
        language(LETTERS, MERGES, AcrossMix(temperature=10.0)).describe(),
        language(LETTERS, MERGES, AcrossMix(debias="outcome")).describe(),
        language(LETTERS, MERGES, AcrossMix(one_to_one=0.1)).describe(),
        language(LETTERS, MERGES, AcrossMix(), SOME[:-1]).describe(),
        language(MERGES, MERGES, AcrossMix()).describe(),
    ]
    assert len({str(one) for one in described}) == len(described)
    assert language(LETTERS, MERGES, AcrossMix()).describe() == described[0]
    assert math.isclose(float(described[1]["temperature"]), 10.0)  # type: ignore[arg-type]
