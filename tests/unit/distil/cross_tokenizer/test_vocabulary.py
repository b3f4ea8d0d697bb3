from __future__ import annotations

from dataclasses import replace

from across_parts import byte_level, sentence_piece

from spiritsafe.distil.cross_tokenizer.spans import END_ROLE, TokenBytes, token_bytes
from spiritsafe.distil.cross_tokenizer.vocabulary import boundary_tokens, map_vocabularies


def test_ids_are_paired_by_bytes_and_by_role() -> None:
    student = TokenBytes(
        spellings=(b"a", b"ab", b" x", b"", b"", b"a", b""), roles={3: END_ROLE, 4: "unused:4", 6: "special:<tool>"}
    )
    teacher = TokenBytes(spellings=(b"", b" x", b"a", b"", b"", b"b"), roles={0: END_ROLE, 3: "unused:4", 4: END_ROLE})
    found = map_vocabularies(student, teacher)
    assert found.student_M.tolist() == [2, 3, 5]
    assert found.teacher_M.tolist() == [1, 4, 2]
    known = map_vocabularies(student, replace(teacher, end_id=0))
    assert known.teacher_M.tolist() == [1, 0, 2]


def test_real_vocabularies_are_mapped_one_to_one() -> None:
    one, two = token_bytes(byte_level(400)), token_bytes(sentence_piece())
    found = map_vocabularies(one, two)
    assert found.num_tokens >= 256
    assert len(set(found.student_M.tolist())) == len(set(found.teacher_M.tolist())) == found.num_tokens
    for ours, theirs in zip(found.student_M.tolist(), found.teacher_M.tolist(), strict=True):
        assert one.spellings[ours] == two.spellings[theirs]
        assert one.roles.get(ours) == two.roles.get(theirs)
    assert map_vocabularies(one, one).num_tokens == len(one.spellings)


def test_boundaries_are_white_space_and_special_tokens() -> None:
    student = TokenBytes(spellings=(b"a", b" a", b"\n", b"", b"", b"a "), roles={3: END_ROLE, 4: "unused:4"})
    found = boundary_tokens(student, token_bytes(byte_level(300)))
    assert found.student == (1, 2, 3)
    assert 0 in found.teacher
