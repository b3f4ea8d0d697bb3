"""What two tokenizers have in common on real text: a report to read before training across them.

In: a table of paired documents and the two vocabularies. Out: a :class:`CoverageReport`, as text and JSON.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from spiritsafe.core.records import Record
from spiritsafe.distil.cross_tokenizer.pairing import PairedDocument, PairTable
from spiritsafe.distil.cross_tokenizer.spans import TokenBytes
from spiritsafe.distil.cross_tokenizer.vocabulary import VocabularyMap
from spiritsafe.models import Document


class UnmatchedToken(Record):
    """A token of one side that the other does not have.

    Attributes:
        text: Its bytes as text, escaped where they are none.
        count: How often it occurs in the completions.
    """

    token_id: int
    text: str
    count: int


class CoverageReport(Record):
    """How much of the text both tokenizers see alike.

    Attributes:
        num_documents: Paired.
        num_refused: Could not be paired.
        completion_bytes: Of all of them, the refused ones included.
        covered_share: Of these bytes, those in chunks.
        num_chunks: Chunks, those of special tokens included.
        chunk_bytes: Mean bytes of a chunk of text.
        student_tokens_per_chunk: Mean.
        teacher_tokens_per_chunk: Mean.
        single_share: Of the chunks, those of one token on both sides.
        common_tokens: Tokens that both vocabularies have.
        student_vocabulary_share: Of the student's vocabulary, the common ones.
        student_realised_share: Of the student's tokens in the completions, the common ones.
        common_starts_per_byte: Places where both sides start a token, so that next-token distributions can be
            compared, per byte of text.
        student_unmatched: The student's most frequent tokens that the teacher lacks.
        teacher_unmatched: The teacher's that the student lacks.
    """

    num_documents: int
    num_refused: int
    completion_bytes: int
    covered_share: float
    num_chunks: int
    chunk_bytes: float
    student_tokens_per_chunk: float
    teacher_tokens_per_chunk: float
    single_share: float
    common_tokens: int
    student_vocabulary_share: float
    teacher_vocabulary_share: float
    student_realised_share: float
    teacher_realised_share: float
    common_starts_per_byte: float
    student_unmatched: tuple[UnmatchedToken, ...]
    teacher_unmatched: tuple[UnmatchedToken, ...]

    def text(self) -> str:
        """The report for people."""
        lines = [
            f"{self.num_documents} documents paired, {self.num_refused} refused; {self.covered_share:.2%} of "
            f"{self.completion_bytes:,} completion bytes lie in {self.num_chunks:,} common chunks",
            f"a chunk: {self.chunk_bytes:.2f} bytes, {self.student_tokens_per_chunk:.3f} tokens of the student, "
            f"{self.teacher_tokens_per_chunk:.3f} of the teacher; {self.single_share:.1%} are one token on both sides",
            f"common tokens: {self.common_tokens:,}, {self.student_vocabulary_share:.1%} of the student's vocabulary "
            f"and {self.teacher_vocabulary_share:.1%} of the teacher's; in the text {self.student_realised_share:.1%} "
            f"of the student's tokens and {self.teacher_realised_share:.1%} of the teacher's",
            f"distributions can be compared at {self.common_starts_per_byte:.3f} places a byte",
        ]
        for name, tokens in (("student", self.student_unmatched), ("teacher", self.teacher_unmatched)):
            shown = ", ".join(f"{token.text!r} ×{token.count}" for token in tokens) or "none"
            lines.append(f"only the {name} has: {shown}")
        return "\n".join(lines)


def _completion(document: Document) -> list[int]:
    return [token for token, flag in zip(document.token_ids, document.supervised, strict=True) if flag]


def _unmatched(counts: Counter[int], common: set[int], vocabulary: TokenBytes, most: int) -> tuple[UnmatchedToken, ...]:
    ranked = sorted(((n, token) for token, n in counts.items() if token not in common), key=lambda x: (-x[0], x[1]))
    return tuple(
        UnmatchedToken(
            token_id=token,
            text=vocabulary.roles.get(token) or vocabulary.spellings[token].decode("utf-8", errors="backslashreplace"),
            count=count,
        )
        for count, token in ranked[:most]
    )


def _single_chunks(pair: PairedDocument) -> int:
    """Chunks of one token on both sides."""
    num_chunks = pair.alignment.num_chunks
    ones = [np.bincount(chunk, minlength=num_chunks) == 1 for chunk in (pair.alignment.chunk_A, pair.alignment.chunk_B)]
    return int((ones[0] & ones[1]).sum())


def measure_coverage(
    table: PairTable, student: TokenBytes, teacher: TokenBytes, common: VocabularyMap, *, num_unmatched: int = 12
) -> CoverageReport:
    """Count what the two tokenizers have in common over a table of documents.

    Args:
        table: Paired documents, at least one.
        student: The student's vocabulary.
        common: Their common tokens.
        num_unmatched: How many unmatched tokens to name on each side.
    """
    ours: Counter[int] = Counter()
    theirs: Counter[int] = Counter()
    num_chunks = num_text_chunks = single = num_bytes = 0
    for pair in table.pairs.values():
        ours.update(_completion(pair.student))
        theirs.update(_completion(pair.teacher))
        num_chunks += pair.alignment.num_chunks
        num_text_chunks += int((pair.alignment.bytes_K > 0).sum())
        single += _single_chunks(pair)
        num_bytes += pair.num_bytes
    all_bytes = num_bytes + table.refused_bytes
    our_common, their_common = set(common.student_M.tolist()), set(common.teacher_M.tolist())
    return CoverageReport(
        num_documents=len(table.pairs),
        num_refused=len(table.refused),
        completion_bytes=all_bytes,
        covered_share=num_bytes / max(all_bytes, 1),
        num_chunks=num_chunks,
        chunk_bytes=num_bytes / max(num_text_chunks, 1),
        student_tokens_per_chunk=ours.total() / max(num_chunks, 1),
        teacher_tokens_per_chunk=theirs.total() / max(num_chunks, 1),
        single_share=single / max(num_chunks, 1),
        common_tokens=common.num_tokens,
        student_vocabulary_share=common.num_tokens / len(student.spellings),
        teacher_vocabulary_share=common.num_tokens / len(teacher.spellings),
        student_realised_share=sum(n for t, n in ours.items() if t in our_common) / max(ours.total(), 1),
        teacher_realised_share=sum(n for t, n in theirs.items() if t in their_common) / max(theirs.total(), 1),
        common_starts_per_byte=num_chunks / max(num_bytes, 1),
        student_unmatched=_unmatched(ours, our_common, student, num_unmatched),
        teacher_unmatched=_unmatched(theirs, their_common, teacher, num_unmatched),
    )
