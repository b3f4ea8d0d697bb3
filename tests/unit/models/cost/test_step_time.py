from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from foreign_models import write_foreign
from torch.utils.flop_counter import FlopCounterMode

from spiritsafe.models.cost.step_time import (
    MachineRates,
    Work,
    measure_decoding,
    measure_machine,
    sampling_work,
    scoring_work,
    training_work,
)
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import Document, pack_documents
from spiritsafe.models.lora.adapters import add_lora
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.models.transformers_backend.sizes import read_model_config, size_of
from spiritsafe.training import TracesObjective

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}
LENGTH, COUNT = 24, 5
TOKENS, ROWS = LENGTH * COUNT, COUNT * (LENGTH - 8)


def training(**more: Any) -> Work:
    settings: dict[str, Any] = {
        "num_tokens": TOKENS,
        "num_supervised": ROWS,
        "document_tokens": LENGTH,
        "num_steps": 1,
        "num_micro_batches": 1,
    }
    return training_work(CONFIG, **(settings | more))


def counted(model: Decoder, *, checkpointing: bool = False) -> dict[str, int]:
    model.activation_checkpointing = checkpointing
    flags = (False,) * 8 + (True,) * (LENGTH - 8)
    batch = pack_documents([Document(token_ids=(5,) * LENGTH, supervised=flags)] * COUNT)
    with FlopCounterMode(display=False) as counter:
        TracesObjective()(model, batch, float(ROWS))
    return {str(op): count for op, count in counter.get_flop_counts()["Global"].items()}


@pytest.mark.parametrize("checkpointing", [False, True])
def test_products_of_a_training_step_are_what_torch_counts(checkpointing: bool) -> None:
    model = Decoder(DecoderConfig.from_hf(CONFIG))
    found = counted(model, checkpointing=checkpointing)
    products = sum(count for op, count in found.items() if "mm" in op)
    products += 2 * ROWS * 64 * 300  # the head adds its weight gradient in place (addmm_), which torch does not count
    expected = training(checkpointing=checkpointing).flops
    assert expected == pytest.approx(products, rel=1e-9)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_adapters_spare_the_gradients_of_weights(checkpointing: bool) -> None:
    lora = LoraConfig(rank=4)
    model = Decoder(DecoderConfig.from_hf(CONFIG))
    add_lora(model, lora)
    products = sum(count for op, count in counted(model, checkpointing=checkpointing).items() if "mm" in op)
    # what is added in place (addmm_) torch does not count
    widths = {"q": (64, 64), "k": (64, 32), "v": (64, 32), "o": (64, 64), "gate": (64, 96), "up": (64, 96)}
    widths["down"] = (96, 64)
    into, out = (sum(3 * pair[place] for pair in widths.values()) for place in (0, 1))
    first = 3 * 64  # of q, k and v of the first block, whose input has no gradient
    in_place = out * (1 + checkpointing) + into - first  # forwards; what A gives to the input's gradient
    products += 2 * TOKENS * lora.rank * in_place
    expected = training(checkpointing=checkpointing, lora=lora).flops
    assert expected == pytest.approx(products, rel=1e-9)


def test_a_base_in_codes_is_decoded_in_each_pass() -> None:
    lora, blocks = LoraConfig(rank=4), 3 * (64 * 64 * 2 + 64 * 32 * 2 + 3 * 64 * 96)
    twice = training(lora=lora, base="4bit", num_micro_batches=5)
    assert twice.decoded == {"4bit": 2.0 * 5 * blocks}
    both = twice + training(lora=lora, base="8bit", checkpointing=True)
    assert both.decoded == {"4bit": 2.0 * 5 * blocks, "8bit": 3.0 * blocks}
    rates = MachineRates(device="cpu", dtype="fp32", flops_per_s=1e30, attention_flops_per_s=1e30, bytes_per_s=1e30)
    assert rates.seconds(both) == pytest.approx(
        2.0 * 5 * blocks / measure_decoding("4bit", "cpu") + 3.0 * blocks / measure_decoding("8bit", "cpu")
    )


def test_attention_is_causal_half_of_the_square() -> None:
    more = training().attention_flops
    # forward and backward of scores and of values: 3 passes, 2 products, 2 operations, S * W = 64, 3 layers
    assert more == pytest.approx(3 * 2 * 2 * TOKENS * (LENGTH / 2) * 64 * 3)
    windowed = CONFIG | {"model_type": "mistral", "sliding_window": 4}
    far, near = (
        scoring_work(c, num_tokens=100, num_rows=0, document_tokens=200, num_passes=1).attention_flops
        for c in (CONFIG | {"model_type": "mistral", "sliding_window": None}, windowed)
    )
    assert near < far


def test_reading_is_a_third_of_training_and_logits_count_by_row() -> None:
    body = scoring_work(CONFIG, num_tokens=TOKENS, num_rows=0, document_tokens=LENGTH, num_passes=1)
    assert training(num_supervised=0).flops == pytest.approx(3 * body.flops)
    head = scoring_work(CONFIG, num_tokens=TOKENS, num_rows=10, document_tokens=LENGTH, num_passes=1).flops - body.flops
    assert head == pytest.approx(2 * 10 * 64 * 300)


def test_sampling_in_batches_reads_the_weights_less_often() -> None:
    def work(batch: int) -> Work:
        return sampling_work(CONFIG, num_sequences=32, prompt_tokens=10, new_tokens=20, batch=batch)

    alone, together = work(1), work(32)
    assert alone.flops == pytest.approx(together.flops)
    weights = 4.0 * DecoderConfig.from_hf(CONFIG).num_parameters
    assert alone.num_bytes - together.num_bytes == pytest.approx(31 * (20 + 1) * weights)


def test_seconds_are_products_and_traffic() -> None:
    rates = MachineRates(device="cpu", dtype="fp32", flops_per_s=100.0, attention_flops_per_s=20.0, bytes_per_s=10.0)
    work = Work(flops=200.0, num_bytes=30.0) + Work(flops=100.0, attention_flops=40.0)
    assert rates.seconds(work) == pytest.approx(8.0)
    assert training(num_steps=2).num_bytes > training().num_bytes
    assert training(num_micro_batches=4).num_bytes > training().num_bytes


def test_adapters_on_what_transformers_runs_spare_gradients_and_updates(tmp_path: Path) -> None:
    config = read_model_config(write_foreign(tmp_path, "phi3"))
    settings: dict[str, Any] = {
        "num_tokens": 1000, "num_supervised": 500, "document_tokens": 50.0, "num_steps": 4, "num_micro_batches": 8,
    }  # fmt: skip
    whole = training_work(config, **settings)
    adapted = training_work(config, **settings, lora=LoraConfig(rank=1))
    assert 3 * adapted.flops == pytest.approx(2 * whole.flops)
    assert adapted.num_bytes < 0.5 * whole.num_bytes
    assert adapted.num_bytes > 8 * 2 * 4 * size_of(config).num_parameters  # the frozen weights are read twice


def test_the_machine_is_measured_once_and_quickly() -> None:
    measure_machine.cache_clear()
    started = time.process_time()
    rates = measure_machine()
    assert time.process_time() - started < 4.0  # several threads may share the work
    assert rates.flops_per_s > 1e8
    assert rates.attention_flops_per_s > 1e7
    assert rates.bytes_per_s > 1e8
    assert measure_machine() is rates
    # an independent look at the same product: the measured rate is one that this machine reaches
    size = 512
    matrix = torch.ones(size, size)
    best = min(_seconds(matrix) for _ in range(5))
    assert 2 * size**3 / best < 20 * rates.flops_per_s


def _seconds(matrix: torch.Tensor) -> float:
    before = time.perf_counter()
    torch.mm(matrix, matrix)
    return time.perf_counter() - before
