from __future__ import annotations

import pytest
from transformers import AutoConfig

from spiritsafe.models.decoder.architectures import ARCHITECTURES
from spiritsafe.models.decoder.config_keys import keys_read_by


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_every_field_of_a_familys_configuration_is_read(family: str) -> None:
    read = keys_read_by(family)
    assert read is not None
    unknown = {key for key in AutoConfig.for_model(family).to_dict() if not key.startswith("_")} - read
    assert unknown <= {"transformers_version"}


@pytest.mark.parametrize("family", ARCHITECTURES)
def test_notes_of_trainers_and_other_families_keys_are_not(family: str) -> None:
    read = keys_read_by(family)
    assert read is not None
    assert not read & {"unsloth_fixed", "my_note", "trained_by", "final_logit_softcapping", "kv_lora_rank"}


def test_keys_that_shared_code_reads_count_for_every_family() -> None:
    for key in ("sliding_window", "quantization_config", "rope_parameters"):
        assert all(key in (keys_read_by(family) or ()) for family in ARCHITECTURES)


@pytest.mark.parametrize("family", ["no_such_family", "../auto", ""])
def test_unreadable_sources_say_nothing(family: str) -> None:
    assert keys_read_by(family) is None


def test_without_transformers_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiritsafe.models.decoder.config_keys.find_spec", lambda name: None)
    assert keys_read_by.__wrapped__("llama") is None
