from __future__ import annotations

from pathlib import Path

from pipeline_parts import context_after

from spiritsafe.core.records import Checkpoint
from spiritsafe.pipeline.stages.source import answerers, parents_of


def model(name: str) -> Checkpoint:
    return Checkpoint(name=name, digest=f"sha256:{name}", license="MIT", num_parameters=1, weight_bytes=4)


def test_each_model_is_a_parent_once_with_all_that_was_used() -> None:
    uses = [
        (model("a"), ("weights",)),
        (model("b"), ()),
        (model("c"), ("outputs",)),
        (model("a"), ("logits", "weights")),
    ]
    parents = parents_of(uses)
    assert [(parent.name, parent.used_as) for parent in parents] == [("a", ("weights", "logits")), ("c", ("outputs",))]


def test_answers_come_from_the_models_that_wrote_them(tiny_run: Path, tmp_path: Path) -> None:
    context = context_after(tiny_run, tmp_path)
    assert [c.name for c in answerers(context, ("lessons", "sampled"))] == ["tiny-teacher"]
    assert [c.name for c in answerers(context, ("harvest",))] == ["tiny-rl"]
