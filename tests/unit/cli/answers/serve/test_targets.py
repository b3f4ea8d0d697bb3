"""What is served: each kind of target gives models by clear names, and certificates that may be of their bytes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from places import TESTS
from routing_parts import routed_directory

from spiritsafe.cli.answers.serve.targets import find_targets
from spiritsafe.core.errors import IntegrityError, RecipeError, SourceError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.files.digests import LINEAGE, digest_model
from spiritsafe.core.serving import ServedModel
from spiritsafe.serve.operation.certificates import verified_certificates

RELEASE = TESTS / "golden" / "release"


def served(name: str, digest: str) -> ServedModel:
    return ServedModel(name=name, digest=digest, kind="weights", context=9, max_prompt_bytes=9, vocab_size=9)


def test_a_release_gives_its_models_with_digests_and_certificates_that_verify() -> None:
    targets = find_targets([str(RELEASE)], None)
    assert [(target.name, len(target.parts)) for target in targets] == [("student", 5), ("student-q8", 0)]
    for target in targets:
        assert target.digest is not None
        (found,) = verified_certificates(served(target.name, target.digest), target.certificates)
        assert found.exam == "exam"
        assert found.certificate.result.model_name == f"rel-{target.name}" or found.certificate.result.model_digest
        with pytest.raises(IntegrityError, match="is of sha256"):
            verified_certificates(served(target.name, "sha256:" + "0" * 64), target.certificates)


def test_a_release_with_a_changed_byte_is_not_served(tmp_path: Path) -> None:
    shutil.copytree(RELEASE, tmp_path / "r")
    card = tmp_path / "r" / "README.md"
    card.write_text(card.read_text() + " ")
    with pytest.raises(IntegrityError, match=re.escape("README.md")):
        find_targets([str(tmp_path / "r")], None)
    with pytest.raises(IntegrityError, match=re.escape("README.md")):  # nor is one file of it passed off as certified
        find_targets([str(tmp_path / "r" / "rel-student-Q8_0.gguf")], None)


def test_a_file_alone_has_the_certificate_of_the_release_around_it(tmp_path: Path) -> None:
    (target,) = find_targets([f"small={RELEASE / 'rel-student-Q8_0.gguf'}"], None)
    digest = digest_model_of_file(RELEASE / "rel-student-Q8_0.gguf", tmp_path)
    (found,) = verified_certificates(served("small", digest), target.certificates)
    assert found.certificate.result.model_digest == digest
    shutil.copy(RELEASE / "rel-student-Q8_0.gguf", tmp_path / "alone.gguf")
    (alone,) = find_targets([str(tmp_path / "alone.gguf")], None)
    assert (alone.name, alone.certificates) == ("alone", ())


def digest_model_of_file(path: Path, folder: Path) -> str:
    (folder / "d").mkdir()
    shutil.copy(path, folder / "d")
    return digest_model(folder / "d")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run directory with what a server looks at: a model that was examined, one that was not, one half made."""
    place, exam = tmp_path / "run", RELEASE / "exams" / "exam"
    for stage in ("01-student", "02-cut", "03-half"):
        model = place / "stages" / stage / "model"
        model.mkdir(parents=True)
        shutil.copy(RELEASE / "config.json", model)
        (model / LINEAGE).write_text('{"name": "rel-student"}')
        if stage != "03-half":
            (model.parent / "done.json").write_text("{}")
    (place / "stages" / "04-seal" / "paper").mkdir(parents=True)
    shutil.copy(exam / "paper.json", place / "stages" / "04-seal" / "paper")
    (place / "stages" / "05-exam").mkdir()
    for name in ("student", "base"):
        shutil.copy(exam / f"{name}.certificate.json", place / "stages" / "05-exam")
    shutil.copy(exam / "ledger.jsonl", place)
    (place / "resolved.json").write_text("{}")
    return place


def test_a_run_gives_the_models_that_it_examined(run: Path) -> None:
    (target,) = find_targets([str(run)], None)
    assert (target.name, target.source) == ("student", str(run / "stages" / "01-student" / "model"))
    digest = read_json(run / "stages" / "05-exam" / "student.certificate.json")["result"]["model_digest"]
    (found,) = verified_certificates(served("student", digest), target.certificates)
    assert (found.exam, found.certificate.result.model_digest) == ("exam", digest)
    with pytest.raises(IntegrityError, match=r"student.certificate.json is of sha256"):
        verified_certificates(served("student", "sha256:" + "0" * 64), target.certificates)
    (alone,) = find_targets([str(run / "stages" / "01-student" / "model")], None)
    assert alone.name == "rel-student"
    assert verified_certificates(served("x", digest), alone.certificates) == (found,)
    (run / "stages" / "05-exam" / "student.certificate.json").unlink()
    assert [one.name for one in find_targets([str(run)], None)] == ["student", "cut"]
    with pytest.raises(RecipeError, match="cannot all be called mine"):
        find_targets([f"mine={run}"], None)


def test_names_are_said_and_clear(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    assert [target.name for target in find_targets([a, f"large={b}", "tiny:0?layers=2", "hf:org/name"], None)] == [
        *("a", "large", "tiny:0", "name")
    ]
    assert find_targets([a], "only")[0].name == "only"
    equals = tmp_path / "x=y"
    equals.mkdir()
    (equals / "config.json").write_text("{}")
    assert find_targets([f"z={equals}"], None)[0].source == str(equals)
    for words, name, said in (
        ([a, f"a={b}"], None, "Two models are called a"),
        ([a, b], "only", "2 are to be served"),
        ([a], "no name", "is no name for a model"),
        ([a], "", "is no name for a model"),
    ):
        with pytest.raises(RecipeError, match=said):
            find_targets(words, name)


def test_what_is_nothing_to_serve_is_said(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "resolved.json").write_text("{}")
    for word in (str(tmp_path / "none"), "a\0b", "", "name=", str(tmp_path / "empty"), str(tmp_path / "begun")):
        with pytest.raises(SourceError):
            find_targets([word], None)


def test_a_routed_system_is_not_served_as_a_model_and_its_run_is_served_without_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    directory = routed_directory(run)
    with pytest.raises(RecipeError, match="has no weights of its own") as caught:
        find_targets([str(directory)], None)
    assert f"--router {directory / 'routed.json'}" in str(caught.value.hint)
    (run / "resolved.json").write_text("{}", "utf-8")
    for model in run.glob("stages/*/model"):
        (model.parent / "done.json").write_text("{}", "utf-8")
    assert [target.name for target in find_targets([str(run)], None)] == ["small", "large"]
