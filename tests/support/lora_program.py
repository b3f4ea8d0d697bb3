"""What tests of adapters run in processes of their own.

``pair DIRECTORY``: two processes train adapters together, beside whole models and beside one that they share.
``killed DIRECTORY``: one trains, checkpoints after each second step and is killed in its sixth.
"""

from __future__ import annotations

import os
import signal
import sys
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the program is started by its path

import torch
import torch.distributed as dist
from tiny_training import counting_documents, tiny_decoder
from torch import multiprocessing

from spiritsafe.models.decoder.module import Decoder
from spiritsafe.models.interface.batch import PackedBatch
from spiritsafe.models.interface.language_model import LanguageModel
from spiritsafe.models.lora.adapters import add_lora
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.training.config import TrainConfig
from spiritsafe.training.loop import TrainResult, train
from spiritsafe.training.objective import LossResult, TracesObjective

CONFIG = TrainConfig(
    learning_rate=1e-2,
    tokens_per_step=150,
    micro_batch_tokens=60,
    max_steps=8,
    checkpoint_every_steps=2,
    checkpoint_every_s=None,
    compute_dtype="float32",
)
LORA = LoraConfig(rank=4, alpha=8.0, seed=3)
DOCUMENTS = counting_documents(40)


def adapted(lora: LoraConfig = LORA, dtype: torch.dtype = torch.float32) -> Decoder:
    """A tied two-layer model with fresh adapters."""
    model = tiny_decoder(dtype=dtype)
    add_lora(model, lora)
    return model


def run(directory: Path, model: Decoder | None = None, **changes: object) -> tuple[Decoder, TrainResult]:
    """Train in a directory, going on from what lies there."""
    model = model or adapted()
    config = TrainConfig.model_validate(CONFIG.model_dump(exclude_unset=True) | changes)
    return model, train(model, DOCUMENTS, TracesObjective(), config, directory=directory)


class KilledInStepSix(TracesObjective):
    """The same objective, for a run that ends in the middle of a step."""

    def at_step(self, step: int, num_steps: int) -> None:
        self.step = step

    def __call__(self, model: LanguageModel, batch: PackedBatch, normaliser: float) -> LossResult:
        if self.step == 5:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(model, batch, normaliser)


def both(rank: int, root: Path) -> None:
    """One of two processes."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(str(root / "store"), 2), rank=rank, world_size=2)
    for mode in ("ddp", "fsdp"):
        model, _ = run(root / mode, parallel=mode)
        if rank == 0:
            torch.save(dict(model.named_parameters()), root / f"{mode}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    what, place = sys.argv[1], Path(sys.argv[2])
    if what == "pair":
        multiprocessing.start_processes(partial(both, root=place), nprocs=2, start_method="fork")
    else:
        train(adapted(), DOCUMENTS, KilledInStepSix(), CONFIG, directory=place)
