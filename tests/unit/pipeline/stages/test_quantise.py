"""Files out of a run: what is in them, who they come from, and that a broken run ends in the very same file."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from finished_run import SilentWatcher
from gguf import GGUFReader
from tiny_training import one_thread

from spiritsafe.core.errors import SpiritsafeError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models import default_cache, file_facts, predict_file_bytes, read_checkpoint, read_model_config
from spiritsafe.pipeline import RunOutcome, run_recipe
from spiritsafe.pipeline.recipe.load import recipe_of
from spiritsafe.pipeline.stages import quantise as module
from spiritsafe.training.optimiser import AdamW

NEEDS_LLAMA = pytest.mark.skipif(
    importlib.util.find_spec("llama_cpp_py_sync") is None, reason="llama.cpp writes these types: extra gguf"
)
PLAIN: dict[str, Any] = {"kind": "quantise", "name": "plain", "from": "teacher", "to": "q4_0"}
LEARNT: dict[str, Any] = {
    **PLAIN,
    "name": "learnt",
    "learns": ["lessons", "answers"],
    "train": {"max_steps": 6, "learning_rate": 1e-3, "checkpoint_every_steps": 2, "compute_dtype": "float32"},
}


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    with one_thread():
        yield


def run(
    root: Path, *steps: dict[str, Any], source: str = "tiny:0?hidden=64&heads=4&kv_heads=2", **more: Any
) -> RunOutcome:
    """A model of rows of two blocks, fine-tuned a little, and steps after it."""
    tune = {"kind": "tune", "name": "teacher", "from": "base", "learns": ["lessons"]}
    sample = {"kind": "sample", "name": "answers", "from": "teacher", "on": ["asked"], "keep": "all"}
    recipe = recipe_of(
        {
            "name": "files",
            "seed": 5,
            "engine": {"max_batch": 8, "max_context": 96, "device": "cpu"},
            "models": {"base": {"source": source, "licence": "MIT"}},
            "data": {
                "lessons": {"task": "arith:sums?terms=2&digits=1-2", "problems": 24},
                "asked": {"task": "arith:sums?terms=2&digits=1-2", "problems": 4},
            },
            "steps": [
                {**tune, "train": {"max_steps": 12, "learning_rate": 3e-3, "compute_dtype": "float32"}},
                {**sample, "sampling": {"max_tokens": 6}},
                *steps,
            ],
            **more,
        }
    )
    return run_recipe(recipe, "", root=root, cache=default_cache(), watcher=SilentWatcher())


def file_of(outcome: RunOutcome, name: str) -> Path:
    found = sorted(path.name for path in outcome.models[name].iterdir())
    assert found[1:] == ["lineage.json"]
    return outcome.models[name] / found[0]


def numbers(file: Path) -> dict[str, Any]:
    return {tensor.name: tensor.data.tobytes() for tensor in GGUFReader(file).tensors}


def test_a_model_becomes_its_file_and_one_that_learnt_another(tmp_path: Path) -> None:
    outcome = run(tmp_path, PLAIN, LEARNT)
    teacher = outcome.models["teacher"]
    plain, learnt = file_of(outcome, "plain"), file_of(outcome, "learnt")
    assert plain.name == "files-plain-Q4_0.gguf"
    assert numbers(plain).keys() == numbers(learnt).keys()
    assert numbers(plain) != numbers(learnt)
    for name, file in (("plain", plain), ("learnt", learnt)):
        lineage = read_checkpoint(outcome.models[name])
        assert lineage.digest == f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
        assert lineage.license == "MIT"
        assert lineage.weight_bytes == file_facts(file).tensor_bytes
        assert lineage.weight_bytes == predict_file_bytes(read_model_config(teacher), "q4_0")
        used = {parent.digest: parent.used_as for parent in lineage.parents}
        # the teacher is the model itself, and its own answers were learnt from
        wanted = ("weights",) if name == "plain" else ("weights", "logits", "outputs")
        assert used == {read_checkpoint(teacher).digest: wanted}
    stage = outcome.models["learnt"].parent
    assert not (stage / "trained").exists()
    assert len(read_json(stage / "curve.json")) == 6
    report = read_json(next(outcome.directory.glob("stages/*-report/report.json")))
    rung = next(one for one in report["ladder"] if one["name"] == "learnt")
    assert (rung["role"], rung["file"]["type"]) == ("quantised", "Q4_0")
    assert rung["weight_bytes"] == file_facts(learnt).tensor_bytes
    page = outcome.report.read_text("utf-8")
    assert f"Q4_0, {file_facts(learnt).bits_per_weight:.2f} bits a weight" in page


def test_a_file_s_header_has_the_licence_that_the_recipe_states(tmp_path: Path) -> None:
    granted = {"licence": "LicenseRef-acme", "licence_granted": "by mail of 3 May 2026"}
    outcome = run(
        tmp_path,
        {**PLAIN, "from": "base"},
        {**PLAIN, "name": "master", "from": "base", "to": "f32"},
        {**LEARNT, "from": "base", "learns": ["lessons"]},
        models={"base": {"source": "tiny:0?hidden=64&heads=4&kv_heads=2", **granted}},
    )
    for name in ("plain", "master", "learnt"):
        file, lineage = file_of(outcome, name), read_checkpoint(outcome.models[name])
        fields = GGUFReader(file).fields
        header = {key: fields[key].contents() for key in fields if key.startswith(("general.license", "spiritsafe"))}
        assert header["general.license"] == lineage.license == "LicenseRef-acme"
        assert header["general.license.name"] == "acme"
        held = json.loads(header["spiritsafe.lineage"])
        if name == "learnt":
            (held,) = held["parents"]
        assert (held["license"], held["license_granted"]) == ("LicenseRef-acme", "by mail of 3 May 2026")
        assert [parent.license_granted for parent in lineage.parents] == ["by mail of 3 May 2026"]


def test_broken_off_while_it_learns_or_before_it_is_written_it_ends_in_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unbroken = numbers(file_of(run(tmp_path / "whole", LEARNT), "learnt"))
    calls, update, write = [], AdamW.update, module.write_gguf

    def dying(self: AdamW, *given: Any) -> Any:
        if self._grid and len(calls) == 4:
            raise KeyboardInterrupt
        calls.extend([1] * bool(self._grid))
        return update(self, *given)

    def unwritten(*given: Any, **more: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(AdamW, "update", dying)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "broken", LEARNT)
    assert len(calls) == 4
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_gguf", unwritten)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "broken", LEARNT)
    assert module.write_gguf is write
    assert numbers(file_of(run(tmp_path / "broken", LEARNT), "learnt")) == unbroken


def test_a_file_can_be_measured_like_the_model_that_it_is_of(tmp_path: Path) -> None:
    exact = {**PLAIN, "name": "exact", "to": "f32"}
    read: dict[str, Any] = {"kind": "measure", "name": "read", "from": ["teacher", "exact", "plain"], "on": ["lessons"]}
    outcome = run(tmp_path, exact, PLAIN, {**read, "what": ["nll", "kl:teacher"], "problems": 8})
    rows = read_json(next(outcome.directory.glob("stages/*-read/measures.json")))["rows"]
    divergence = {row["model"]: row["held_out"]["kl_per_token"]["value"] for row in rows}
    assert divergence["exact"] < 1e-4  # the other side is read in what the device computes in
    assert divergence["plain"] > 3 * divergence["exact"]


@NEEDS_LLAMA
def test_the_very_file_sits_and_answers(tmp_path: Path) -> None:
    told: dict[str, Any] = {"kind": "sample", "name": "told", "from": "plain", "on": ["asked"], "keep": "all"}
    exam = {"task": "arith:sums?terms=2&digits=1", "problems": 4, "sampling": {"max_tokens": 4}}
    more = {"exams": [{**exam, "sits": ["teacher", "plain"]}], "compare": [{"first": "plain", "second": "teacher"}]}
    outcome = run(tmp_path, PLAIN, {**told, "sampling": {"max_tokens": 4}}, **more)
    certificate = read_json(next(outcome.directory.glob("stages/*-exam/plain.certificate.json")))
    sat = hashlib.sha256(file_of(outcome, "plain").read_bytes()).hexdigest()
    assert certificate["result"]["model_digest"] == f"sha256:{sat}"
    done = read_json(next(outcome.directory.glob("stages/*-told/done.json")))["result"]
    size = read_checkpoint(outcome.models["plain"]).num_parameters
    assert done["compute"]["flops"] == 2 * size * done["compute"]["generated_tokens"]
    # given to another run it is the same file: it answers, its facts are told, and nothing can go on from it
    value: dict[str, Any] = {
        "name": "given",
        "engine": {"max_batch": 8, "max_context": 96, "device": "cpu"},
        "models": {"plain": {"source": str(file_of(outcome, "plain"))}},
        "data": {"asked": {"task": "arith:sums?terms=2&digits=1-2", "problems": 4}},
        "steps": [{**told, "sampling": {"max_tokens": 4}}],
    }
    again = run_recipe(recipe_of(value), "", root=tmp_path, cache=default_cache(), watcher=SilentWatcher())
    report = read_json(next(again.directory.glob("stages/*-report/report.json")))
    assert [(rung["name"], rung["file"]["type"]) for rung in report["ladder"]] == [("plain", "Q4_0")]
    tune = {"kind": "tune", "name": "more", "from": "plain", "learns": ["asked"]}
    with pytest.raises(SpiritsafeError, match="nothing goes on from its weights"):
        recipe_of({**value, "steps": [tune]})


@NEEDS_LLAMA
def test_llama_cpp_writes_its_own_types_by_importance(tmp_path: Path) -> None:
    weighed = {**PLAIN, "name": "weighed", "to": "iq4_nl", "calibrate": ["lessons"], "calibration": 8}
    outcome = run(tmp_path, weighed, {**PLAIN, "to": "q4_k_m"}, source="tiny:0?hidden=256&heads=4&kv_heads=2")
    config = read_model_config(outcome.models["teacher"])
    for name, kind, importance in (("weighed", "iq4_nl", True), ("plain", "q4_k_m", False)):
        facts = file_facts(file_of(outcome, name))
        assert facts.file_type == kind
        assert facts.tensor_bytes == predict_file_bytes(config, kind, importance=importance)
        assert sorted(path.name for path in outcome.models[name].parent.iterdir() if path.is_dir()) == ["model"]
