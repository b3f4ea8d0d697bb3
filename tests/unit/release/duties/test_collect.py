from __future__ import annotations

import random
from typing import Any

import pytest
from lineages import given, made

from spiritsafe.core.records import Checkpoint
from spiritsafe.release import Duties, duties_of

# What was worked out by hand, reading the texts; never taken from the table that is tested. ``copy``, ``pass_on``,
# ``permission``, ``region``, ``only`` (research, no commerce), ``blocked`` and ``granted`` name licences.
LLAMA = "Copyright © Meta Platforms, Inc. All Rights Reserved."
SMOLLM = given("HuggingFaceTB/SmolLM2-135M-Instruct@12fd25f77366", "Apache-2.0")
QWEN = given("Qwen/Qwen2.5-7B-Instruct@a09a35458c70", "Apache-2.0")
QWEN3 = given("Qwen/Qwen3-4B@1cfa9a7208912", "Apache-2.0")
QWEN_3B = given("Qwen/Qwen2.5-3B-Instruct@aa8e72537993", "LicenseRef-other")
QWEN_72B = given("Qwen/Qwen2.5-72B-Instruct@495f39366efe", "LicenseRef-qwen")
LLAMA_2 = given("meta-llama/Llama-2-7b-chat-hf@f5db02db724", "LicenseRef-llama2")
LLAMA_3 = given("meta-llama/Meta-Llama-3-8B-Instruct@5f0b02c75b57", "LicenseRef-llama3")
LLAMA_31 = given("meta-llama/Llama-3.1-8B-Instruct@0e9e39f249a1", "LicenseRef-llama3.1")
LLAMA_32 = given("meta-llama/Llama-3.2-1B@4e20de362430", "LicenseRef-llama3.2")
LLAMA_33 = given("meta-llama/Llama-3.3-70B-Instruct@6f6073b42301", "LicenseRef-scancode-llama-3.3-license-2024")
LLAMA_4 = given("meta-llama/Llama-4-Scout-17B-16E-Instruct@7dab2f5f854f", "LicenseRef-other")
GEMMA_3 = given("google/gemma-3-4b-it@093f9f388b31", "LicenseRef-gemma")
GEMMA_4 = given("google/gemma-4-E2B-it@000000000000", "Apache-2.0")
V3 = given("deepseek-ai/DeepSeek-V3@e815299b0bcb", "LicenseRef-unknown")
V3_0324 = given("deepseek-ai/DeepSeek-V3-0324@e9b33add7688", "MIT")
R1 = given("deepseek-ai/DeepSeek-R1@56d4cbbb4d29", "MIT")
R1_LLAMA = given("deepseek-ai/DeepSeek-R1-Distill-Llama-8B@6a6f4aa41979", "MIT")
MISTRAL = given("mistralai/Mistral-7B-Instruct-v0.3@e0bc86c23ce5", "Apache-2.0")
MRL = given("mistralai/Ministral-8B-Instruct-2410@2f494a194c5b", "LicenseRef-mrl")
GPT = given("gpt-4o-2024-08-06", "LicenseRef-openai-services")
CLAUDE = given("anthropic/claude-opus-4", "LicenseRef-unknown")  # behind a relay, whose address tells nothing
STRANGE = given("acme/own-model", "LicenseRef-acme-1.0")
NC = given("acme/poet", "CC-BY-NC-4.0")
SHARED = given("acme/commons", "CC-BY-SA-4.0")
FALCON = given("tiiuae/falcon-11B@066e3bf4e2d9", "LicenseRef-unknown")
EXAONE = given("LGAI-EXAONE/EXAONE-3.5-2.4B-Instruct@e949c91dec92", "LicenseRef-other")

SIGNALS = ("logits", "hidden_states")


def _llama(number: str, *more: str) -> dict[str, Any]:
    name = f"llama-{number}"
    return {
        "name": {"Llama"},
        "banner": {"Built with Llama"},
        "notice": {f"Llama {number} is licensed under the Llama {number} Community License, {LLAMA}"},
        "copy": {name},
        "pass_on": {name},
        "permission": {name},
        **({"region": {name}} if more else {}),
    }


GEMMA_DUTIES: dict[str, Any] = {
    "notice": {"Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms"},
    "copy": {"gemma"},
    "pass_on": {"gemma"},
}

CASES: dict[str, tuple[Checkpoint, dict[str, Any]]] = {
    "SmolLM2 alone": (made("s", (SMOLLM, "weights")), {"copy": {"apache-2.0"}}),
    "Qwen2.5-7B taught by Qwen3": (
        made("s", (QWEN, "weights"), (QWEN3, ("logits", "outputs"))),
        {"copy": {"apache-2.0"}},
    ),
    "Llama 2 as base": (
        made("s", (LLAMA_2, "weights")),
        {
            "notice": {
                "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, Inc. "
                "All Rights Reserved."
            },
            "copy": {"llama-2"},
            "pass_on": {"llama-2"},
            "permission": {"llama-2"},
        },
    ),
    "Llama 2 teaches another model": (
        made("s", (SMOLLM, "weights"), (LLAMA_2, "outputs")),
        {"copy": {"apache-2.0"}, "permission": {"llama-2"}, "blocked": {"llama-2"}},
    ),
    "Llama 2 teaches Llama 2": (
        made("s", (made("cut", (LLAMA_2, "weights")), "weights"), (LLAMA_2, SIGNALS)),
        {
            "notice": {
                "Llama 2 is licensed under the LLAMA 2 Community License, Copyright (c) Meta Platforms, Inc. "
                "All Rights Reserved."
            },
            "copy": {"llama-2"},
            "pass_on": {"llama-2"},
            "permission": {"llama-2"},
        },
    ),
    "Llama 3 as base, Llama 3.1 as teacher": (
        made("s", (LLAMA_3, "weights"), (LLAMA_31, "outputs")),
        {
            "name": {"Llama 3", "Llama"},
            "banner": {"Built with Meta Llama 3"},
            "notice": {f"Meta Llama 3 is licensed under the Meta Llama 3 Community License, {LLAMA}"},
            "copy": {"llama-3"},
            "pass_on": {"llama-3"},
            "permission": {"llama-3", "llama-3.1"},
        },
    ),
    "Llama 3 teaches Llama 3.1": (
        made("s", (LLAMA_31, "weights"), (LLAMA_3, "logits")),
        {**_llama("3.1"), "name": {"Llama 3", "Llama"}, "permission": {"llama-3", "llama-3.1"}, "blocked": {"llama-3"}},
    ),
    "Llama 3.1 as base": (made("s", (LLAMA_31, "weights")), _llama("3.1")),
    "Llama 3.1 teaches by outputs": (
        made("s", (QWEN, "weights"), (LLAMA_31, "outputs")),
        {"name": {"Llama"}, "copy": {"apache-2.0"}, "permission": {"llama-3.1"}},
    ),
    "Llama 3.2 as base, Llama 3.3 as teacher by logits": (
        made("s", (LLAMA_32, "weights"), (LLAMA_33, SIGNALS)),
        {**_llama("3.2"), "permission": {"llama-3.2", "llama-3.3"}, "region": {"llama-3.2", "llama-3.3"}},
    ),
    "Llama 4 as base, told by its name alone": (made("s", (LLAMA_4, "weights")), _llama("4", "region")),
    "Gemma 3 as base": (made("s", (GEMMA_3, "weights")), GEMMA_DUTIES),
    "Gemma 3 teaches by hidden states": (
        made("s", (QWEN, "weights"), (GEMMA_3, SIGNALS)),
        {**GEMMA_DUTIES, "copy": {"gemma", "apache-2.0"}},
    ),
    "Gemma 4 teaches Gemma 4": (made("s", (GEMMA_4, "weights"), (GEMMA_4, SIGNALS)), {"copy": {"apache-2.0"}}),
    "Qwen2.5-3B as base": (
        made("s", (QWEN_3B, "weights")),
        {
            "banner": {"Built with Qwen"},
            "notice": {
                "Qwen is licensed under the Qwen RESEARCH LICENSE AGREEMENT, Copyright (c) Alibaba Cloud. "
                "All Rights Reserved."
            },
            "copy": {"qwen-research"},
            "only": {"qwen-research"},
        },
    ),
    "Qwen2.5-72B teaches Qwen2.5-7B": (
        made("s", (QWEN, "weights"), (QWEN_72B, "outputs")),
        {"banner": {"Built with Qwen"}, "copy": {"apache-2.0"}, "permission": {"qwen"}},
    ),
    "DeepSeek-V3 of December 2024 teaches": (
        made("s", (QWEN, "weights"), (V3, "outputs")),
        {"copy": {"apache-2.0", "deepseek"}, "pass_on": {"deepseek"}},
    ),
    "DeepSeek-V3-0324 teaches": (made("s", (QWEN, "weights"), (V3_0324, "outputs")), {"copy": {"apache-2.0"}}),
    "R1 teaches Llama 3.1, as R1-Distill-Llama-8B was made": (
        made("DeepSeek-R1-Distill-Llama-8B", (LLAMA_31, "weights"), (R1, "outputs")),
        _llama("3.1"),
    ),
    "R1-Distill-Llama-8B as base": (
        made("s", (R1_LLAMA, "weights")),
        {**_llama("3.1"), "copy": {"llama-3.1", "mit"}},
    ),
    "R1-Distill-Llama-8B teaches": (
        made("s", (SMOLLM, "weights"), (R1_LLAMA, "outputs")),
        {"name": {"Llama"}, "copy": {"apache-2.0"}, "permission": {"llama-3.1"}},
    ),
    "Mistral under Apache": (made("s", (MISTRAL, "weights")), {"copy": {"apache-2.0"}}),
    "Ministral under MRL teaches": (
        made("s", (MISTRAL, "weights"), (MRL, "outputs")),
        {"copy": {"apache-2.0"}, "only": {"mrl"}, "conflicts": {"commercial"}},
    ),
    "OpenAI teaches": (
        made("s", (QWEN, "weights"), (GPT, "outputs")),
        {"copy": {"apache-2.0"}, "blocked": {"openai-services"}},
    ),
    "Claude teaches, behind a relay": (
        made("s", (QWEN, "weights"), (CLAUDE, "outputs")),
        {"copy": {"apache-2.0"}, "blocked": {"anthropic-commercial"}},
    ),
    "OpenAI teaches by permission": (
        made("s", (QWEN, "weights"), (given("gpt-4o", "LicenseRef-openai-services", granted="contract 7"), "outputs")),
        {"copy": {"apache-2.0"}, "granted": {"openai-services"}},
    ),
    "a licence that nobody knows": (made("s", (STRANGE, "weights")), {"unknown": {"LicenseRef-acme-1.0"}}),
    "Falcon 2, told by its name": (
        made("s", (FALCON, "weights")),
        {
            "banner": {"{model} is built using Falcon LLM technology from the Technology Innovation Institute"},
            "copy": {"falcon-2"},
            "pass_on": {"falcon-2"},
        },
    ),
    "EXAONE beside Llama 3.1: no name begins with both": (
        made("s", (EXAONE, "weights"), (LLAMA_31, "outputs")),
        {
            "name": {"EXAONE", "Llama"},
            "copy": {"exaone-nc"},
            "permission": {"llama-3.1"},
            "only": {"exaone-nc"},
            "conflicts": {"name", "commercial"},
        },
    ),
    "a mixture of three, with Gemma in a share-alike one": (
        made("s", (SHARED, "weights"), (GEMMA_3, "logits"), (NC, "outputs")),
        {
            **GEMMA_DUTIES,
            "copy": {"gemma", "cc-by-sa-4.0"},
            "only": {"cc-by-nc-4.0"},
            "share_alike": {"cc-by-sa-4.0"},
            "conflicts": {"share_alike", "commercial"},
        },
    ),
}

LICENSED = {"copy": "copy", "pass_on": "pass_on", "permission": "permission", "region": "region", "blocked": "blocked",
            "granted": "granted", "share_alike": "share_alike", "unknown": "unknown"}  # fmt: skip


def found(duties: Duties) -> dict[str, Any]:
    """In the words of the table above."""
    told: dict[str, Any] = {
        "name": set(duties.texts("name_prefix")),
        "banner": set(duties.texts("banner")),
        "notice": set(duties.texts("notice")),
        "only": {duty.licence for duty in duties.of("research_only", "non_commercial")},
        "conflicts": {conflict.kind for conflict in duties.conflicts},
        **{key: {duty.licence for duty in duties.of(kind)} for key, kind in LICENSED.items()},  # type: ignore[arg-type]
    }
    return {key: value for key, value in told.items() if value}


@pytest.mark.parametrize("case", CASES)
def test_duties_are_those_worked_out_by_hand(case: str) -> None:
    model, expected = CASES[case]
    ancestors = [made("cut", (LLAMA_2, "weights"))]
    assert found(duties_of([model, *ancestors])) == expected


def test_a_grandchild_has_the_duties_of_its_grandparents() -> None:
    taught = made("taught", (SMOLLM, "weights"), (LLAMA_31, "outputs"))
    based = made("based", (taught, "weights"))
    learnt = made("learnt", (QWEN, "weights"), (based, "logits"))
    merged = made("merged", (learnt, "weights"), (made("cut", (GEMMA_3, "weights")), "weights"))
    lineage = [taught, based, learnt, made("cut", (GEMMA_3, "weights")), SMOLLM, QWEN]
    duties = duties_of([merged, *lineage])
    assert found(duties) == {
        **GEMMA_DUTIES,
        "name": {"Llama"},
        "copy": {"apache-2.0", "gemma"},
        "permission": {"llama-3.1"},
    }
    llama = next(duty for duty in duties.duties if duty.kind == "name_prefix")
    assert [(cause.model, cause.uses) for cause in llama.causes] == [(LLAMA_31.name, ("outputs",))]
    apache = next(duty for duty in duties.of("copy") if duty.licence == "apache-2.0")
    assert {cause.model for cause in apache.causes} == {QWEN.name}  # SmolLM2's weights are not inside
    # a teacher that may not teach stays one, however many models stand between
    tainted = made("tainted", (QWEN, "weights"), (GPT, "outputs"))
    grandchild = made("g", (SMOLLM, "weights"), (made("c", (tainted, "weights")), "outputs"))
    assert found(duties_of([grandchild, tainted, made("c", (tainted, "weights"))]))["blocked"] == {"openai-services"}


def test_who_may_learn_from_llama_3_must_be_llama_3_all_the_way() -> None:
    own = made("own", (LLAMA_3, "weights"), (LLAMA_3, "outputs"))
    assert not duties_of([own]).is_blocked
    other = made("other", (QWEN, "weights"), (own, "outputs"))
    assert duties_of([other, own]).is_blocked
    # random weights in Llama 3's shape, under its licence for their tokenizer, are no weights of Llama 3
    assert duties_of([made("drawn", (LLAMA_3, "logits"))]).is_blocked
    # the first student broke the licence; weights of Llama 3 in the last do not mend that
    last = made("last", (LLAMA_3, "weights"), (other, "outputs"))
    assert duties_of([last, other, own]).is_blocked


def test_the_order_of_ancestors_changes_nothing() -> None:
    model, _ = CASES["a mixture of three, with Gemma in a share-alike one"]
    ancestors = [SHARED, GEMMA_3, NC, LLAMA_3, made("cut", (LLAMA_2, "weights"))]
    first = duties_of([model, *ancestors])
    for seed in range(5):
        random.Random(seed).shuffle(ancestors)
        assert duties_of([model, *ancestors]) == first
    assert Duties.from_json(first.to_json()) == first


def test_permission_lifts_what_was_forbidden_and_nothing_else() -> None:
    bought = given(QWEN_3B.name, QWEN_3B.license, granted="commercial licence 12 of Alibaba Cloud")
    duties = duties_of([made("s", (bought, "weights"))])
    assert not duties.of("research_only")
    assert [(duty.text, duty.licence) for duty in duties.of("granted")] == [(bought.license_granted, "qwen-research")]
    assert duties.texts("banner") == ("Built with Qwen",)


def test_a_model_without_weights_of_others_keeps_the_licence_of_its_tokenizer() -> None:
    drawn = made("drawn", (LLAMA_31, "logits"))  # of random weights: the start's licence, the teacher's logits
    duties = duties_of([drawn])
    assert found(duties) == {**_llama("3.1")}


def test_what_one_record_says_holds_where_another_says_nothing() -> None:
    silent = given("acme/model", "LicenseRef-unknown")
    model = made("s", (silent, "weights"))
    assert found(duties_of([model])) == {"unknown": {"LicenseRef-unknown"}}
    assert found(duties_of([model, given("acme/model", "MIT")])) == {"copy": {"mit"}}
