from __future__ import annotations

import re
from datetime import date

import pytest

from spiritsafe.release import licence_of_endpoint, licences, licences_of
from spiritsafe.release.duties.table import licence_key


def ids(statement: str, *models: str) -> tuple[set[str], tuple[str, ...]]:
    known, unknown = licences_of(statement, *models)
    return {licence.id for licence in known}, unknown


def test_every_row_says_what_it_is_and_where_it_was_read() -> None:
    keys: dict[str, str] = {}
    for licence in licences().values():
        assert licence.address.startswith("https://"), licence.id
        assert date(2026, 11, 1) <= licence.read <= date(2027, 12, 31)
        for key in {licence_key(one) for one in (licence.id, *licence.ids)}:
            assert keys.setdefault(key, licence.id) == licence.id, f"{key} is two licences"
        for duty in licence.duties:
            assert not re.search(r"\{(?!model\})", f"{duty.text}{duty.quote}{duty.at}"), (licence.id, duty)
            assert set(duty.except_on) <= licences().keys()
            assert duty.kind != "blocked" or duty.quote, f"{licence.id}: the sentence that blocks"
            assert duty.kind not in ("pass_on", "copy") or (duty.at or "").startswith("https://"), licence.id
            assert duty.kind not in ("unknown", "granted")
        kinds = [(duty.kind, use) for duty in licence.duties for use in duty.uses]
        assert len(set(kinds)) == len(kinds), f"{licence.id} asks one thing twice"


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("Apache-2.0", {"apache-2.0"}),
        ("apache-2.0", {"apache-2.0"}),
        ("LicenseRef-llama3.1", {"llama-3.1"}),
        ("LicenseRef-scancode-llama-3.1-license-2024", {"llama-3.1"}),
        ("LicenseRef-gemma", {"gemma"}),
        ("MIT AND Apache-2.0", {"mit", "apache-2.0"}),
        ("(MIT OR GPL-3.0-only)", {"mit", "gpl-3.0"}),
        ("LicenseRef-openrail", {"bigscience-openrail-m"}),
    ],
)
def test_ids_of_all_kinds_are_understood(statement: str, expected: set[str]) -> None:
    assert ids(statement) == (expected, ())


def test_what_is_not_known_is_said_to_be() -> None:
    assert ids("LicenseRef-unknown") == (set(), ("LicenseRef-unknown",))
    assert ids("") == (set(), ("",))
    for statement in ("()", "( AND )", "and", "(or)", "-", "N/A"):  # no way of saying nothing is known to be no licence
        known, unknown = ids(statement)
        assert (known, len(unknown)) == (set(), 1), statement
    assert ids("MIT AND LicenseRef-acme") == ({"mit"}, ("LicenseRef-acme",))
    assert ids("LicenseRef-acme", "meta-llama/Llama-3.1-8B") == ({"llama-3.1"}, ("LicenseRef-acme",))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("Qwen/Qwen2.5-3B-Instruct@aa8e72537993", {"qwen-research"}),
        ("Qwen2.5-Coder-3B", {"qwen-research"}),
        ("Qwen/Qwen2.5-32B", set()),
        ("Qwen/Qwen-7B-Chat", {"tongyi-qianwen"}),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", {"apache-2.0"}),
        ("deepseek-ai/DeepSeek-V3-Base", {"deepseek"}),
        ("deepseek-ai/DeepSeek-V3-0324", set()),
        ("deepseek-ai/DeepSeek-V3.1", set()),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", {"llama-3.3"}),
        ("llama3.1:8b", {"llama-3.1"}),
        ("meta.llama3-1-70b-instruct-v1:0", {"llama-3.1"}),
        ("NousResearch/Hermes-3-Llama-3.2-3B", {"llama-3.2"}),
        ("TinyLlama/TinyLlama-1.1B-Chat-v1.0", set()),
        ("google/gemma-3n-E4B-it", {"gemma"}),
        ("google/gemma-4-E2B-it", set()),
        ("openai/gpt-oss-20b", set()),
        ("openai/gpt-4.1-mini", {"openai-services"}),
        ("anthropic/claude-sonnet-4.5", {"anthropic-commercial"}),
        ("AIDC-AI/Marco-o1", set()),
        ("acme/qwen3-8b-in-the-style-of-claude", set()),
    ],
)
def test_names_tell_where_one_tag_has_several_texts(model: str, expected: set[str]) -> None:
    assert ids("LicenseRef-other", model)[0] == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.openai.com/v1", "LicenseRef-openai-services"),
        ("https://API.anthropic.com:443/v1/", "LicenseRef-anthropic-commercial"),
        ("https://generativelanguage.googleapis.com/v1beta/openai", "LicenseRef-gemini-api"),
        ("https://us-central1-aiplatform.googleapis.com/v1", "LicenseRef-gemini-api"),
        ("https://user:key@api.x.ai/v1", "LicenseRef-xai-enterprise"),
        ("http://127.0.0.1:8000/v1", None),
        ("https://api.openai.com.example.org/v1", None),
        ("https://notapi.openai.com.evil/v1?api.openai.com", None),
    ],
)
def test_closed_services_are_known_by_their_address(url: str, expected: str | None) -> None:
    assert licence_of_endpoint(url) == expected
    if expected is not None:
        (licence,), _ = licences_of(expected)
        assert [duty.kind for duty in licence.duties] == ["blocked"]
