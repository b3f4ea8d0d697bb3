"""Files held against their models: what is found is kept, and a file that is another model is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from finished_run import SilentWatcher
from pipeline_parts import stage_at
from released_run import context_of, released_recipe

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.events import NullSink
from spiritsafe.models import write_gguf
from spiritsafe.pipeline.stages.measuring import files
from spiritsafe.pipeline.stages.measuring.files import measure_file, measured_file


def test_a_file_of_another_model_s_weights_is_refused(released_run: Path, tmp_path: Path) -> None:
    context, stage = context_of(released_run, released_recipe()), stage_at(tmp_path / "09-file")
    file = tmp_path / "file-F16.gguf"
    write_gguf(next(released_run.glob("stages/*-student/model")), file, "f16")
    with pytest.raises(CompatibilityError, match="not the model it was made of"):
        measure_file(context, stage, "base", file, NullSink())
    assert measured_file(stage) is None
    measured = measure_file(context, stage, "student", file, NullSink())
    assert measured is not None
    assert measured == measured_file(stage)
    assert measured.fidelity is not None
    assert measured.fidelity.general.kl.value <= 1e-4


def test_without_llama_cpp_it_is_said_that_nothing_was_run(
    released_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Heard(SilentWatcher):
        said: list[str] = []  # noqa: RUF012  # one watcher

        def metrics(self, kind: str, values: object) -> None:
            self.said.append(str(values))

    monkeypatch.setattr(files, "has_llama_cpp", lambda: False)
    context, stage = context_of(released_run, released_recipe()), stage_at(tmp_path / "09-file")
    assert measure_file(context, stage, "student", tmp_path / "x.gguf", Heard()) is None
    assert "spiritsafe[gguf]" in Heard.said[0]
