from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import time

import pytest
from exam_parts import SAMPLING, Stage, ToyModel, ToyTask, ToyVerifier, make_stage

from spiritsafe.core.errors import EndpointError, IntegrityError, ProcedureError, StorageError
from spiritsafe.exam import verify
from spiritsafe.exam.paper.files import open_sealed
from spiritsafe.exam.sitting.journal import Journal
from spiritsafe.ledger import KeyPair, Ledger
from spiritsafe.tasks.sandbox.layers import SandboxMissingError

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # fork with numpy's idle threads


def check(stage: Stage, name: str = "sitting") -> None:
    steps = verify(
        stage.root / name / "certificate.json",
        paper=stage.papers,
        ledger=stage.ledger.path,
        result=stage.root / name / "result.json",
        sealed=stage.papers / "sealed.age",
    )
    assert all(step.ok for step in steps), [step for step in steps if not step.ok]


def test_a_sitting_from_end_to_end(stage):
    model = ToyModel(skill=0.6)
    certificate = stage.certificate(model, num_tries=2)
    result = certificate.result
    assert len(model.asked) == len(set(model.asked)) == 40
    assert len(result.outcomes) == 40
    assert sum(result.sealed.counts.values()) == sum(result.public.counts.values()) == 20
    assert (result.num_prompt_tokens, result.num_tokens) == (280, 200)
    assert result.sampling == SAMPLING
    assert result.openings == 1
    assert [entry.kind for entry in stage.ledger.entries()] == ["paper", "registration", "access", "result"]
    check(stage)


def test_problems_are_in_the_ledger_before_they_are_asked(stage):
    seen = []
    model = ToyModel(on_ask=lambda: seen.append([e.kind for e in Ledger(stage.ledger.path).entries()][-1]))
    stage.certificate(model)
    assert set(seen) == {"access"}


def test_no_sealed_word_lies_on_disk(stage):
    sealed = open_sealed(stage.papers, stage.paper, stage.examiner)
    texts = [problem.problem.canonical_text for problem in sealed.problems]
    on_disk: list[bytes] = []

    def look() -> None:
        on_disk.extend(path.read_bytes() for path in stage.root.rglob("*") if path.is_file())

    stage.certificate(ToyModel(skill=1.0, on_ask=look))
    look()
    answers = [f"The answer is {problem.problem.facts['answer']}" for problem in sealed.problems]
    for needle in [*texts, *answers, sealed.secret, *(problem.salt for problem in sealed.problems)]:
        assert not any(needle.encode() in data for data in on_disk), needle


def test_the_certificate_shows_no_answer(stage):
    stage.certificate(ToyModel(skill=1.0))
    text = (stage.root / "sitting" / "certificate.json").read_text()
    assert "The answer" not in text
    assert "marker" not in text


def test_unregistered_and_foreign_sittings_are_refused(stage, tmp_path):
    model = ToyModel()
    registration = stage.register(model)
    with pytest.raises(ProcedureError, match="not registered"):
        stage.sit(model, registration.model_copy(update={"hypothesis": "another"}))
    with pytest.raises(ProcedureError, match="registered is"):
        stage.sit(ToyModel(name="swapped"), registration)
    other = make_stage(tmp_path / "other")
    with pytest.raises(ProcedureError, match="another paper"):
        other.sit(model, registration)
    stage.examiner, right = KeyPair.generate("Mallory"), stage.examiner
    with pytest.raises(ProcedureError, match="sealed by"):
        stage.sit(model, registration)
    stage.examiner = right
    stage.task, task = ToyTask(version="2"), stage.task
    with pytest.raises(ProcedureError, match="was sealed with"):
        stage.sit(model, registration)
    stage.task = task
    stage.ledger, ledger = Ledger(tmp_path / "empty.jsonl"), stage.ledger
    with pytest.raises(ProcedureError, match="not in the ledger"):
        stage.sit(model, registration)
    assert model.asked == []
    assert [entry.kind for entry in ledger.entries()] == ["paper", "registration"]


def test_where_answers_cannot_be_graded_nobody_is_asked(stage, monkeypatch):
    model = ToyModel()
    registration = stage.register(model)

    def refuse(verifier):
        raise SandboxMissingError("There is no sandbox here.", hint="Install bubblewrap.")

    with monkeypatch.context() as patch:
        patch.setattr(ToyVerifier, "check_machine", refuse)
        with pytest.raises(SandboxMissingError):
            stage.sit(model, registration)
    assert model.asked == []
    assert [entry.kind for entry in stage.ledger.entries()] == ["paper", "registration"]
    stage.sit(model, registration)
    assert model.asked  # once there is one


def test_a_registration_has_one_result(stage):
    model = ToyModel()
    registration = stage.register(model)
    first = stage.sit(model, registration)
    asked = len(model.asked)
    with pytest.raises(ProcedureError, match="ended already"):
        stage.sit(model, registration, "lucky second try")
    with pytest.raises(ProcedureError, match="another sitting"):
        stage.sit(model, stage.register(model, hypothesis="other"))
    assert stage.sit(model, registration) == first  # the same command again: the same certificate, nothing asked
    assert len(model.asked) == asked
    assert len(stage.ledger.find("result")) == 1


def test_a_second_registration_of_a_model_draws_no_new_luck(stage):
    first = stage.certificate(ToyModel(), name="first")
    second = stage.sit(ToyModel(), stage.register(ToyModel(), hypothesis="try again"), "second")
    assert [o.status for o in first.result.outcomes] == [o.status for o in second.result.outcomes]
    assert [o.commitment for o in first.result.outcomes] != [o.commitment for o in second.result.outcomes]
    assert len(second.registrations) == 2


def test_an_endpoint_that_dies_is_resumed_without_asking_twice(stage):
    model = ToyModel()
    registration = stage.register(model, num_tries=2)

    def die() -> None:
        if len(model.asked) == 13:
            raise EndpointError("The line went dead.", hint="Wait.")

    model.on_ask = die
    with pytest.raises(EndpointError, match="dead"):
        stage.sit(model, registration)
    again = ToyModel()
    certificate = stage.sit(again, registration)
    assert len(again.asked) == 40 - 13
    assert not set(again.asked) & set(model.asked)
    assert certificate.result.openings == 2
    assert any("opened 2 times" in text for text in certificate.statements)
    check(stage)


def test_a_full_disk_is_said_and_survived(stage, monkeypatch):
    model = ToyModel()
    registration = stage.register(model)
    record = Journal.record

    def fail(self, answer):
        if len(self.answers) == 5:
            raise StorageError("No space left.", hint="Free some.")
        record(self, answer)

    monkeypatch.setattr(Journal, "record", fail)
    with pytest.raises(StorageError):
        stage.sit(model, registration)
    monkeypatch.undo()
    stage.sit(ToyModel(), registration)
    check(stage)


@pytest.mark.parametrize("name", ["answers.jsonl", "result.json", "certificate.json"])
def test_damaged_files_of_a_sitting_are_not_believed(stage, name):
    model = ToyModel()
    registration = stage.register(model)
    stage.sit(model, registration)
    path = stage.root / "sitting" / name
    if name == "answers.jsonl":
        (stage.root / "sitting" / "certificate.json").unlink()
        (stage.root / "sitting" / "result.json").unlink()
        with pytest.raises(ProcedureError):  # its result is in the ledger, and cannot be made again from here
            stage.sit(model, registration)
        return
    path.write_bytes(path.read_bytes().replace(b"correct", b"wrong", 1))
    with pytest.raises((IntegrityError, ProcedureError)):
        stage.sit(model, registration)


def test_an_edited_result_cannot_replace_the_one_in_the_ledger(stage):
    model = ToyModel()
    registration = stage.register(model)
    stage.sit(model, registration)
    (stage.root / "sitting" / "certificate.json").unlink()
    path = stage.root / "sitting" / "result.json"
    value = json.loads(path.read_bytes())
    value["num_tokens"] += 1
    path.write_bytes(json.dumps(value, separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode())
    with pytest.raises(ProcedureError, match="ended already"):
        stage.sit(model, registration)


def _copy(stage: Stage, root) -> Stage:
    shutil.copytree(stage.root, root)
    return Stage(
        root=root,
        task=stage.task,
        maker=stage.maker,
        examiner=stage.examiner,
        ledger=Ledger(root / "ledger.jsonl"),
        paper=stage.paper,
    )


def _sit_and_die(stage: Stage, registration, moment: int, tear: bool) -> None:
    """Sit, and die at the given write or sync of a file, with or without losing the end of what was being written."""
    sync, write, count = os.fsync, os.write, 0

    def die_when_due(descriptor: int) -> None:
        nonlocal count
        count += 1
        if count == moment:
            if tear:
                size = os.fstat(descriptor).st_size
                with contextlib.suppress(OSError):  # a directory, or open for reading only
                    os.ftruncate(descriptor, max(0, size - 20))
            os.kill(os.getpid(), signal.SIGKILL)

    def dying_sync(descriptor: int) -> None:
        die_when_due(descriptor)
        sync(descriptor)

    def dying_write(descriptor: int, data: bytes) -> int:
        done = write(descriptor, data)
        if b"answers.jsonl" in os.readlink(f"/proc/self/fd/{descriptor}").encode():
            die_when_due(descriptor)
        return done

    os.fsync, os.write = dying_sync, dying_write
    log = (stage.root / "asked.log").open("a", buffering=1)
    model = ToyModel()
    model.on_ask = lambda: log.write(".\n")
    stage.sit(model, registration)


def _fork(target, *arguments):
    process = multiprocessing.get_context("fork").Process(target=target, args=arguments)
    process.start()
    return process


@pytest.mark.parametrize("tear", [False, True])
def test_killed_at_every_sync_and_repeated_gives_the_same_result(tmp_path, tear):
    origin = make_stage(tmp_path / "origin", count=4)
    registration = origin.register(ToyModel())
    unbroken = _copy(origin, tmp_path / "unbroken").sit(ToyModel(), registration)
    moment, killed = 0, True
    while killed:
        moment += 1
        stage = _copy(origin, tmp_path / f"killed-{moment}")
        process = _fork(_sit_and_die, stage, registration, moment, tear)
        process.join()
        killed = process.exitcode == -signal.SIGKILL
        model = ToyModel()
        certificate = stage.sit(model, registration)
        assert certificate.result.outcomes == unbroken.result.outcomes
        assert certificate.result.sealed == unbroken.result.sealed
        asked_before = len((stage.root / "asked.log").read_text().splitlines())
        assert 4 <= asked_before + len(model.asked) <= 5  # only the answer that was being written is asked again
        check(stage)
        assert len(stage.ledger.find("result")) == 1
    assert moment >= 10  # answers, ledger entries, result and certificate all had their turn


def _sit_slowly(stage: Stage, registration) -> None:
    log = (stage.root / "asked.log").open("a", buffering=1)
    model = ToyModel()

    def slow() -> None:
        time.sleep(0.005)
        log.write("asked\n")

    model.on_ask = slow
    stage.sit(model, registration)


def test_killed_at_random_moments_until_it_is_done(tmp_path):
    stage = make_stage(tmp_path / "stage", count=16)
    registration = stage.register(ToyModel(), num_tries=2)
    unbroken = _copy(stage, tmp_path / "unbroken").sit(ToyModel(), registration)
    rng, kills = random.Random(4), 0
    for _ in range(60):
        process = _fork(_sit_slowly, stage, registration)
        process.join(timeout=rng.uniform(0.03, 0.2))
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
        if process.exitcode == 0:
            break
    certificate = stage.sit(ToyModel(), registration)
    assert kills >= 2
    assert certificate.result.outcomes == unbroken.result.outcomes
    asked = len((stage.root / "asked.log").read_text().splitlines())
    assert 32 <= asked <= 32 + kills
    check(stage)


def test_concurrent_sittings_share_one_ledger(tmp_path):
    stage = make_stage(tmp_path / "stage", count=8)
    registrations = [stage.register(ToyModel(name=f"m{number}")) for number in range(4)]
    processes = [
        _fork(stage.sit, ToyModel(name=f"m{number}"), registration, f"s{number}")
        for number, registration in enumerate(registrations)
    ]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0, 0]
    assert stage.ledger.verify().ok
    for number in range(4):
        check(stage, f"s{number}")


def test_two_processes_of_one_sitting_take_turns(tmp_path):
    stage = make_stage(tmp_path / "stage", count=8)
    registration = stage.register(ToyModel())
    processes = [_fork(_sit_slowly, stage, registration) for _ in range(3)]
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert len((stage.root / "asked.log").read_text().splitlines()) == 8
    assert len(stage.ledger.find("result")) == 1
