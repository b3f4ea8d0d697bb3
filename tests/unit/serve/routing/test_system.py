"""Routed systems on disk: what they are does not hang on where they lie, and whoever was changed is named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from routing_parts import made_up_model, routed_directory, simple_router

from spiritsafe.core.errors import CompatibilityError, IntegrityError, SourceError
from spiritsafe.core.files.digests import digest_file
from spiritsafe.core.records import Checkpoint
from spiritsafe.serve.routing.records import read_router
from spiritsafe.serve.routing.system import place_of, read_routed, write_routed


def test_what_was_written_is_read_with_its_models(tmp_path: Path) -> None:
    directory = routed_directory(tmp_path / "run")
    system = read_routed(directory)
    small, large = (tmp_path / "run" / "stages" / name / "model" for name in ("01-small", "02-large"))
    assert [place.resolve() for place in system.directories] == [small, large]
    assert system.router == read_router(directory / "routed.json")
    assert system.checkpoint.digest == digest_file(directory / "routed.json") == system.router.content_digest
    assert (system.checkpoint.num_parameters, system.checkpoint.weight_bytes) == (10, 20)
    assert json.loads((directory / "places.json").read_text("utf-8")) == {
        rung.digest: f"../../0{number}-{rung.name}/model" for number, rung in enumerate(system.router.rungs, 1)
    }
    assert not list(directory.rglob("weights*"))


def test_a_run_that_was_moved_finds_its_models_and_is_the_same(tmp_path: Path) -> None:
    given = tmp_path / "cache" / "large"
    digest = read_routed(routed_directory(tmp_path / "run", given=given)).checkpoint.digest
    shutil.move(tmp_path / "run", tmp_path / "else" / "where")
    moved = read_routed(tmp_path / "else" / "where" / "stages" / "03-routed" / "model")
    assert moved.directories[0].resolve() == tmp_path / "else" / "where" / "stages" / "01-small" / "model"
    assert moved.directories[1] == given  # what lies outside the run is where it was
    assert moved.checkpoint.digest == digest
    shutil.move(given, tmp_path / "large")
    with pytest.raises(SourceError, match=rf"large \(.*is not at {given}") as caught:
        read_routed(tmp_path / "else" / "where" / "stages" / "03-routed" / "model")
    assert "places.json" in caught.value.hint


def test_a_copy_without_the_run_is_told_where_its_models_are(tmp_path: Path) -> None:
    directory = routed_directory(tmp_path / "run")
    shutil.copytree(directory, tmp_path / "alone")
    with pytest.raises(SourceError, match="small"):
        read_routed(tmp_path / "alone")
    places = {rung.digest: str(place.resolve()) for rung, place in zip(
        read_routed(directory).router.rungs, read_routed(directory).directories, strict=True)}  # fmt: skip
    (tmp_path / "alone" / "places.json").write_text(json.dumps(places), "utf-8")
    assert read_routed(tmp_path / "alone").checkpoint == read_routed(directory).checkpoint
    swapped = dict(zip(places, reversed(places.values()), strict=True))
    (tmp_path / "alone" / "places.json").write_text(json.dumps(swapped), "utf-8")
    with pytest.raises(IntegrityError, match="small"):
        read_routed(tmp_path / "alone")


@pytest.mark.parametrize("text", ["[]", "{}", '{"sha256:x": 7}', "null"])
def test_places_that_say_nothing(tmp_path: Path, text: str) -> None:
    directory = routed_directory(tmp_path / "run")
    (directory / "places.json").write_text(text, "utf-8")
    with pytest.raises(SourceError, match=r"small .*is nowhere"):
        read_routed(directory)


@pytest.mark.parametrize("name", ["small", "large"])
def test_a_model_that_was_changed_is_named(tmp_path: Path, name: str) -> None:
    directory = routed_directory(tmp_path / "run")
    (place,) = (tmp_path / "run" / "stages").glob(f"*-{name}/model")
    (place / "weights.bin").write_text("other", "utf-8")
    with pytest.raises(IntegrityError, match=f"^{name}, which .* was changed") as caught:
        read_routed(directory)
    assert "route again" in caught.value.hint
    (place / "weights.bin").write_text(name, "utf-8")
    read_routed(directory)
    (place / "another").write_text("", "utf-8")
    with pytest.raises(IntegrityError, match=f"^{name}"):
        read_routed(directory)


def test_a_router_that_was_changed_is_refused(tmp_path: Path) -> None:
    directory = routed_directory(tmp_path / "run")
    value = json.loads((directory / "routed.json").read_text("utf-8"))
    (directory / "routed.json").write_text(json.dumps({**value, "seed": 1}), "utf-8")
    with pytest.raises(IntegrityError, match=r"is not what its lineage\.json describes"):
        read_routed(directory)
    (directory / "lineage.json").unlink()
    with pytest.raises(SourceError, match="lineage"):
        read_routed(directory)


def test_a_cascade_is_no_system(tmp_path: Path) -> None:
    _, model = made_up_model(tmp_path / "m", "m")
    with pytest.raises(CompatibilityError, match="cascade"):
        write_routed(tmp_path, simple_router("cascade"), {}, [model], name="x", parents=(), recipe="sha256:0")
    assert [one.name for one in tmp_path.iterdir()] == ["m"]
    directory = routed_directory(tmp_path / "run")
    (directory / "routed.json").write_bytes(simple_router("cascade").canonical())
    lineage = Checkpoint.from_json(json.loads((directory / "lineage.json").read_text("utf-8")))
    told = lineage.model_copy(update={"digest": digest_file(directory / "routed.json")})
    (directory / "lineage.json").write_bytes(told.canonical())
    with pytest.raises(CompatibilityError, match="cascade"):
        read_routed(directory)


def test_places_are_relative_inside_what_may_be_moved(tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "runner"
    assert place_of(run / "a" / "model", run / "b" / "model", run) == "../../a/model"
    assert place_of(other / "a", run / "b" / "model", run) == str(other / "a")
    (tmp_path / "link").symlink_to(run)
    (run / "a" / "model").mkdir(parents=True)
    assert place_of(tmp_path / "link" / "a" / "model", run / "b" / "model", run) == "../../a/model"
