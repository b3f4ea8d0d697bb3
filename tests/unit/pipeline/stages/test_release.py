"""The tiny run's release: a stranger's look at it, and what stands in its way."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from pipeline_parts import stage_at
from released_run import context_of, released_recipe

from spiritsafe.core.errors import RecipeError, SourceError
from spiritsafe.core.events import NullSink
from spiritsafe.core.files.atomic import read_json
from spiritsafe.exam.records import Certificate
from spiritsafe.models import file_facts, open_generator, read_checkpoint
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.stages.release import ReleaseWish, make_release
from spiritsafe.release import Release, verify_release

WISH = ReleaseWish(
    model="student",
    files=("student-q8",),
    weights=True,
    title=None,
    version="1.0",
    about="",
    languages=(),
    texts=(),
    recipe=False,
)


def released(released_run: Path) -> Path:
    return next(released_run.glob("stages/*-release/release"))


def test_the_run_s_release_verifies_and_its_certificates_name_the_files_bytes(released_run: Path) -> None:
    place = released(released_run)
    steps = verify_release(place)
    assert [step.ok for step in steps] == [True] * len(steps)
    record = Release.from_json(read_json(place / "release.json"))
    weights, file = record.files
    assert record.name == "rel-student"
    assert file.path == "rel-student-Q8_0.gguf"
    assert file.digest == f"sha256:{hashlib.sha256((place / file.path).read_bytes()).hexdigest()}"
    for one in (weights, file):
        (sat,) = one.certificates
        certificate = Certificate.from_json(read_json(place / sat.path))
        assert certificate.result.model_digest == one.digest
    assert file.file_type == file_facts(place / file.path).file_type.upper() == "Q8_0"
    assert [one.text for one in file.divergences] == ["general"]
    assert {one.digest for one in record.lineage} >= {weights.digest, file.digest}
    assert "tiny-0" in {one.name for one in record.lineage}
    assert {Path(path).name for path in record.exams[0].others} >= {"base.certificate.json"}


def test_the_release_s_directory_loads_as_any_other_model(released_run: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    place = released(released_run)
    assert AutoTokenizer.from_pretrained(place).encode("1 + 2") == [
        *AutoTokenizer.from_pretrained(next(released_run.glob("stages/*-student/model"))).encode("1 + 2")
    ]
    model = AutoModelForCausalLM.from_pretrained(place)
    record = Release.from_json(read_json(place / "release.json"))
    assert sum(weight.numel() for weight in model.parameters()) == record.lineage[0].num_parameters


def test_the_very_file_answers_as_a_file_model(released_run: Path) -> None:
    directory = next(released_run.glob("stages/*-student-q8/model"))
    generator = open_generator(directory)
    assert generator.describe().digest == read_checkpoint(directory).digest
    generator.close()


def test_a_name_that_a_licence_forbids_and_a_missing_text_are_refused(released_run: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(released_run, tmp_path / released_run.name))
    for path in run.rglob("lineage.json"):  # as if the base had been Llama's
        path.write_bytes(path.read_bytes().replace(b"Apache-2.0", b"LicenseRef-llama3.1"))
    context, stage = context_of(run, released_recipe()), stage_at(tmp_path / "09-release")
    with pytest.raises(RecipeError, match="begins with"):
        make_release(_named("tiny-sums"), context, stage, NullSink())
    with pytest.raises(SourceError, match="goes along"):
        make_release(_named("Llama-tiny-sums"), context, stage, NullSink())
    text = tmp_path / "llama3.1.txt"
    text.write_text("LLAMA 3.1 COMMUNITY LICENSE AGREEMENT\n", "utf-8")
    wish = _named(None, texts=(str(text),))
    assert str(make_release(wish, context, stage, NullSink())["name"]).startswith("Llama-rel")
    card = (stage.path / "release" / "README.md").read_text("utf-8")
    assert "**Built with Llama**" in card
    assert "Llama 3.1 is licensed under" in (stage.path / "release" / "NOTICE").read_text("utf-8")


def test_what_lies_beside_the_weights_that_are_inside_goes_along(released_run: Path, tmp_path: Path) -> None:
    base, judge = tmp_path / "base", tmp_path / "judge"
    for folder, holder in ((base, "Ada"), (judge, "Bob")):
        folder.mkdir()
        (folder / "LICENSE").write_text(f"Apache License of {holder}\n")
        (folder / "NOTICE").write_text(f"Copyright {holder}\n")
    run = Path(shutil.copytree(released_run, tmp_path / released_run.name))
    recipe = released_recipe(base={"source": str(base)}, sits=["base", "student", "student-q8"])
    recipe = recipe_of({**recipe.to_json(), "models": {**recipe.to_json()["models"], "judge": {"source": str(judge)}}})
    other = shutil.copytree(next(run.glob("stages/*-base")), run / "stages" / "99-judge")  # of another model
    text = (other / "lineage.json").read_text("utf-8")
    (other / "lineage.json").write_text(text.replace("sha256:", "sha256:f", 1).replace("tiny-0", "judge"))
    stage = stage_at(tmp_path / "09-release")
    make_release(WISH, context_of(run, recipe), stage, NullSink())
    place = stage.path / "release"
    assert (place / "LICENSE").read_text() == "Apache License of Ada\n"
    assert [path.name for path in (place / "licences").iterdir()] == ["base-NOTICE"]
    assert (place / "licences" / "base-NOTICE").read_text() == "Copyright Ada\n"


def test_a_second_file_of_one_type_has_a_name_of_its_own(released_run: Path, tmp_path: Path) -> None:
    again = {"kind": "quantise", "from": "student", "to": "q8_0"}
    run = Path(shutil.copytree(released_run, tmp_path / released_run.name))
    context = context_of(run, released_recipe(again=again, sits=["base", "student", "student-q8"]))
    context.done["again"] = context.stage("student-q8")
    stage = stage_at(tmp_path / "09-release")
    make_release(replace(_named(None), files=("student-q8", "again")), context, stage, NullSink())
    place = stage.path / "release"
    assert {path.name for path in place.glob("*.gguf")} == {"rel-student-Q8_0.gguf", "rel-student-again-Q8_0.gguf"}
    assert (place / "recipe.toml").is_file()


def _named(title: str | None, texts: tuple[str, ...] = ()) -> ReleaseWish:
    return ReleaseWish(
        model="student",
        files=("student-q8",),
        weights=True,
        title=title,
        version="1.0",
        about="",
        languages=(),
        texts=texts,
        recipe=True,
    )
