"""Files and a release out of a run that was finished before anybody thought of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from finished_run import SilentWatcher
from released_run import run_released

from spiritsafe.core.errors import RecipeError, SourceError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.exam.records import Certificate, PublicPaper
from spiritsafe.models import default_cache
from spiritsafe.pipeline import LateRelease, load_recipe, release_run, report_data
from spiritsafe.pipeline.run.late import _model_to_release
from spiritsafe.release import Release, verify_release


@pytest.fixture
def run(released_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(released_run, tmp_path / released_run.name))


def late(run: Path, watcher: SilentWatcher | None = None, **wish: object) -> Path:
    asked = LateRelease(**{"settings": {}, **wish})  # type: ignore[arg-type]
    return release_run(run, asked, cache=default_cache(), watcher=watcher or SilentWatcher())


def test_a_file_made_later_sits_the_paper_that_its_model_sat_and_is_released_with_it(run: Path) -> None:
    place = late(run, files=("q4_0",), settings={"title": "later"})
    assert all(step.ok for step in verify_release(place))
    record = Release.from_json(read_json(place / "release.json"))
    assert [file.file_type for file in record.files] == ["F32", "Q8_0", "Q4_0"]  # the run's own file goes along
    certificate = Certificate.from_json(read_json(place / record.files[2].certificates[0].path))
    assert certificate.result.model_digest == record.files[2].digest
    (paper,) = run.glob("stages/*-seal/paper/paper.json")
    assert certificate.paper.paper_id == PublicPaper.from_json(read_json(paper)).header.paper_id
    data = report_data(run)
    assert data.exams[0].score_of("student-q4_0") is not None
    assert next(rung for rung in data.ladder if rung.name == "student-q4_0").file is not None

    again = SilentWatcher()
    assert late(run, again, files=("q4_0",), settings={"title": "later"}) == place
    assert again.began == []
    watcher = SilentWatcher()
    assert run_released(run.parent, watcher).num_run == 0  # the run itself is what it was


def test_what_cannot_be_released_is_said_before_anything_is_made(run: Path, tmp_path: Path) -> None:
    stages = sorted(path.name for path in (run / "stages").iterdir())
    with pytest.raises(RecipeError, match="studnet"):
        late(run, model="studnet")
    with pytest.raises(RecipeError, match="q9"):
        late(run, files=("q9",))
    with pytest.raises(RecipeError, match="nothing is released"):
        late(run, model="base", settings={"weights": False})
    with pytest.raises(SourceError, match="no run directory"):
        late(tmp_path)
    assert sorted(path.name for path in (run / "stages").iterdir()) == stages
    (run / "stages" / stages[-2] / "done.json").unlink()
    with pytest.raises(SourceError, match="is not finished"):
        late(run)


def test_what_is_released_where_nothing_is_said_has_weights() -> None:
    recipe, _ = load_recipe("specialists", ())
    assert recipe.made[-1].name == "routed"
    assert _model_to_release(recipe) == "pupil"
