from __future__ import annotations

import numpy as np
import pytest
from across_parts import TEXTS, byte_level, sentence_piece

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.distil.cross_tokenizer.alignment import align
from spiritsafe.distil.cross_tokenizer.spans import END_ROLE, TokenBytes, token_bytes


def vocabulary(*words: str, specials: tuple[str, ...] = ()) -> TokenBytes:
    """Ids in the order given; special tokens last, named by their role."""
    spellings = (*(word.encode() for word in words), *(b"" for _ in specials))
    return TokenBytes(spellings=spellings, roles={len(words) + n: role for n, role in enumerate(specials)})


def ids_of(words: TokenBytes, *tokens: str) -> list[int]:
    roles = {role: index for index, role in words.roles.items()}
    return [roles[t] if t in roles else words.spellings.index(t.encode()) for t in tokens]


DIGITS = vocabulary("1", "2", "3", "4", "123", "1234", "12", "34", " ", specials=(END_ROLE,))


@pytest.mark.parametrize(
    ("left", "right", "chunks_left", "chunks_right"),
    [
        (("1", "2", "3", "4"), ("123", "4"), [0, 0, 0, 1], [0, 1]),
        (("1", "2", "3", "4"), ("1234",), [0, 0, 0, 0], [0]),
        (("123", "4"), ("1234",), [0, 0], [0]),
        (("123", "4"), ("12", "34"), [0, 0], [0, 0]),
        (("12", "34"), ("12", "34"), [0, 1], [0, 1]),
        (("12", "3", "4", END_ROLE), ("1", "2", "34", END_ROLE), [0, 1, 1, 2], [0, 0, 1, 2]),
    ],
)
def test_numerals(
    left: tuple[str, ...], right: tuple[str, ...], chunks_left: list[int], chunks_right: list[int]
) -> None:
    found = align(ids_of(DIGITS, *left), DIGITS, ids_of(DIGITS, *right), DIGITS)
    assert found.chunk_A.tolist() == chunks_left
    assert found.chunk_B.tolist() == chunks_right
    assert found.bytes_K.sum() == 4


@pytest.mark.parametrize("text", [text for text in TEXTS if text])
def test_real_tokenizers_share_every_byte(text: str) -> None:
    one, two = byte_level(400), byte_level(330, digits=True)
    spelled = token_bytes(one), token_bytes(two)
    ids = [t.encode(text, add_special_tokens=False).ids for t in (one, two)]
    found = align(ids[0], spelled[0], ids[1], spelled[1])
    for tokens, chunks, words in ((ids[0], found.chunk_A, spelled[0]), (ids[1], found.chunk_B, spelled[1])):
        pieces = [b"" for _ in range(found.num_chunks)]
        for token, chunk in zip(tokens, chunks, strict=True):
            pieces[chunk] += words.spellings[token]
        assert b"".join(pieces) == text.encode()
        assert [len(piece) for piece in pieces] == found.bytes_K.tolist()


def test_multi_byte_characters_split_differently() -> None:
    euro = "€".encode()
    one = TokenBytes(spellings=(euro[:1], euro[1:], b"a"), roles={})
    two = TokenBytes(spellings=(euro[:2], euro[2:], b"a", euro), roles={})
    assert align([0, 1, 2], one, [0, 1, 2], two).chunk_A.tolist() == [0, 0, 1]
    assert align([0, 1, 2], one, [3, 2], two).chunk_B.tolist() == [0, 1]


def test_end_tokens_of_other_names_and_specials_in_the_middle_are_chunks_of_their_own() -> None:
    one = vocabulary("ab", "c", specials=("special:<tool>", END_ROLE))
    two = vocabulary("a", "b", "c", specials=(END_ROLE, "special:<tool>"))
    left = ids_of(one, "ab", "special:<tool>", "c", END_ROLE)
    right = ids_of(two, "a", "b", "special:<tool>", "c", END_ROLE)
    found = align(left, one, right, two)
    assert found.chunk_A.tolist() == [0, 1, 2, 3]
    assert found.chunk_B.tolist() == [0, 0, 1, 2, 3]
    assert found.bytes_K.tolist() == [2, 0, 1, 0]


def test_what_differs_is_shown() -> None:
    one, two = vocabulary("ab", "c", specials=(END_ROLE,)), vocabulary("a", "b", "d", specials=(END_ROLE,))
    with pytest.raises(CompatibilityError, match=r"symbol 2: b'c' against b'd'"):
        align([0, 1], one, [0, 1, 2], two)
    with pytest.raises(CompatibilityError, match="symbol 2: the end against a token of role 'end'"):
        align([0], one, [0, 1, 3], two)
    with pytest.raises(CompatibilityError, match="role 'end' against b'd'"):
        align([0, 2], one, [0, 1, 2], two)


def test_an_unused_id_meets_only_itself() -> None:
    one = TokenBytes(spellings=(b"a", b""), roles={1: "unused:1"})
    two = TokenBytes(spellings=(b"a", b"b", b""), roles={2: "unused:2"})
    with pytest.raises(CompatibilityError, match="unused"):
        align([0, 1], one, [0, 2], two)


def test_nothing_against_nothing() -> None:
    words = token_bytes(sentence_piece())
    found = align([], words, [], words)
    assert found.num_chunks == 0
    assert found.chunk_A.dtype == np.int32
