from pathlib import Path

import pytest

from spiritsafe.core.canonical import digest, short
from spiritsafe.core.errors import IntegrityError, SourceError, StorageError
from spiritsafe.core.files.atomic import read_json, write_json
from spiritsafe.core.process.platforms import Platform, continue_in
from spiritsafe.core.records import Message
from spiritsafe.pipeline.run_directory import RunDirectory, StageDirectory


def stage(tmp_path: Path, seed: int = 1) -> StageDirectory:
    return StageDirectory(tmp_path / "01-teach", {"seed": seed, "code": "1"})


def finished(tmp_path: Path) -> StageDirectory:
    made = stage(tmp_path)
    made.begin()
    (made.path / "model").mkdir(exist_ok=True)
    (made.path / "model/weights").write_text("w")
    made.finish({"loss": 0.5})
    return made


def test_a_stage_is_done_when_it_is_finished_and_not_before(tmp_path: Path) -> None:
    made = stage(tmp_path)
    assert not made.is_done()
    made.begin()
    assert not made.is_done()
    with pytest.raises(SourceError):
        made.result()
    done = finished(tmp_path)
    assert done.is_done()
    assert stage(tmp_path).is_done()
    assert done.result() == {"loss": 0.5}
    assert read_json(done.path / "inputs.json") == done.inputs


def test_other_inputs_are_not_done(tmp_path: Path) -> None:
    finished(tmp_path)
    assert not stage(tmp_path, seed=2).is_done()


def test_outputs_that_changed_or_went_away_are_not_done(tmp_path: Path) -> None:
    done = finished(tmp_path)
    weights = done.path / "model/weights"
    weights.write_text("other")
    assert not done.is_done()
    weights.write_text("w")
    assert done.is_done()
    (done.path / "a note").write_text("extra files do no harm")
    assert done.is_done()
    weights.unlink()
    assert not done.is_done()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"inputs": 1, "outputs": 3}', "null"])
def test_a_damaged_done_file_is_not_done(tmp_path: Path, text: str) -> None:
    done = finished(tmp_path)
    (done.path / "done.json").write_text(text)
    assert not done.is_done()


def test_an_interrupted_attempt_is_resumed_one_with_other_inputs_removed(tmp_path: Path) -> None:
    first = stage(tmp_path)
    first.begin()
    (first.path / "deep/er").mkdir(parents=True)
    (first.path / "deep/er/half").write_text("half")
    (first.path / "link").symlink_to(tmp_path)
    stage(tmp_path).begin()
    assert (first.path / "deep/er/half").exists()
    stage(tmp_path, seed=2).begin()
    assert sorted(p.name for p in first.path.rglob("*")) == ["inputs.json"]
    assert tmp_path.exists()  # a link's target is not touched


def test_scratch_is_no_output(tmp_path: Path) -> None:
    made = stage(tmp_path)
    made.begin()
    (made.path / "resume").mkdir()
    (made.path / "resume/state").write_text("1")
    (made.path / "out").write_text("2")
    made.finish({}, scratch=("resume",))
    assert list(read_json(made.path / "done.json")["outputs"]) == ["out"]
    (made.path / "resume/state").unlink()
    assert made.is_done()


def test_the_output_digest_is_of_outputs_and_result(tmp_path: Path) -> None:
    first = finished(tmp_path).output_digest()
    assert finished(tmp_path).output_digest() == first
    made = stage(tmp_path)
    made.finish({"loss": 0.25})
    assert made.output_digest() != first
    (made.path / "model/weights").write_text("other")
    made.finish({"loss": 0.5})
    assert made.output_digest() != first


def test_a_run_is_named_by_its_recipe(tmp_path: Path) -> None:
    run = RunDirectory(tmp_path, "tiny", {"b": 1, "a": 2})
    assert run.hash == digest({"a": 2, "b": 1})
    assert run.path == tmp_path / f"tiny-{short(run.hash)}"
    run.create("[recipe]\n")
    assert (run.path / "recipe.toml").read_text() == "[recipe]\n"
    assert read_json(run.path / "resolved.json") == {"a": 2, "b": 1}
    assert run.events == run.path / "events.jsonl"
    assert run.stage(3, "teach", {}).path == run.path / "stages/03-teach"
    run.create("[recipe]\n")  # a second time does no harm
    assert RunDirectory(tmp_path, "tiny", {"a": 3, "b": 1}).path != run.path


def test_a_run_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(StorageError):
        RunDirectory(tmp_path / "runs", "tiny", {}).create("")


def test_half_written_files_of_a_killed_attempt_are_no_outputs(tmp_path: Path) -> None:
    killed = stage(tmp_path)
    killed.begin()
    (killed.path / "training").mkdir()
    (killed.path / "training/state.pt").write_text("a resume point stays")
    (killed.path / ".report.json.a1b2.tmp").write_text("half")
    (killed.path / ".model.c3d4.partial").mkdir()
    (killed.path / ".model.c3d4.partial/weights").write_text("half")
    done = finished(tmp_path)
    assert list(read_json(done.path / "done.json")["outputs"]) == ["model/weights", "training/state.pt"]
    assert sorted(path.name for path in done.path.iterdir()) == ["done.json", "inputs.json", "model", "training"]


def test_a_stage_says_on_what_it_was_computed(tmp_path: Path) -> None:
    here = Platform(device="cpu", processor="A", torch="2")
    there = here.model_copy(update={"processor": "B"})
    killed = stage(tmp_path)
    killed.begin(here)
    killed.begin(here)
    assert killed.platforms() == (here,)
    killed.begin(there)
    assert killed.platforms() == (here, there)
    (killed.path / "weights").write_text("w")
    (killed.path / "cache").mkdir()
    continue_in(killed.path / "cache", here, what="The cache", is_begun=False)
    killed.finish({"loss": 0.5})
    with_platforms = killed.output_digest()
    assert list(read_json(killed.path / "done.json")["outputs"]) == ["weights"]
    assert killed.is_done()
    # who computed it is no part of what comes out
    plain = stage(tmp_path / "other")
    plain.begin()
    assert plain.platforms() == (None,)
    (plain.path / "weights").write_text("w")
    plain.finish({"loss": 0.5})
    assert plain.output_digest() == with_platforms
    # other inputs: nothing of the earlier attempt is left
    fresh = stage(tmp_path, seed=2)
    fresh.begin(there)
    assert fresh.platforms() == (there,)
    # one that an earlier version began
    plain.begin(here)
    assert plain.platforms() == (None, here)


def test_a_process_beside_the_main_one_writes_into_a_folder_of_its_own(tmp_path: Path) -> None:
    stage = StageDirectory(tmp_path / "stages" / "03-tuned", {"a": 1})
    beside = stage.beside(tmp_path / "own")
    assert (stage.is_main, beside.is_main) == (True, False)
    assert (beside.path, beside.shared, beside.name) == (tmp_path / "own", stage.path, "tuned")
    assert not stage.is_seen()
    stage.begin()
    stage.finish({})
    assert stage.is_seen()


@pytest.mark.parametrize("text", ["{}", "[]", '{"holder": "Eve"}', '{"role": "user", "content": "x", "tone": 1}'])
def test_a_record_of_another_version_is_named_with_what_to_do(tmp_path: Path, text: str) -> None:
    done = finished(tmp_path)
    said = Message(role="user", content="x")
    write_json(done.path / "said.json", said.to_json())
    assert done.read("said.json", Message) == said
    (done.path / "said.json").write_text(text)
    with pytest.raises(IntegrityError, match="another version") as caught:
        done.read("said.json", Message)
    assert str(done.path / "said.json") in caught.value.message
    assert "Delete the stage's folder" in caught.value.hint
    with pytest.raises(SourceError):
        done.read("none.json", Message)
