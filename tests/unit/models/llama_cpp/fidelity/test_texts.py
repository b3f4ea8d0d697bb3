from __future__ import annotations

import unicodedata
from collections import Counter

from spiritsafe.models.llama_cpp.fidelity.texts import fuzz_texts, general_texts

SPECIAL = ["<|im_end|>", "<|endoftext|>"]


def test_general_texts_are_of_many_languages_and_no_two_alike() -> None:
    texts = general_texts()
    spoken = Counter(one.language for one in texts if len(one.language) == 2)
    assert len(spoken) == 27
    assert len(texts) - spoken.total() == 12
    assert len({one.text for one in texts}) == len(texts)
    assert all(30 <= len(one.text) <= 300 and one.text == unicodedata.normalize("NFC", one.text) for one in texts)


def test_the_corpus_follows_its_seed_and_holds_what_tokenizers_trip_over() -> None:
    texts = fuzz_texts(SPECIAL, count=200, seed=4)
    assert texts == fuzz_texts(SPECIAL, count=200, seed=4)
    assert sum(a != b for a, b in zip(texts, fuzz_texts(SPECIAL, count=200, seed=5), strict=True)) > 190
    for text in texts:
        text.encode("utf-8")  # no half characters
    assert {"", " ", "\n", "a" * 600, *SPECIAL, *(one.text for one in general_texts())} <= set(texts)
    whole = "".join(texts)
    kinds = Counter(unicodedata.category(character) for character in whole)
    assert {"Lu", "Ll", "Lo", "Lm", "Mn", "Mc", "Nd", "Nl", "No", "Zs", "Zl", "Zp", "Cc", "Cf", "So", "Sm"} <= set(
        kinds
    )
    scripts = {unicodedata.name(character, "?").split()[0] for character in whole}
    assert {
        "LATIN",
        "GREEK",
        "CYRILLIC",
        "HEBREW",
        "ARABIC",
        "DEVANAGARI",
        "THAI",
        "HANGUL",
        "HIRAGANA",
        "CJK",
    } <= scripts
    glued = [text for text in texts if any(f"{name}{letter}" in text for name in SPECIAL for letter in "aeinst")]
    assert glued
