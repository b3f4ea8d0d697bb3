from __future__ import annotations

from pathlib import Path

import pytest
from gguf_models import byte_level, model_with, sentencepiece
from tiny_gguf import vocabulary, write_gguf
from transformers import AutoTokenizer

from spiritsafe.core.errors import SourceError
from spiritsafe.models.gguf.reader import GGUFFile
from spiritsafe.models.gguf.tokenizer.read import write_tokenizer
from spiritsafe.models.gguf.tokenizer.splits import SPLITS
from spiritsafe.models.gguf.write import write_gguf as write_our_gguf


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


def test_a_vocabulary_of_pieces_that_contradicts_itself_is_refused(tmp_path: Path) -> None:
    model_with(tmp_path / "x", sentencepiece("prepend"))
    write_our_gguf(tmp_path / "x", tmp_path / "x.gguf", "f16")
    (tmp_path / "y").mkdir()
    with GGUFFile(tmp_path / "x.gguf") as file:
        tokens = file.metadata["tokenizer.ggml.tokens"]
        for key, value, what in (
            ("tokenizer.ggml.scores", [0.0], "1 scores"),
            ("tokenizer.ggml.tokens", [f"x{token}" for token in tokens], "<0x00>"),
            ("tokenizer.ggml.add_space_prefix", 1, "add_space_prefix"),
            ("spiritsafe.tokenizer.space_prefix", "often", "'often'"),
            ("spiritsafe.tokenizer.merge_order", "random", "'random'"),
            ("spiritsafe.tokenizer.outside_vocabulary", [10**6], "outside_vocabulary"),
            ("spiritsafe.tokenizer.outside_vocabulary", 5, "outside_vocabulary"),
            ("spiritsafe.generation.eos_token_ids", [], "eos_token_ids"),
            ("spiritsafe.chat_options", '{"date": 3}', "chat_options"),
        ):
            kept = file.metadata.copy()
            file.metadata[key] = value
            with pytest.raises(SourceError, match=what):
                write_tokenizer(file, tmp_path / "y", max_length=64)
            file.metadata = kept


def test_llama_cpps_own_defaults_stand_where_a_file_says_nothing(tmp_path: Path) -> None:
    for name, tokenizer in {
        "pieces": sentencepiece("prepend"),
        "llama": byte_level(SPLITS["llama-bpe"], inside=False, bos=True),
    }.items():
        model_with(tmp_path / name, tokenizer)
        write_our_gguf(tmp_path / name, tmp_path / f"{name}.gguf", "f16")
        with GGUFFile(tmp_path / f"{name}.gguf") as file:
            for key in ("add_bos_token", "add_eos_token", "add_space_prefix"):
                file.metadata.pop(f"tokenizer.ggml.{key}", None)
            write_tokenizer(file, tmp_path / name, max_length=64)
        assert AutoTokenizer.from_pretrained(tmp_path / name).encode("the cat") == tokenizer.encode("the cat").ids
