from __future__ import annotations

from pathlib import Path

import pytest
from tiny_gguf import vocabulary, write_gguf
from transformers import AutoTokenizer

from spiritsafe.core.errors import SourceError
from spiritsafe.models.gguf.reader import GGUFFile
from spiritsafe.models.gguf.tokenizer.read import write_tokenizer


def load(tmp_path: Path, **kwargs: object) -> AutoTokenizer:
    write_gguf(tmp_path / "x.gguf", **kwargs)  # type: ignore[arg-type]
    with GGUFFile(tmp_path / "x.gguf") as file:
        ids = write_tokenizer(file, tmp_path, max_length=256)
    assert ids == {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 2}
    return AutoTokenizer.from_pretrained(tmp_path)


def test_transformers_loads_it_with_ends_and_template(tmp_path: Path) -> None:
    tokenizer = load(tmp_path)
    assert (tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.model_max_length) == (2, 2, 256)
    text = tokenizer.apply_chat_template([{"role": "user", "content": "hello"}], tokenize=False)
    assert text == "<|im_start|>user\nhello<|im_end|>\n"
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert ids[0] == 1
    assert vocabulary().index("hello") in ids
    assert tokenizer.decode(ids) == text


def test_smollm_splits_digits_before_spaces(tmp_path: Path) -> None:
    # Two spaces before a digit stay together: the digit was split off first.
    tokens = load(tmp_path).tokenize("a  1")
    assert tokens == ["a", "ĠĠ", "1"]


def test_gpt2_gives_the_last_space_to_the_number(tmp_path: Path) -> None:
    assert load(tmp_path, pre="gpt-2").tokenize("a  1") == ["a", "Ġ", "Ġ", "1"]


@pytest.mark.parametrize("pre", ["smollm", "gpt-2", "llama-bpe", "qwen2"])
def test_any_text_survives_the_round_trip(pre: str, tmp_path: Path) -> None:
    tokenizer = load(tmp_path, pre=pre)
    for text in ("", " ", "hello  wörld\n\n\t12,345.6", "日本語 🎉👩‍👩‍👧 <|im_end> '\"\\", "\r\n a\x00b"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_a_bos_token_is_added_only_where_the_file_says_so(tmp_path: Path) -> None:
    tokenizer = load(tmp_path)
    assert tokenizer.encode("hello")[0] != 1


def test_a_vocabulary_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    write_gguf(tmp_path / "x.gguf")
    with GGUFFile(tmp_path / "x.gguf") as file:
        for key, value, what in (
            ("tokenizer.ggml.merges", ["no way"], "no way"),
            ("tokenizer.ggml.eos_token_id", 10**6, "eos_token_id"),
            ("tokenizer.ggml.token_type", [1], "token types"),
        ):
            kept = file.metadata[key]
            file.metadata[key] = value
            with pytest.raises(SourceError, match=what):
                write_tokenizer(file, tmp_path, max_length=256)
            file.metadata[key] = kept
        del file.metadata["tokenizer.ggml.eos_token_id"]
        with pytest.raises(SourceError, match="end token"):
            write_tokenizer(file, tmp_path, max_length=256)
