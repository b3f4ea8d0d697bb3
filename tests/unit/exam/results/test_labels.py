from __future__ import annotations

from pathlib import Path

import pytest
from exam_parts import ToyModel, make_stage
from places import TESTS

from spiritsafe.exam import PaperTerms, full_labels, load_certificate
from spiritsafe.ledger import KeyPair

PUBLISHED = TESTS / "golden" / "certificates"


def test_sentences_of_records_are_shown_with_whole_ids(tmp_path: Path) -> None:
    rita = KeyPair.generate("Rita Recipient").public
    stage = make_stage(tmp_path, count=8, terms=PaperTerms(recipients=(rita,)))
    certificate = stage.certificate(ToyModel())
    said = next(text for text in certificate.statements if "Rita" in text)
    assert said.endswith(f"by: {rita.recorded_label}.")
    assert len(rita.key_id) == 32
    shown = full_labels([said, "nothing of it"], certificate)
    assert shown == [said.replace(rita.recorded_label, rita.label), "nothing of it"]
    assert rita.label == f"Rita Recipient (key {rita.key_id})"


def test_whoever_disputed_a_grade_is_shown_so_too() -> None:
    certificate = load_certificate(PUBLISHED / "reissued.certificate.json")
    edited = next(text for text in certificate.statements if text.startswith("Edited: "))
    shown = full_labels([edited], certificate)[0]
    assert shown != edited
    assert shown.count("(key ") == edited.count("(key ") == 2
    assert len(shown) == len(edited) + 2 * 16


def test_two_keys_that_share_half_an_id_are_both_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("spiritsafe.ledger.records.key_id_of", lambda signing: "ab" * 8 + signing[:16])
    first, second = KeyPair.generate("Rita").public, KeyPair.generate("Rita").public
    assert first.recorded_label == second.recorded_label
    stage = make_stage(tmp_path, count=8, terms=PaperTerms(recipients=(first, second)))
    certificate = stage.certificate(ToyModel())
    shown = full_labels([f"Opened by {first.recorded_label}."], certificate)
    assert shown == [f"Opened by {first.label} or {second.label}."]
