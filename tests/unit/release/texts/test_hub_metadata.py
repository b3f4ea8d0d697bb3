"""The front matter, as the hub's own client reads it."""

from __future__ import annotations

from typing import Any

import pytest
from huggingface_hub import ModelCard, ModelCardData

from spiritsafe.release.texts.hub_metadata import claims_fit, front_matter, hub_licence


def test_the_hubs_client_reads_what_was_meant(released: Any) -> None:
    card = ModelCard.load(released.directory / "README.md")
    assert isinstance(card.data, ModelCardData)
    assert card.data.to_dict() == {
        "license": "llama3.2",
        "language": ["en"],
        "base_model": ["meta-llama/Llama-3.2-1B"],
        "datasets": ["openai/gsm8k"],
        "tags": ["spiritsafe", "sealed-exam", "gguf"],
        "base_model_relation": "finetune",
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
    }
    assert card.data.eval_results is None  # a sealed paper is no data set of the hub
    assert card.text.strip().startswith("# Llama-toy")


@pytest.mark.parametrize(
    ("licence", "fields"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("LicenseRef-gemma", {"license": "gemma"}),
        ("GPL-3.0-or-later", {"license": "gpl-3.0"}),
        ("LicenseRef-qwen", {"license": "other", "license_name": "qwen", "license_link": "LICENSE"}),
        ("CC-BY-4.0", {"license": "cc-by-4.0"}),
        ("LicenseRef-bigscience-bloom-rail-1.0", {"license": "bigscience-bloom-rail-1.0"}),
        ("LicenseRef-cc-", {"license": "other", "license_name": "cc-", "license_link": "LICENSE"}),
        ("LicenseRef-unknown", {"license": "other", "license_name": "unknown", "license_link": "LICENSE"}),
    ],
)
def test_licences_by_the_hubs_names(licence: str, fields: dict[str, str]) -> None:
    assert hub_licence(licence) == fields


def test_gguf_files_alone_and_a_hostile_licence(released: Any) -> None:
    record = released.record.model_copy(
        update={"files": released.record.files[:2], "license": 'LicenseRef-x"\n---\nevil: 1', "base_models": ()}
    )
    card = ModelCard("\n".join(front_matter(record)) + "\n# x\n")
    assert card.data.library_name == "gguf"
    assert card.data.license == "other"
    assert "evil" not in card.data.to_dict()
    assert card.data.get("base_model_relation") is None


def test_a_card_claims_what_its_release_says(released: Any) -> None:
    card = (released.directory / "README.md").read_text("utf-8")
    assert claims_fit(card, released.record)
    named = 'license: "other"\nlicense_name: "llama3.2"\nlicense_link: "LICENSE"'
    assert claims_fit(card.replace('license: "llama3.2"', named), released.record)  # of a hub that had no such name yet
    for old, new in (
        ('license: "llama3.2"', "license: llama3.2 # mit"),
        ('license: "llama3.2"', '"license": "mit"\nlicense: "llama3.2"'),
        ('license: "llama3.2"', 'license: "llama3.2"\n- "mit"'),
        ('license: "llama3.2"', 'license: "llama3.2"\nlicense_link: "https://x.example"'),
        ('license: "llama3.2"\n', ""),
        ("---\n", ""),
        ('- "openai/gsm8k"', '- "openai/gsm8k"\n- "mine/more"'),
        ("tags:", "tags: &a\n  license: mit\nmore:"),
    ):
        assert old in card
        assert not claims_fit(card.replace(old, new, 1), released.record), new
