from __future__ import annotations

import json
from pathlib import Path

import pytest
from across_parts import byte_level, chat_of, sentence_piece, tiny_chat

from spiritsafe.core.records import Message
from spiritsafe.distil.cross_tokenizer.coverage import CoverageReport, measure_coverage
from spiritsafe.distil.cross_tokenizer.pairing import pair_conversations
from spiritsafe.distil.cross_tokenizer.spans import TokenBytes
from spiritsafe.distil.cross_tokenizer.vocabulary import map_vocabularies

USER = (Message(role="user", content="?"),)


def test_the_counts_of_a_case_that_can_be_counted_by_hand(tmp_path: Path) -> None:
    student, teacher = tiny_chat(tmp_path / "a"), chat_of(tmp_path / "b", sentence_piece())
    ours, theirs = TokenBytes.of_chat(student), TokenBytes.of_chat(teacher)
    table = pair_conversations([(USER, "the é"), (USER, "x▁x")], student=student, teacher=teacher)
    report = measure_coverage(table, ours, theirs, map_vocabularies(ours, theirs))
    # "the é": bytes t h e ␣ é é END against the ␣ é é END
    assert (report.num_documents, report.num_refused) == (1, 1)
    assert report.completion_bytes == 6 + 5
    assert report.covered_share == pytest.approx(6 / 11)
    assert report.num_chunks == 5
    assert report.chunk_bytes == pytest.approx(6 / 4)
    assert report.student_tokens_per_chunk == pytest.approx(7 / 5)
    assert report.teacher_tokens_per_chunk == pytest.approx(5 / 5)
    assert report.single_share == pytest.approx(4 / 5)
    assert report.student_realised_share == 1.0
    assert report.teacher_realised_share == pytest.approx(4 / 5)
    assert report.common_starts_per_byte == pytest.approx(5 / 6)
    assert [(token.text, token.count) for token in report.teacher_unmatched] == [("the", 1)]
    assert report.student_unmatched == ()
    assert report.common_tokens == 257  # every byte and the end


def test_it_reads_as_text_and_as_json(tmp_path: Path) -> None:
    student, teacher = tiny_chat(tmp_path / "a"), chat_of(tmp_path / "b", byte_level(400))
    ours, theirs = TokenBytes.of_chat(student), TokenBytes.of_chat(teacher)
    table = pair_conversations([(USER, "the answer is 1234")], student=student, teacher=teacher)
    report = measure_coverage(table, ours, theirs, map_vocabularies(ours, theirs), num_unmatched=2)
    assert CoverageReport.from_json(json.loads(json.dumps(report.to_json()))) == report
    text = report.text()
    assert "1 documents paired, 0 refused; 100.00% of 18 completion bytes" in text
    assert "only the teacher has: " in text
    assert len(report.teacher_unmatched) == 2
