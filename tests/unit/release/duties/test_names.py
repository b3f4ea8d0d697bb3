from __future__ import annotations

import pytest
from lineages import given, made

from spiritsafe.core.errors import RecipeError
from spiritsafe.release import check_duties, check_name, duties_of, suggested_name

LLAMA_31 = given("meta-llama/Llama-3.1-8B@0e9e39f249a1", "LicenseRef-llama3.1")
LLAMA_3 = given("meta-llama/Meta-Llama-3-8B@5f0b02c75b57", "LicenseRef-llama3")
R1 = given("deepseek-ai/DeepSeek-R1@56d4cbbb4d29", "MIT")
QWEN = given("Qwen/Qwen2.5-7B@d149729398", "Apache-2.0")


def test_the_name_that_everybody_knows_is_refused() -> None:
    name = "DeepSeek-R1-Distill-Llama-8B"
    duties = duties_of([made(name, (LLAMA_31, "weights"), (R1, "outputs"))])
    with pytest.raises(RecipeError, match=r"Llama 3\.1 Community License.*begins with “Llama” \(1\.b\.i\)") as caught:
        check_name(name, duties)
    assert caught.value.hint == "Call it 'Llama-DeepSeek-R1-Distill-Llama-8B'."
    check_name(suggested_name(name, duties), duties)
    check_name("qatfactory/Llama-DeepSeek-R1-Distill-8B-NVFP4", duties)
    with pytest.raises(RecipeError, match="'meta-llama/student'"):
        check_name("meta-llama/student", duties)  # an owner's name is not the model's


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("Llama-3-student", True),
        ("Llama 3 student", True),
        ("org/Llama_3.1-like", True),
        ("Llama-student-3", False),
        ("Llama3-student", False),
        ("llama-3-student", False),
        ("Meta-Llama-3-student", False),
    ],
)
def test_the_longest_prefix_counts(name: str, right: bool) -> None:
    duties = duties_of([made("s", (LLAMA_3, "weights"), (LLAMA_31, "outputs"))])
    assert duties.prefixes == ("Llama 3", "Llama")
    if right:
        check_name(name, duties)
        assert suggested_name(name, duties) == name
    else:
        with pytest.raises(RecipeError, match="“Llama 3”"):
            check_name(name, duties)
        check_name(suggested_name(name, duties), duties)


def test_where_two_prefixes_are_at_odds_no_name_is_right() -> None:
    exaone = given("LGAI-EXAONE/EXAONE-Deep-2.4B", "LicenseRef-exaone")
    duties = duties_of([made("s", (exaone, "weights"), (LLAMA_31, "outputs"))])
    for name in ("EXAONE-s", "Llama-s"):
        with pytest.raises(RecipeError, match="No name begins with “EXAONE” and “Llama”"):
            check_name(name, duties)


def test_any_name_will_do_where_no_licence_asks() -> None:
    duties = duties_of([made("s", (QWEN, "weights"), (R1, "outputs"))])
    check_name("anything at all", duties)
    check_duties(duties)


def test_what_is_forbidden_or_not_known_is_not_published() -> None:
    gpt = given("gpt-4o", "LicenseRef-openai-services")
    with pytest.raises(RecipeError, match=r"gpt-4o \(outputs\).*OpenAI Services Agreement, 3\.3\(e\)") as caught:
        check_duties(duties_of([made("s", (QWEN, "weights"), (gpt, "outputs"))]))
    assert "licence_granted" in caught.value.hint
    with pytest.raises(RecipeError, match="LicenseRef-unknown, is not known here") as caught:
        check_duties(duties_of([made("s", (given("own", "LicenseRef-unknown"), "weights"))]))
    assert 'licence = "its SPDX id"' in caught.value.hint
    gemma, shared = given("google/gemma-2-2b", "LicenseRef-gemma"), given("commons", "CC-BY-SA-4.0")
    with pytest.raises(RecipeError, match=r"ShareAlike 4\.0 allows no further terms, and Gemma"):
        check_duties(duties_of([made("s", (shared, "weights"), (gemma, "logits"))]))
