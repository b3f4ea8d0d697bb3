from __future__ import annotations

import json
from pathlib import Path

import gguf
import pytest
import tiny_gguf
from fidelity_parts import write_model
from llama_cpp import needs_llama_cpp

from spiritsafe.models.gguf.convert import convert_gguf, write_gguf_config
from spiritsafe.models.gguf.write import write_gguf
from spiritsafe.models.llama_cpp.fidelity.records import TokenFidelity
from spiritsafe.models.llama_cpp.fidelity.tokens import compare_tokens
from spiritsafe.models.llama_cpp.process import LlamaProcess

pytestmark = needs_llama_cpp


def compared(directory: Path, file: Path, header: Path, **options: int) -> TokenFidelity:
    header.mkdir()
    write_gguf_config(file, header)
    with LlamaProcess(file) as process:
        return compare_tokens(directory, header, process, num_texts=80, **options)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("parent") / "model")


def test_a_file_of_the_directory_tokenises_alike(directory: Path, tmp_path: Path) -> None:
    write_gguf(directory, tmp_path / "x.gguf", "q8_0")
    found = compared(directory, tmp_path / "x.gguf", tmp_path / "header")
    assert (found.num_different, found.first, found.missing) == (0, (), "")
    assert found.num_texts > 170
    assert found.num_conversations == 24
    assert set(found.parent_ends) == set(found.header_ends)


def test_characters_that_the_vocabulary_cannot_spell_are_left_out_and_named(directory: Path, tmp_path: Path) -> None:
    """The libraries themselves differ on them: one merges across what it drops, the other does not."""
    hole = tmp_path / "hole"
    hole.mkdir()
    for path in directory.iterdir():
        (hole / path.name).write_bytes(path.read_bytes())
    content = json.loads((hole / "tokenizer.json").read_text())
    vocabulary = content["model"]["vocab"]
    vocabulary["unused"] = vocabulary.pop("ć")  # the byte 7
    (hole / "tokenizer.json").write_text(json.dumps(content))
    write_gguf(directory, tmp_path / "x.gguf", "q8_0")
    found = compared(hole, tmp_path / "x.gguf", tmp_path / "header")
    assert found.missing == "\x07"
    assert found.num_different == 0


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"pre": "gpt-2"}, "digits"),  # what cuts digits apart is lost: the known fault of many published files
        ({"type": 1}, "special"),  # a special token that is stored as a word: its name is not obeyed
    ],
)
def test_a_file_that_tokenises_otherwise_names_the_text(
    change: dict[str, str | int], what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiny_gguf, "WORDS", (*tiny_gguf.WORDS, ("1", "2")))
    tiny_gguf.write_gguf(tmp_path / "good.gguf")
    (tmp_path / "model").mkdir()
    convert_gguf(tmp_path / "good.gguf", tmp_path / "model")
    bad = tmp_path / "bad.gguf"
    if "pre" in change:
        tiny_gguf.write_gguf(bad, pre=str(change["pre"]))
    else:
        plain = gguf.GGUFWriter.add_token_types
        monkeypatch.setattr(gguf.GGUFWriter, "add_token_types", lambda self, kinds: plain(self, [3, 1, 3, *kinds[3:]]))
        tiny_gguf.write_gguf(bad)
    found = compared(tmp_path / "model", bad, tmp_path / "header")
    assert found.num_different > 0
    first = found.first[0]
    assert any(mark in first.text for mark in ("12", "٣٤", *tiny_gguf.SPECIAL)), what
    assert first.parent != first.llama_cpp or first.parent != first.header
    assert len(found.first) <= 5
