from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fidelity_parts import write_model
from llama_cpp import needs_llama_cpp
from torch.nn import functional
from transformers import AutoModelForCausalLM

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.gguf.write import write_gguf
from spiritsafe.models.llama_cpp.fidelity.logits import compare_greedy, compare_logits
from spiritsafe.models.llama_cpp.process import LlamaProcess
from spiritsafe.models.transformers_backend.loading import load_decoder

pytestmark = needs_llama_cpp

DRAW = np.random.default_rng(2)
DOCUMENTS = [DRAW.integers(0, 270, length).tolist() for length in (3, 70, 1, 20)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Granite, whose logits are scaled, with files of two types; and another model's file."""
    folder = tmp_path_factory.mktemp("fidelity")
    write_model(folder / "model", "granite")
    for kind in ("f32", "q4_0"):
        write_gguf(folder / "model", folder / f"{kind}.gguf", kind)
    write_gguf(write_model(folder / "other", "granite", seed=2), folder / "other.gguf", "f32")
    return folder


def test_divergence_and_agreement_are_those_of_torch_over_transformers_logits(folder: Path) -> None:
    model = load_decoder(folder / "model", dtype=torch.float32)
    peer = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32).eval()
    done: list[int] = []
    kl, same = [], []
    with LlamaProcess(folder / "q4_0.gguf") as process:
        found = compare_logits(model, process, [*DOCUMENTS, []], advance=lambda: done.append(1))
        for ids in DOCUMENTS:
            with torch.no_grad():
                p_TV = peer(torch.tensor([ids])).logits[0].double().log_softmax(-1)
            q_TV = torch.from_numpy(process.logits(ids)).double().log_softmax(-1)
            kl.append(functional.kl_div(q_TV, p_TV, reduction="none", log_target=True).sum(-1))
            same.append((p_TV.argmax(-1) == q_TV.argmax(-1)).double())
    assert (found.num_documents, found.num_tokens, len(done)) == (4, 94, 4)
    assert found.kl.value == pytest.approx(float(torch.cat(kl).mean()), rel=1e-4)
    assert found.largest_kl == pytest.approx(float(torch.cat(kl).max()), rel=1e-4)
    assert found.agreement.value == float(torch.cat(same).mean())
    assert 0.0 < found.kl.low < found.kl.value < found.kl.high
    assert (found.kl.n, found.agreement.value < 1.0) == (4, True)  # clusters are documents


def test_a_greedy_answer_is_the_parents_or_its_difference_is_named(folder: Path) -> None:
    model = load_decoder(folder / "model", dtype=torch.float32)
    peer = AutoModelForCausalLM.from_pretrained(folder / "model", dtype=torch.float32).eval()
    prompts = [DOCUMENTS[0], DOCUMENTS[3]]
    with torch.no_grad():
        answers = [
            peer.generate(torch.tensor([p]), max_new_tokens=24, do_sample=False, eos_token_id=None)[
                0, len(p) :
            ].tolist()
            for p in prompts
        ]
    end = answers[0][5]
    expected = [answer[: answer.index(end) + 1] if end in answer else answer for answer in answers]
    settings = {"num_tokens": 24, "advance": lambda: None}
    with LlamaProcess(folder / "f32.gguf") as process:
        found = compare_greedy(model, process, prompts, {end}, tolerance=1e-3, **settings)
    assert (found.num_different, found.num_ties) == (0, 0)
    assert found.num_tokens == sum(map(len, expected))
    with LlamaProcess(folder / "other.gguf") as process:
        other = compare_greedy(model, process, prompts, set(), tolerance=1e-3, **settings)
        lenient = compare_greedy(model, process, prompts, set(), tolerance=1e9, **settings)
    first = other.first[0]
    assert (first.prompt, first.parent) == (0, answers[0][first.position])
    assert first.file != first.parent
    assert first.margin > 1e-3
    assert (lenient.num_different, lenient.num_ties) == (0, other.num_different + other.num_ties)


def test_too_little_and_another_vocabulary_are_refused(folder: Path, tmp_path: Path) -> None:
    model = load_decoder(folder / "model", dtype=torch.float32)
    write_gguf(write_model(tmp_path / "wide", "granite", vocab_size=512), tmp_path / "wide.gguf", "q4_0")
    with LlamaProcess(tmp_path / "wide.gguf") as process:
        with pytest.raises(CompatibilityError, match="1 documents give a mean"):
            compare_logits(model, process, [DOCUMENTS[0], []], advance=lambda: None)
        with pytest.raises(CompatibilityError, match=r"file has 512 tokens, its parent \d+"):
            compare_logits(model, process, DOCUMENTS, advance=lambda: None)
