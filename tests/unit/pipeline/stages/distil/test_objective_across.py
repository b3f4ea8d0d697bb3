from __future__ import annotations

from pathlib import Path

from across_parts import byte_level, chat_of
from pipeline_parts import context_after, stage_at

from spiritsafe.core.events import NullSink
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models import Decoder, DecoderConfig
from spiritsafe.models.checkpoints.directory import write_lineage
from spiritsafe.pipeline.recipe.distil import DistilRecipe
from spiritsafe.pipeline.recipe.given import GivenRecipe
from spiritsafe.pipeline.stages.distil.stage import distil_model
from spiritsafe.pipeline.stages.source import fetch_model


def foreign_model(directory: Path) -> Path:
    """A small Llama with a tokenizer of its own and another chat template."""
    chat = chat_of(directory, byte_level(400))
    config = {
        "model_type": "llama",
        "vocab_size": chat.vocab_size,
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": True,
        "hidden_act": "silu",
        "initializer_range": 0.1,
        "rope_theta": 10000.0,
        "eos_token_id": chat.end_id,
    }
    Decoder(DecoderConfig.from_hf(config), seed=1).save_weights(directory)
    write_lineage(directory, name="foreign", license="MIT")
    return directory


def test_a_student_of_another_family_learns_in_its_own_tokens(tiny_run: Path, tmp_path: Path) -> None:
    source = foreign_model(tmp_path / "foreign")
    changes = {"from": "foreign", "signal": None, "teacher": "teacher", "objective": "across", "ce_share": 0.5}
    context = context_after(
        tiny_run, tmp_path, f'models.foreign.source="{source}"', small={"calibrate": ["review"]}, student=changes
    )
    given, step = context.recipe.models["foreign"], context.recipe.node("student").recipe
    assert isinstance(given, GivenRecipe)
    assert isinstance(step, DistilRecipe)
    fetched = stage_at(tmp_path / "02-foreign")
    fetched.finish(fetch_model(given, context, fetched, NullSink()))
    context.done["foreign"] = fetched
    stage = stage_at(tmp_path / "21-student")
    result = distil_model(step, context, stage, NullSink())
    assert int(str(result["steps"])) >= 1
    coverage = read_json(stage.path / "coverage.json")
    assert coverage["covered_share"] == 1.0
    assert coverage["num_refused"] == 0
    lineage = read_json(stage.path / "model" / "lineage.json")
    assert lineage["license"] == "MIT"
    assert [parent["used_as"] for parent in lineage["parents"]] == [["weights"], ["logits", "outputs"]]
    curve = read_json(stage.path / "curve.json")
    assert any(name.startswith("chunk") for name in curve[0])
