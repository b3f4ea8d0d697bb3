"""Distilling across tokenizers and families: byte-aligned chunk likelihoods (ALM, arXiv 2503.20083).

In: a teacher and a student whose tokenizers differ, and conversations. Out: gradients in the student's parameters, and
a report of how much of the text the two tokenizers see alike. The way through this package::

    table = pair_conversations(conversations, student=student.chat, teacher=teacher.chat)   # once
    objective = AcrossTokenizersObjective(LiveChunkTeacher(teacher.model), table, AcrossMix(chunk=1.0, ce=0.5))
    train(student.model, table.documents(), objective, config, directory=directory)
"""

from __future__ import annotations

from spiritsafe.distil.cross_tokenizer.alignment import Alignment, align
from spiritsafe.distil.cross_tokenizer.coverage import CoverageReport, UnmatchedToken, measure_coverage
from spiritsafe.distil.cross_tokenizer.divergence import ChunkDistance, chunk_divergence
from spiritsafe.distil.cross_tokenizer.head import AcrossMix, AcrossResult, ChunkRows, Debias, OneToOne, across_head
from spiritsafe.distil.cross_tokenizer.objective import AcrossTokenizersObjective
from spiritsafe.distil.cross_tokenizer.pairing import PairedDocument, PairTable, pair_conversations, pair_documents
from spiritsafe.distil.cross_tokenizer.scores_file import (
    CachedChunkTeacher,
    ScoresHeader,
    capture_scores,
    capture_scores_from,
    scores_header,
)
from spiritsafe.distil.cross_tokenizer.spans import END_ROLE, TokenBytes, token_bytes
from spiritsafe.distil.cross_tokenizer.teachers import ChunkScores, ChunkTeacher, LiveChunkTeacher, TokenScores
from spiritsafe.distil.cross_tokenizer.vocabulary import (
    BoundaryTokens,
    VocabularyMap,
    boundary_tokens,
    map_vocabularies,
)

__all__ = [
    "END_ROLE", "AcrossMix", "AcrossResult", "AcrossTokenizersObjective", "Alignment", "BoundaryTokens",
    "CachedChunkTeacher", "ChunkDistance", "ChunkRows", "ChunkScores", "ChunkTeacher", "CoverageReport", "Debias",
    "LiveChunkTeacher", "OneToOne", "PairTable", "PairedDocument", "ScoresHeader", "TokenBytes", "TokenScores",
    "UnmatchedToken", "VocabularyMap", "across_head", "align", "boundary_tokens", "capture_scores",
    "capture_scores_from", "chunk_divergence", "map_vocabularies", "measure_coverage", "pair_conversations",
    "pair_documents", "scores_header", "token_bytes",
]  # fmt: skip
