from __future__ import annotations

from lineages import given, made

from spiritsafe.release import NOT_LEGAL_ADVICE, banner_texts, duties_of, duties_summary, duty_words, notice_text

FALCON = given("tiiuae/falcon-11B@066e3bf4e2d9", "LicenseRef-unknown")
LLAMA_32 = given("meta-llama/Llama-3.2-1B@4e20de362430", "LicenseRef-llama3.2")
GEMMA = given("google/gemma-3-4b-it@093f9f388b31", "LicenseRef-gemma")


def test_a_notice_holds_the_very_lines_that_licences_ask_for() -> None:
    duties = duties_of([made("s", (LLAMA_32, "weights"), (GEMMA, "outputs"))])
    lines = notice_text(duties, "Llama-sum").splitlines()
    for line in (
        "Llama 3.2 is licensed under the Llama 3.2 Community License, Copyright © Meta Platforms, Inc. "
        "All Rights Reserved.",
        "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms",
        "Built with Llama",
        NOT_LEGAL_ADVICE,
    ):
        assert lines.count(line) == 1
    assert "https://ai.google.dev/gemma/prohibited_use_policy" in "\n".join(lines)
    assert "https://www.llama.com/llama3_2/use-policy" in "\n".join(lines)
    assert f"  {GEMMA.name} (outputs): Gemma Terms of Use" in lines


def test_banners_name_the_model_where_a_licence_asks_for_that() -> None:
    duties = duties_of([made("s", (FALCON, "weights"))])
    wanted = "hawk is built using Falcon LLM technology from the Technology Innovation Institute"
    assert banner_texts(duties, "hawk") == (wanted,)
    assert wanted in notice_text(duties, "hawk")


def test_a_line_says_whose_duty_what_and_where_it_is_written() -> None:
    duties = duties_of([made("s", (LLAMA_32, "weights"), (given("far", "LicenseRef-x"), "hidden_states"))])
    (prefix,) = duties.of("name_prefix")
    assert duty_words(prefix) == (
        f"{LLAMA_32.name} (weights): name begins with “Llama” (Llama 3.2 Community License, 1.b.i)"
    )
    lines = duties_summary(duties)
    assert lines[0] == "far (hidden states), LicenseRef-x: not known here: to be read and stated"
    assert sum(line.startswith(f"{LLAMA_32.name} (weights), Llama 3.2 Community License: ") for line in lines) == 1
    assert not any("sue" in line for line in lines)  # when a licence ends is told by the table, not by the plan


def test_nothing_is_said_where_nothing_follows() -> None:
    duties = duties_of([made("s", (given("free", "CC0-1.0"), "weights"))])
    assert (duties.duties, duties_summary(duties), banner_texts(duties, "s")) == ((), [], ())
    assert notice_text(duties, "s") == f"s\n\n{NOT_LEGAL_ADVICE}\n"
