from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from stranger_models import write_mixtral, write_stranger, write_stray_llama

from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.models import (
    Decoder,
    Document,
    TransformersModel,
    choose_code,
    load_model,
    pack_documents,
    resolve_source,
)


def test_a_plain_model_needs_no_word(tiny_directory: Path) -> None:
    choice = choose_code(tiny_directory)
    assert choice.decoder is not None
    assert choice.notes == ()


def test_another_family_is_told_with_what_it_means(tmp_path: Path) -> None:
    choice = choose_code(write_mixtral(tmp_path))
    assert choice.decoder is None
    note, balance = choice.notes
    assert "load-balancing loss (router_aux_loss_coef" in balance
    for word in ("mixtral", "transformers' own code", "longer", "cut"):
        assert word in note


def test_a_key_that_transformers_reads_goes_there_loudly_and_one_that_it_does_not_is_named(tmp_path: Path) -> None:
    read = choose_code(write_stray_llama(tmp_path / "read", sliding_window=16))
    assert read.decoder is None
    assert "sliding_window=16" in read.notes[0]
    stray = choose_code(write_stray_llama(tmp_path / "stray", my_note="mine", unsloth_fixed=True))
    assert stray.decoder is not None
    assert len(stray.notes) == 1
    assert "my_note" in stray.notes[0]
    assert "unsloth" not in stray.notes[0]


def test_code_of_the_publishers_own_is_named_as_not_run(tmp_path: Path) -> None:
    choice = choose_code(write_stray_llama(tmp_path, auto_map={"AutoModelForCausalLM": "modeling_own.Own"}))
    assert choice.decoder is not None
    assert "modeling_own.Own" in choice.notes[0]
    assert choose_code(write_stray_llama(tmp_path, auto_map={"AutoTokenizer": "x.Y"})).notes == ()


@pytest.mark.parametrize("extra", [{"unsloth_fixed": True}, {"my_note": [1, 2]}, {"temperature": 0.6}])
def test_stray_keys_change_no_logit_of_decoder_or_transformers(extra: dict[str, object], tmp_path: Path) -> None:
    directory = resolve_source(str(write_stray_llama(tmp_path / "m", **extra)), cache=tmp_path / "cache")
    plain = resolve_source("tiny:0", cache=tmp_path / "cache")
    loaded = load_model(directory, dtype=torch.float32)
    other = load_model(directory, dtype=torch.float32, implementation="transformers")
    expected = load_model(plain, dtype=torch.float32)
    assert isinstance(loaded.model, Decoder)
    assert isinstance(other.model, TransformersModel)
    batch = pack_documents([Document(token_ids=tuple(range(4, 40)), supervised=(True,) * 36)])
    with torch.no_grad():
        assert torch.equal(loaded.model(batch), expected.model(batch))
        assert torch.allclose(loaded.model(batch), other.model.eval()(batch), atol=1e-4)


def test_what_nobody_can_run_is_said_before_any_weight_is_read(tmp_path: Path) -> None:
    write_mixtral(tmp_path / "m")
    config = json.loads((tmp_path / "m" / "config.json").read_text())
    (tmp_path / "m" / "model.safetensors").unlink()
    assert choose_code(tmp_path / "m").decoder is None
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | {"model_type": "from-the-future"}))
    with pytest.raises(SourceError, match="from-the-future"):
        choose_code(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | {"model_type": "vit"}))
    with pytest.raises(SourceError, match="cannot load"):
        choose_code(tmp_path / "m")
    (tmp_path / "m" / "config.json").write_text(json.dumps(config | {"num_local_experts": "many"}))
    with pytest.raises(SourceError):
        choose_code(tmp_path / "m")


def test_capped_logits_are_refused_by_their_configuration(tmp_path: Path) -> None:
    capped = write_stranger(tmp_path / "capped", "gemma2", head_dim=16, query_pre_attn_scalar=16)
    with pytest.raises(CompatibilityError, match="final_logit_softcapping"):  # the family's default, unless it is null
        choose_code(capped)
    plain = write_stranger(tmp_path / "plain", "gemma2", head_dim=16, final_logit_softcapping=None)
    assert choose_code(plain).decoder is None
