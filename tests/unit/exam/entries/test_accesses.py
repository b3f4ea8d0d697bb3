from __future__ import annotations

from exam_parts import ToyModel


def test_local_and_remote_models_are_told_apart(stage):
    local = stage.certificate(ToyModel())
    assert [record.exposed for record in local.access] == [False, False]
    assert any(text.startswith("Class A") for text in local.statements)
    remote = stage.certificate(ToyModel(name="far away", kind="remote"), name="remote")
    assert [record.exposed for record in remote.access] == [False, False, True]
    assert any(text.startswith("Class B") for text in remote.statements)
    assert any("exposed to: far away (remote)" in text for text in remote.statements)
    # Whoever sits after that learns that the paper is no longer fresh.
    later = stage.certificate(ToyModel(name="later"), name="later")
    assert any("exposed to: far away (remote)" in text for text in later.statements)


def test_access_history_says_who_saw_what_when(stage):
    certificate = stage.certificate(ToyModel(), num_tries=2)
    sealing, sitting = certificate.access
    assert sealing.who == stage.examiner.public.recorded_label
    assert (sealing.num_public, sealing.num_sealed) == (10, 10)
    assert sitting.who == "toy-model (local)"
    assert (sitting.num_public, sitting.num_sealed) == (10, 10)
    assert sealing.time <= sitting.time == certificate.result.started
