from __future__ import annotations

from pathlib import Path

from across_parts import byte_level, chat_of
from pipeline_parts import context_after, stage_at

from spiritsafe.core.events import NullSink
from spiritsafe.core.files.atomic import read_json
from spiritsafe.models import Decoder, DecoderConfig
from spiritsafe.models.checkpoints.directory import write_lineage
from spiritsafe.pipeline.stages.distil import make_student
from spiritsafe.pipeline.summary.gather import _own_sources


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
    changes = {"share": None, "source": str(source), "objective": "across", "problems": 24, "ce_share": 0.5}
    context = context_after(tiny_run, tmp_path, student=changes)
    stage = stage_at(tmp_path / "05-student")
    result = make_student(context.recipe.students[0], context, stage, NullSink())
    assert result["steps"] >= 1
    coverage = read_json(stage.path / "coverage.json")
    assert coverage["covered_share"] == 1.0
    assert coverage["num_refused"] == 0
    lineage = read_json(stage.path / "model" / "lineage.json")
    assert lineage["license"] == "MIT"
    assert [parent["used_as"] for parent in lineage["parents"]] == [["logits", "outputs"], ["weights"]]
    curve = read_json(stage.path / "curve.json")
    assert any(name.startswith("chunk") for name in curve[0])
    (own,) = _own_sources(context)  # the report names it among what went in
    assert (own.name, own.spec, own.license) == ("foreign", str(source), "MIT")
