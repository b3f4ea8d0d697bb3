"""What a training run is told, and the learning rate it follows.

In: a :class:`TrainConfig`. Out: the learning rate of any step. Progress counts steps, never seconds, so a run that was
killed and resumed, or ran on a slower machine, follows the same curve.
"""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, model_validator

from spiritsafe.core.records import Record, omit_default

ComputeDtype = Literal["auto", "float32", "bfloat16"]
ParallelMode = Literal["auto", "ddp", "fsdp"]
CompileWish = Literal["auto"] | bool
MomentsFormat = Literal["float32", "8bit"]

SITTING_FIELDS = frozenset(
    {"checkpoint_every_steps", "checkpoint_every_s", "checkpoint_max_share", "checkpoint_file_bytes", "eval_every"}
)
"""What may change between sittings of one run: it says when to write or look, and changes nothing that is computed."""


class TrainSettings(Record):
    """What has a default that suits every model.

    Attributes:
        max_steps: Stop after so many updates.
        max_epochs: Stop after so many passes over the documents.
        max_tokens: Stop with the step that reaches so many tokens. The nearest of the three limits holds.
        warmup_share: Share of all steps over which the rate rises from zero.
        warmup_steps: The same as a number of steps; give one of the two.
        floor_share: Where the cosine ends, as a share of ``learning_rate``; 1 keeps the rate constant.
        weight_decay: Decoupled (AdamW, arXiv 1711.05101), on matrices only.
        betas: Of AdamW: how much of the running mean of gradients, and of their squares, a step keeps.
        eps: Of AdamW: added to the root of the second.
        max_grad_norm: The gradient is scaled down to this norm; where a program says None, never.
        seed: Of the order of documents.
        compute_dtype: Of weights and activations. "auto": bfloat16 where the processor multiplies it fast, else
            float32. Master weights and gradients are float32 always.
        moments: Of AdamW's two moments. "8bit": a byte and 1/64 a number instead of 4, for matrices with rows of 256
            numbers or more; it needs the extra ``quant``. A weight in training then takes 10 bytes instead of 16.
        checkpoint_every_steps: Write a checkpoint after each so many steps.
        checkpoint_every_s: Write one when the last is at least so many seconds old. It changes where a killed run
            resumes, not what it computes. A program that says None twice has no checkpoints.
        checkpoint_max_share: Most of the time that writing by the clock may take, measured by the last one: where a
            checkpoint takes 100 s, the next is begun 2,000 s after it. Training goes on meanwhile.
        checkpoint_file_bytes: A state of up to so many bytes is one file, ``state.pt``; a larger one, and one that
            ``fsdp`` spreads, is a folder to which each process writes its own.
        eval_every: Call the evaluation after each so many steps, and after the last; None only after the last.
        parallel: How the processes that torchrun started share the work. "ddp": each holds the whole model; "fsdp":
            each holds its rows of the blocks; "auto": ddp under torchrun, and in a recipe fsdp where one device cannot
            hold all. It changes nothing but rounding.
        compile: Whether ``torch.compile`` fuses the layers of a model that runs here. "auto": on a GPU, where its
            compiler works. It changes nothing but rounding.
    """

    max_steps: int | None = Field(default=None, ge=1)
    max_epochs: int | None = Field(default=None, ge=1)
    max_tokens: int | None = Field(default=None, ge=1)
    warmup_share: float = Field(default=0.05, ge=0.0, le=1.0)
    warmup_steps: int | None = Field(default=None, ge=0)
    floor_share: float = Field(default=0.1, ge=0.0, le=1.0)
    weight_decay: float = Field(default=0.01, ge=0.0)
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = Field(default=1e-8, gt=0.0)
    max_grad_norm: float | None = Field(default=1.0, gt=0.0)
    seed: int = Field(default=0, ge=0)
    compute_dtype: ComputeDtype = "auto"
    moments: MomentsFormat = omit_default("float32")
    checkpoint_every_steps: int | None = Field(default=None, ge=1)
    checkpoint_every_s: float | None = Field(default=60.0, gt=0.0)
    checkpoint_max_share: float = omit_default(0.05, gt=0.0, le=1.0)
    checkpoint_file_bytes: int = omit_default(4_000_000_000, ge=0)
    eval_every: int | None = Field(default=None, ge=1)
    parallel: ParallelMode = "auto"
    compile: CompileWish = omit_default("auto")

    @model_validator(mode="after")
    def _settings_fit(self) -> Self:
        if self.warmup_steps is not None and self.warmup_share != type(self).model_fields["warmup_share"].default:
            raise ValueError("give warmup_steps or warmup_share, not both")
        if not all(0.0 <= beta < 1.0 for beta in self.betas):
            raise ValueError(f"betas must be in [0, 1), not {self.betas}")
        return self

    @property
    def is_limited(self) -> bool:
        """Whether it says where a run ends."""
        return not (self.max_steps is None and self.max_epochs is None and self.max_tokens is None)


class TrainConfig(TrainSettings):
    """How to train. Times, batches and limits are in tokens and steps.

    Attributes:
        learning_rate: At its peak, after warm-up.
        tokens_per_step: Tokens (prompts included) that one update aims at; steps of an epoch are made even, so that
            none is a small remainder.
        micro_batch_tokens: Most tokens in memory at once; a step is as many micro-batches as it needs. The update does
            not depend on it, beyond rounding.
    """

    learning_rate: float = Field(gt=0.0)
    tokens_per_step: int = Field(ge=1)
    micro_batch_tokens: int = Field(ge=1)

    @model_validator(mode="after")
    def _knows_its_end(self) -> Self:
        if not self.is_limited:
            raise ValueError("give max_steps, max_epochs or max_tokens: a run must know where it ends")
        return self


def num_warmup_steps(config: TrainConfig, num_steps: int) -> int:
    """Steps of warm-up in a run of ``num_steps``."""
    wanted = config.warmup_steps if config.warmup_steps is not None else round(config.warmup_share * num_steps)
    return min(wanted, num_steps)


def learning_rate_at(config: TrainConfig, step: int, num_steps: int) -> float:
    """The rate of update ``step`` (from 0) of ``num_steps``: linear warm-up, then half a cosine down to the floor.

    The last warm-up step runs at the peak, the last step of all at the floor.
    """
    warmup = num_warmup_steps(config, num_steps)
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = (step - warmup + 1) / (num_steps - warmup)
    floor = config.floor_share
    return config.learning_rate * (floor + (1.0 - floor) * 0.5 * (1.0 + math.cos(math.pi * progress)))
