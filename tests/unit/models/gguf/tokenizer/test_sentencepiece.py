from __future__ import annotations

from spiritsafe.models.gguf.tokenizer.sentencepiece import (
    TokenKind,
    byte_token,
    is_filler,
    merges_of,
    scores_of,
)

TOKENS = ["<unk>", "<0x0A>", "ab", "abc", "bc", "a", "b", "c", "abab"]
KINDS = [TokenKind.UNKNOWN, TokenKind.BYTE, *[TokenKind.NORMAL] * 7]
SCORES = [0.0, 0.0, -0.0, -1.0, -2.0, -4.0, -4.0, -4.0, -3.0]


def test_every_pair_that_makes_a_piece_merges_the_best_piece_first() -> None:
    assert merges_of(TOKENS, SCORES, KINDS) == [
        ("a", "b"),
        ("ab", "c"),  # id 2 before id 5: of one piece the pair with the lower ids
        ("a", "bc"),
        ("b", "c"),
        ("ab", "ab"),
    ]
    turned = [*TOKENS[:2], "bc", "abc", "ab", *TOKENS[5:]]
    assert merges_of(turned, [0, 0, -2, -1, 0, *SCORES[5:]], KINDS)[1:3] == [("a", "bc"), ("ab", "c")][::-1]
    assert merges_of(TOKENS, SCORES, KINDS, "lengths")[1:3] == [("ab", "c"), ("a", "bc")]


def test_scores_are_the_ranks_of_the_pieces() -> None:
    assert scores_of(TOKENS, merges_of(TOKENS, SCORES, KINDS), KINDS) == SCORES


def test_tokens_with_a_name_and_bytes_take_no_part() -> None:
    tokens = ["<", "s", "<s", "<s>", ">"]
    kinds = [TokenKind.NORMAL, TokenKind.NORMAL, TokenKind.NORMAL, TokenKind.CONTROL, TokenKind.NORMAL]
    assert merges_of(tokens, [-1.0] * 5, kinds) == [("<", "s")]
    assert scores_of(tokens, [("<", "s")], kinds)[3] == 0.0


def test_names_of_bytes_and_of_unused_rows() -> None:
    assert byte_token(10) == "<0x0A>"
    assert is_filler("[PAD7]", 7, TokenKind.UNUSED)
    assert not is_filler("[PAD7]", 7, TokenKind.NORMAL)
    assert not is_filler("[PAD7]", 8, TokenKind.UNUSED)
