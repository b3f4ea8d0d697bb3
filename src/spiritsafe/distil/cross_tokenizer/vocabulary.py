"""Tokens that two vocabularies have in common: the same bytes, or the same role.

In: two vocabularies as bytes. Out: pairs of ids, one to one. Shapes: M pairs, V student and U teacher vocabulary (which
may be padded beyond the ids that a tokenizer knows; ids without a partner fall into "other").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import final

import torch
from torch import Tensor

from spiritsafe.distil.cross_tokenizer.spans import END_ROLE, TokenBytes


@final
@dataclass(frozen=True, kw_only=True)
class VocabularyMap:
    """Ids that stand for the same on both sides.

    Attributes:
        student_M: int64, ascending.
        teacher_M: int64, its partner in the teacher's vocabulary.
    """

    student_M: Tensor
    teacher_M: Tensor

    @property
    def num_tokens(self) -> int:
        """M."""
        return int(self.student_M.numel())

    def to(self, device: torch.device | str) -> VocabularyMap:
        """The same map on a device."""
        return VocabularyMap(student_M=self.student_M.to(device), teacher_M=self.teacher_M.to(device))


def map_vocabularies(student: TokenBytes, teacher: TokenBytes) -> VocabularyMap:
    """Pair ids whose bytes, or whose role, are the same; unused ids have no partner.

    Where several ids share them, the highest stands for them (SentencePiece's fallback bytes come before its pieces,
    and it is the pieces that are used); of several end tokens it is the chat's own.
    """
    theirs, ours = _ids_by_name(teacher), _ids_by_name(student)
    pairs = sorted((index, theirs[name]) for name, index in ours.items() if name in theirs)
    return VocabularyMap(
        student_M=torch.tensor([index for index, _ in pairs], dtype=torch.int64),
        teacher_M=torch.tensor([partner for _, partner in pairs], dtype=torch.int64),
    )


def _ids_by_name(vocabulary: TokenBytes) -> dict[bytes | str, int]:
    found: dict[bytes | str, int] = {}
    for index in range(len(vocabulary.spellings)):
        if (name := _name(vocabulary, index)) is not None:
            found[name] = index
    if vocabulary.end_id is not None:
        found[END_ROLE] = vocabulary.end_id
    return found


def _name(vocabulary: TokenBytes, index: int) -> bytes | str | None:
    role = vocabulary.roles.get(index)
    if role is None:
        return vocabulary.spellings[index]
    return None if role.startswith("unused:") else role


@final
@dataclass(frozen=True, kw_only=True)
class BoundaryTokens:
    """Tokens after which, seen from before them, a unit of text is surely over.

    Attributes:
        student: Ids of the student that begin a new unit.
        teacher: Ids of the teacher.
    """

    student: tuple[int, ...]
    teacher: tuple[int, ...]


def boundary_tokens(student: TokenBytes, teacher: TokenBytes) -> BoundaryTokens:
    """Tokens that begin with white space, and every special token: no tokenizer merges a word across these."""
    return BoundaryTokens(student=_boundaries(student), teacher=_boundaries(teacher))


def _boundaries(vocabulary: TokenBytes) -> tuple[int, ...]:
    found = []
    for index, spelling in enumerate(vocabulary.spellings):
        role = vocabulary.roles.get(index, "")
        if spelling[:1].isspace() or role == END_ROLE or role.startswith("special:"):
            found.append(index)
    return tuple(found)
