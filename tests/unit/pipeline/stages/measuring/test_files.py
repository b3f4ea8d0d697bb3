"""Files held against their models: what is found is kept, and a file that is another model is refused."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import pytest
from finished_run import SilentWatcher
from pipeline_parts import stage_at
from released_run import context_of, released_recipe

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.events import NullSink
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models import write_gguf
from spiritsafe.pipeline.stages.measuring import files
from spiritsafe.pipeline.stages.measuring.files import MEASURED, MeasuredFile, measure_file, measured_file

NEEDS_LLAMA = pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp_py_sync") is None, reason="files are measured by llama.cpp: extra gguf"
)


@NEEDS_LLAMA
def test_a_file_of_another_model_s_weights_is_refused(released_run: Path, tmp_path: Path) -> None:
    context, stage = context_of(released_run, released_recipe()), stage_at(tmp_path / "09-file")
    file = tmp_path / "file-F16.gguf"
    write_gguf(next(released_run.glob("stages/*-student/model")), file, "f16")
    with pytest.raises(CompatibilityError, match="not the model it was made of"):
        measure_file(context, stage, "base", file, NullSink())
    assert measured_file(context, stage, "student", file) is None
    measured = measure_file(context, stage, "student", file, NullSink())
    assert measured is not None
    assert measured == measured_file(context, stage, "student", file)
    assert measured.fidelity is not None
    assert measured.fidelity.general.kl.value <= 1e-4


@NEEDS_LLAMA
def test_what_another_version_measured_is_measured_again(
    released_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = context_of(released_run, released_recipe())
    written = next(released_run.glob("stages/*-student-q8"))
    stage = stage_at(tmp_path / written.name)
    shutil.copy(written / MEASURED, stage.path)
    file = next(written.glob("model/*.gguf"))
    with monkeypatch.context() as patch:
        patch.setattr(files, "measure_file", pytest.fail)  # what can be read is taken as it is
        now = measured_file(context, stage, "student", file)
    assert now is not None
    value = now.to_json()
    others = [{**value, "seconds": 1.0}, {"speed": value["speed"]}, {**value, "fidelity": {"kl": 0.1}}, []]
    for text in (*map(json.dumps, others), "{"):
        (stage.path / MEASURED).write_text(text, "utf-8")
        again = measured_file(context, stage, "student", file)
        assert again is not None
        assert again.fidelity == now.fidelity
        assert MeasuredFile.from_json(read_json(stage.path / MEASURED)) == again


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
