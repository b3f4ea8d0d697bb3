"""Alignment of two tokenizations of any bytes: every byte in one chunk, no chunk that could be smaller."""

from __future__ import annotations

import itertools

import numpy as np
import torch
from across_parts import byte_level, sentence_piece
from hypothesis import given, settings
from hypothesis import strategies as st

from spiritsafe.distil.cross_tokenizer.alignment import align
from spiritsafe.distil.cross_tokenizer.divergence import chunk_divergence
from spiritsafe.distil.cross_tokenizer.spans import TokenBytes, token_bytes

TOKENIZERS = (byte_level(420), byte_level(330, digits=True), sentence_piece())
VOCABULARIES = tuple(token_bytes(tokenizer) for tokenizer in TOKENIZERS)
texts = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\u2581"), max_size=60) | st.sampled_from(
    ["1234567890 + 12 = ", "👩‍👩‍👧‍👦🇨🇭", "e\u0301\u0323", "\r\n \t\n  x", "the answer is\u00a01234", "東京 κόσμε"]
)


@st.composite
def cuttings(draw: st.DrawFn) -> tuple[bytes, list[list[bytes]]]:
    """Some bytes and two ways to cut them into tokens."""
    content = draw(st.binary(min_size=1, max_size=40))
    ways = []
    for _ in range(2):
        cuts = sorted(draw(st.sets(st.integers(1, len(content) - 1)))) if len(content) > 1 else []
        ways.append([content[a:b] for a, b in itertools.pairwise([0, *cuts, len(content)])])
    return content, ways


@given(cuttings())
def test_every_byte_lies_in_one_chunk_on_both_sides_and_no_chunk_can_be_cut(
    case: tuple[bytes, list[list[bytes]]],
) -> None:
    content, ways = case
    words = [TokenBytes(spellings=tuple(way), roles={}) for way in ways]
    found = align(range(len(ways[0])), words[0], range(len(ways[1])), words[1])
    assert found.bytes_K.sum() == len(content)
    assert bool((found.bytes_K > 0).all())
    bounds = [set(itertools.accumulate(len(token) for token in way)) for way in ways]
    assert set(np.cumsum(found.bytes_K).tolist()) == bounds[0] & bounds[1]  # the finest cut that both allow
    for chunk, way in zip((found.chunk_A, found.chunk_B), ways, strict=True):
        assert chunk[0] == 0
        assert set(np.diff(chunk).tolist()) <= {0, 1}
        assert chunk[-1] == found.num_chunks - 1
        sizes = np.bincount(chunk, weights=[len(token) for token in way])
        assert sizes.tolist() == found.bytes_K.tolist()


@settings(max_examples=60, deadline=None)
@given(texts)
def test_tokens_spell_any_text_and_any_two_tokenizations_meet(text: str) -> None:
    ids = [tokenizer.encode(text, add_special_tokens=False).ids for tokenizer in TOKENIZERS]
    for tokens, words in zip(ids, VOCABULARIES, strict=True):
        assert words.spell(tokens, at_start=True) == text.encode("utf-8")
    found = align(ids[0], VOCABULARIES[0], ids[1], VOCABULARIES[1])
    assert found.bytes_K.sum() == len(text.encode("utf-8"))
    flipped = align(ids[1], VOCABULARIES[1], ids[0], VOCABULARIES[0])
    assert np.array_equal(found.bytes_K, flipped.bytes_K)
    same = align(ids[0], VOCABULARIES[0], ids[0], VOCABULARIES[0])
    assert same.num_chunks == len(ids[0])


log_probs = st.floats(-500.0, 0.0)


@given(log_probs, log_probs, st.floats(1.0, 1000.0), st.sampled_from(["forward_kl", "reverse_kl"]))
def test_a_divergence_is_never_negative_and_pulls_towards_the_teacher(
    student: float, teacher: float, temperature: float, divergence: str
) -> None:
    value, slope = chunk_divergence(
        torch.tensor([student], dtype=torch.float64),
        torch.tensor([teacher], dtype=torch.float64),
        temperature=temperature,
        divergence=divergence,  # type: ignore[arg-type]  # drawn from the two names
    )
    assert float(value) >= -1e-9
    assert bool(slope.isfinite().all())
    if student < teacher - 1e-6:
        assert float(slope) <= 0.0
    if student > teacher + 1e-6:
        assert float(slope) >= 0.0
