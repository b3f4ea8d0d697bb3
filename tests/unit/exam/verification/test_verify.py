from __future__ import annotations

import random
import shutil

import pytest
from exam_parts import ToyModel, make_stage

from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.exam import VERIFY_STEPS, Materials, load_certificate, require_verified, verification_of, verify


@pytest.fixture(scope="module")
def evidence(tmp_path_factory):
    """The files of one sitting, made once."""
    root = tmp_path_factory.mktemp("evidence")
    stage = make_stage(root, count=4)
    stage.register(ToyModel(name="withdrawn later"))
    stage.certificate(ToyModel())
    return root


FILES = {
    "certificate": "sitting/certificate.json",
    "paper": "paper/paper.json",
    "ledger": "ledger.jsonl",
    "result": "sitting/result.json",
    "sealed": "paper/sealed.age",
}
NAMED = {
    "certificate": {"certificate file", "certificate signatures"},
    "paper": {"paper file", "paper bank", "paper split"},
    "ledger": {"ledger file"},
    "result": {"result in ledger"},
    "sealed": {"sealed file"},
}


def run(root):
    names = {name: root / path for name, path in FILES.items()}
    return verify(names.pop("certificate"), **names)


def test_steps_are_numbered_named_and_explained():
    assert [step.number for step in VERIFY_STEPS] == list(range(1, len(VERIFY_STEPS) + 1))
    assert len({step.name for step in VERIFY_STEPS}) == len(VERIFY_STEPS)
    assert all(step.checks.endswith(".") for step in VERIFY_STEPS)


def test_a_good_certificate_passes_every_step(evidence):
    steps = run(evidence)
    assert all(step.ok for step in steps)
    assert [step.name for step in steps if not step.checked] == [
        "revealed answers",
        "training overlap",
        "signs of memory",
        "opened paper",
        "published answers",
        "re-runs",
        "witnessed heads",
        "trusted keys",
    ]
    require_verified(steps)


def test_certificate_and_paper_are_enough(evidence):
    steps = verify(evidence / FILES["certificate"], paper=evidence / "paper")
    assert all(step.ok for step in steps)
    assert [step.name for step in steps if not step.checked] == [
        "sealed file",
        "revealed answers",
        "ledger file",
        "training overlap",
        "signs of memory",
        "paper in force",
        "opened paper",
        "published answers",
        "disputes",
        "re-runs",
        "witnessed heads",
        "trusted keys",
    ]


@pytest.mark.parametrize("name", FILES)
def test_any_flipped_byte_fails_and_names_the_step(evidence, tmp_path, name):
    shutil.copytree(evidence, tmp_path / "copy")
    path = tmp_path / "copy" / FILES[name]
    data = path.read_bytes()
    rng = random.Random(name)
    for position in {0, len(data) - 1, *rng.sample(range(len(data)), 30)}:
        damaged = bytearray(data)
        damaged[position] ^= 1 << rng.randrange(8)
        path.write_bytes(bytes(damaged))
        failed = [step for step in run(tmp_path / "copy") if not step.ok]
        assert failed, f"byte {position} of {name}"
        assert failed[0].name in NAMED[name], (position, failed[0])
        assert failed[0].detail


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["cut", "longer", "empty", "space"])
def test_cut_lengthened_and_reformatted_files(evidence, tmp_path, name, damage):
    shutil.copytree(evidence, tmp_path / "copy")
    path = tmp_path / "copy" / FILES[name]
    data = path.read_bytes()
    changed = {"cut": data[:-1], "longer": data + b"\n", "empty": b"", "space": data.replace(b":", b": ", 1)}[damage]
    path.write_bytes(changed if changed != data else data + b" ")
    failed = [step for step in run(tmp_path / "copy") if not step.ok]
    assert failed[0].name in NAMED[name]
    with pytest.raises(IntegrityError, match=f"Step {failed[0].number} "):
        require_verified(run(tmp_path / "copy"))


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_the_callers_mistake(evidence, tmp_path, name):
    shutil.copytree(evidence, tmp_path / "copy")
    (tmp_path / "copy" / FILES[name]).unlink()
    with pytest.raises(SourceError):
        run(tmp_path / "copy")


def test_a_ledger_that_grew_still_verifies(evidence, tmp_path):
    shutil.copytree(evidence, tmp_path / "copy")
    stage = make_stage(tmp_path / "another", count=4)
    from_other = tmp_path / "copy" / "ledger.jsonl"
    stage.ledger = type(stage.ledger)(from_other)
    stage.ledger.append("note", {"later": True}, stage.maker)
    assert all(step.ok for step in run(tmp_path / "copy"))


def test_load_certificate_checks_the_signatures(evidence, tmp_path):
    certificate = load_certificate(evidence / FILES["certificate"])
    bad = certificate.model_copy(update={"separation": "self-examined"})
    path = tmp_path / "c.json"
    path.write_bytes(bad.canonical())
    with pytest.raises(IntegrityError, match="signatures"):
        load_certificate(path)


def test_a_verification_hands_on_what_it_looked_at(tmp_path):
    stage = make_stage(tmp_path, count=8)
    certificate = stage.certificate(ToyModel())
    path = tmp_path / "sitting" / "certificate.json"
    found = verification_of(Materials(certificate=path, paper=stage.papers, ledger=stage.ledger.path))
    assert found.require() == found.certificate == certificate
    assert found.require_paper() == stage.paper
    assert found.entries == stage.ledger.entries()
    assert (found.reruns, found.overlaps, list(found.computed)) == ((), (), [])
    alone = verification_of(Materials(certificate=path, paper=None))
    assert alone.require() == certificate
    assert alone.entries is None
    with pytest.raises(IntegrityError, match="paper file"):
        alone.require_paper()


def test_a_verification_that_fails_hands_on_nothing_that_it_did_not_check(tmp_path):
    stage = make_stage(tmp_path, count=8)
    stage.certificate(ToyModel())
    path = tmp_path / "sitting" / "certificate.json"
    path.write_bytes(path.read_bytes().replace(b'"third party"', b'"separate key"'))
    found = verification_of(Materials(certificate=path, paper=stage.papers, ledger=stage.ledger.path))
    assert (found.paper, found.entries) == (None, None)
    with pytest.raises(IntegrityError, match="Step 2"):
        found.require()
    path.write_bytes(b"{}")
    assert verification_of(Materials(certificate=path, paper=stage.papers)).certificate is None


def test_the_signature_that_fails_is_named_by_the_id_that_people_compare(tmp_path):
    stage = make_stage(tmp_path, count=8)
    stage.certificate(ToyModel())
    path = tmp_path / "sitting" / "certificate.json"
    path.write_bytes(path.read_bytes().replace(b'"third party"', b'"separate key"'))
    bad = next(step for step in stage.verify() if not step.ok)
    assert f"of key {stage.examiner.public.key_id} is not over" in bad.detail
