from __future__ import annotations

import json
from pathlib import Path

import pytest

from spiritsafe.core.errors import SourceError
from spiritsafe.models.interface.tokenizer_files import (
    generation_settings,
    load_tokenizer,
    stated_ends,
    vocabulary_fingerprint,
)


@pytest.mark.parametrize(("stated", "ends"), [(None, []), (7, [7]), ([7, -1, 9], [7, 9]), ([], [])])
def test_ends_are_those_stated(stated: object, ends: list[int], tmp_path: Path) -> None:
    assert stated_ends(tmp_path) == []
    (tmp_path / "generation_config.json").write_text(json.dumps({"eos_token_id": stated}))
    assert stated_ends(tmp_path) == ends


@pytest.mark.parametrize("text", ["[1]", '{"eos_token_id": "seven"}', '{"eos_token_id": [true]}'])
def test_what_names_no_token_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "generation_config.json").write_text(text)
    with pytest.raises(SourceError, match=r"generation_config\.json"):
        stated_ends(tmp_path)


def test_files_that_are_missing_or_damaged_are_named(tmp_path: Path) -> None:
    assert generation_settings(tmp_path) == {}
    with pytest.raises(SourceError, match=r"has no tokenizer\.json"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(SourceError, match="cannot be read"):
        load_tokenizer(tmp_path)


def test_a_vocabulary_is_the_same_however_its_merges_are_written() -> None:
    model = {"vocab": {"a": 0, "b": 1}, "merges": ["a b"]}
    one = {"model": model, "added_tokens": []}
    other = {"model": {**model, "merges": [["a", "b"]]}, "added_tokens": []}
    assert vocabulary_fingerprint(one) == vocabulary_fingerprint(other)
    assert vocabulary_fingerprint(one) != vocabulary_fingerprint({**one, "added_tokens": [{"id": 2, "content": "c"}]})
