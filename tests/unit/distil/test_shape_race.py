from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from bpe_parts import CORPUS, write_bpe_model
from cut_parts import documents as random_documents
from cut_parts import teacher_of
from tokenizers import Tokenizer

from spiritsafe.core.canonical import JSON, digest
from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.distil import DistilObjective, LiveTeacher, LossMix
from spiritsafe.distil.shape_race import RaceResult, _documents_digest, measure_closeness, race
from spiritsafe.models import (
    Decoder,
    Document,
    LanguageModel,
    StudentShape,
    calibrate,
    choose_vocabulary,
    cut,
    load_decoder,
    pack_documents,
    with_vocabulary,
)
from spiritsafe.training import Objective, TracesObjective, TrainConfig, write_documents

CONFIG = TrainConfig(
    learning_rate=3e-3, tokens_per_step=80, micro_batch_tokens=80, max_steps=6, compute_dtype="float32"
)


class Sink:
    """Remembers what it hears."""

    def __init__(self) -> None:
        self.kinds: list[str] = []

    def progress(self, done: float, total: float | None, unit: str, note: str = "") -> None:
        pass

    def metrics(self, kind: str, values: dict[str, JSON]) -> None:
        self.kinds.append(kind)


def traces(_: LanguageModel) -> Objective:
    return TracesObjective()


@pytest.fixture(scope="module")
def teacher_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return teacher_of(tmp_path_factory.mktemp("teacher"), "qwen3", initializer_range=0.02)


@pytest.fixture(scope="module")
def teacher(teacher_directory: Path) -> Decoder:
    return load_decoder(teacher_directory, dtype=torch.float32)


@pytest.fixture(scope="module")
def students(teacher_directory: Path, teacher: Decoder, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    importance = calibrate(teacher, random_documents())
    whole = StudentShape.of(read_json(teacher_directory / "config.json"))
    root = tmp_path_factory.mktemp("students")
    sizes: dict[str, dict[str, Any]] = {"deep": {"num_layers": 1}, "wide": {"intermediate_size": 32}}
    for name, changes in sizes.items():
        cut(teacher_directory, root / name, whole.model_copy(update=changes), importance, name=name)
    return {name: root / name for name in sizes}


LEARNT, HELD_OUT = random_documents(8)[:6], random_documents(8)[6:]


@torch.no_grad()
def reference(student: Decoder, teacher: Decoder, kept: list[int] | None = None) -> dict[str, float]:
    """Float64, all rows of all documents at once."""
    p = torch.cat([teacher.logits(teacher(pack_documents([d])))[:-1] for d in HELD_OUT]).double().softmax(-1)
    q = torch.cat([student.logits(student(pack_documents([d])))[:-1] for d in HELD_OUT]).double().softmax(-1)
    targets = torch.tensor([token for d in HELD_OUT for token in d.token_ids[1:]])
    return {
        "loss": float(-q.gather(1, targets[:, None]).log().mean()),
        "teacher_loss": float(-p.gather(1, targets[:, None]).log().mean()),
        "kl": float((p * (p / q).log()).sum(1).mean()),
        "agreement": float((p.argmax(1) == q.argmax(1)).double().mean()),
        "missing_mass": 0.0,
    }


def test_closeness_is_what_float64_says(teacher: Decoder, students: dict[str, Path]) -> None:
    student = load_decoder(students["deep"], dtype=torch.float32)
    found = measure_closeness(student, teacher, HELD_OUT)
    for name, expected in reference(student, teacher).items():
        assert getattr(found, name) == pytest.approx(expected, rel=1e-4), name
    same = measure_closeness(teacher, teacher, HELD_OUT)
    assert same.kl == pytest.approx(0.0, abs=1e-7)
    assert same.agreement == 1.0


def test_all_are_healed_alike_and_ranked(teacher: Decoder, students: dict[str, Path], tmp_path: Path) -> None:
    sink = Sink()
    found = race(students, teacher, LEARNT, HELD_OUT, CONFIG, traces, directory=tmp_path, events=sink)
    assert [result.name for result in found] == sorted(
        students, key=lambda n: next(r.after.kl for r in found if r.name == n)
    )
    for result in found:
        start = load_decoder(students[result.name], dtype=torch.float32)
        assert result.before == measure_closeness(start, teacher, HELD_OUT)
        assert result.after != result.before
        assert result.steps == 6
        assert RaceResult.from_json(read_json(tmp_path / result.name / "result.json")) == result
        assert not (tmp_path / result.name / "state.pt").exists()
    assert sink.kinds.count("train_step") == 12
    assert sink.kinds.count("race_result") == 2
    by_loss = race(students, teacher, LEARNT, HELD_OUT, CONFIG, traces, directory=tmp_path, score="loss")
    assert [r.after.loss for r in by_loss] == sorted(r.after.loss for r in found)
    # Alone or in company, a student ends the same.
    alone = race({"wide": students["wide"]}, teacher, LEARNT, HELD_OUT, CONFIG, traces, directory=tmp_path / "alone")
    assert alone[0].after == next(r.after for r in found if r.name == "wide")


def test_finished_students_do_not_run_again(
    teacher: Decoder, students: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = race(students, teacher, LEARNT, HELD_OUT, CONFIG, traces, directory=tmp_path)
    race_module = sys.modules[race.__module__]  # the package exports the function under the same name
    real, trained = race_module.train, []

    def counting(model: LanguageModel, *args: Any, **more: Any) -> Any:
        trained.append(model)
        return real(model, *args, **more)

    monkeypatch.setattr(race_module, "train", counting)
    (tmp_path / "deep" / "state.pt").write_bytes(b"killed right after the result was written")
    assert race(students, teacher, LEARNT, HELD_OUT, CONFIG, traces, directory=tmp_path) == first
    assert trained == []
    assert not (tmp_path / "deep" / "state.pt").exists()
    (tmp_path / "deep" / "result.json").unlink()
    again = race(students, teacher, LEARNT, HELD_OUT, CONFIG, traces, directory=tmp_path)
    assert len(trained) == 1
    assert [r.after for r in again] == [r.after for r in first]
    longer = CONFIG.model_copy(update={"max_steps": 7})
    other = race(students, teacher, LEARNT, HELD_OUT, longer, traces, directory=tmp_path)
    assert {r.steps for r in other} == {7}
    coarse = race(students, teacher, LEARNT, HELD_OUT, longer, traces, directory=tmp_path, dtype=torch.bfloat16)
    assert {r.name: r.before for r in coarse} != {r.name: r.before for r in other}


def test_an_interrupted_student_goes_on_where_it_was(
    teacher: Decoder, students: dict[str, Path], tmp_path: Path
) -> None:
    class Stops(Sink):
        def metrics(self, kind: str, values: dict[str, JSON]) -> None:
            super().metrics(kind, values)
            if values.get("step") == 4:
                raise KeyboardInterrupt

    config = CONFIG.model_copy(update={"checkpoint_every_steps": 1})
    one = {"wide": students["wide"]}
    with pytest.raises(KeyboardInterrupt):
        race(one, teacher, LEARNT, HELD_OUT, config, traces, directory=tmp_path / "a", events=Stops())
    assert not (tmp_path / "a" / "wide" / "result.json").exists()
    sink = Sink()
    resumed = race(one, teacher, LEARNT, HELD_OUT, config, traces, directory=tmp_path / "a", events=sink)
    unbroken = race(one, teacher, LEARNT, HELD_OUT, config, traces, directory=tmp_path / "b")
    assert resumed[0].after == unbroken[0].after
    assert sink.kinds.count("train_step") < 6


def test_a_trimmed_student_reads_and_hears_its_own_tokens(tmp_path: Path) -> None:
    source = write_bpe_model(tmp_path / "teacher")
    teacher = load_decoder(source, dtype=torch.float32)
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    texts = [tuple(tokenizer.encode(text).ids) for text in CORPUS]
    documents = [Document(token_ids=ids, supervised=(False,) + (True,) * (len(ids) - 1)) for ids in texts]
    importance = calibrate(teacher, documents)
    kept = choose_vocabulary(source, importance.counts_V.tolist())
    shape = StudentShape.of(read_json(source / "config.json")).model_copy(update={"vocab_size": len(kept)})
    cut(source, tmp_path / "student", shape, importance, name="student", kept_ids=kept)
    speakers: list[LanguageModel] = []

    def remember(speaker: LanguageModel) -> Objective:
        speakers.append(speaker)
        return DistilObjective(LiveTeacher(speaker), LossMix(forward_kl=1.0))

    lanes = {"student": tmp_path / "student"}
    (result,) = race(lanes, teacher, documents[:2], documents[2:], CONFIG, remember, directory=tmp_path / "race")
    assert speakers[0].vocab_size == len(kept)
    # Nothing but the vocabulary was cut, so before healing the student is the restricted teacher.
    assert result.before.kl == pytest.approx(0.0, abs=1e-6)
    assert result.before.agreement == 1.0
    assert result.after.kl < 0.01  # a student that is its teacher has nothing to learn from it
    rows = (
        torch.cat([teacher.logits(teacher(pack_documents([d])))[:-1] for d in documents[2:]])
        .detach()
        .double()
        .softmax(-1)
    )
    assert result.before.missing_mass == pytest.approx(float(1 - rows[:, list(kept)].sum(1).mean()), rel=1e-4)
    speaker = with_vocabulary(teacher, kept)
    assert measure_closeness(speaker, teacher, documents[2:], kept_ids=kept) == result.before
    with pytest.raises(CompatibilityError, match="were to be compared"):
        measure_closeness(speaker, teacher, documents[2:])


def test_documents_are_named_as_they_were_when_all_of_them_were_written_out(tmp_path: Path) -> None:
    documents = [replace(d, weight=weight) for d, weight in zip(LEARNT, (1.0, 0.5, 1e-9, 1e30), strict=False)]
    rows = [[list(d.token_ids), [int(flag) for flag in d.supervised], d.weight] for d in documents]
    assert _documents_digest(documents) == digest(rows)
    assert _documents_digest(write_documents(tmp_path / "documents.bin", documents)) == digest(rows)
    assert _documents_digest([]) == digest([])


def test_mistakes_are_refused(teacher: Decoder, students: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no students"):
        race({}, teacher, LEARNT, HELD_OUT, CONFIG, traces, directory=tmp_path)
    with pytest.raises(RecipeError, match="also learnt from"):
        race(students, teacher, LEARNT, LEARNT[:1], CONFIG, traces, directory=tmp_path)
    silent = [Document(token_ids=(1, 2), supervised=(False, False))]
    with pytest.raises(CompatibilityError, match="supervise no token"):
        measure_closeness(teacher, teacher, silent)
