"""The peer's side of ``bench/grpo/run.py``: TRL's GRPOTrainer on the same prompts, reward and settings."""

from __future__ import annotations

import itertools
import statistics
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

__all__ = ["LEARNING_RATE", "PEERS", "changed_share", "landed_peer", "make_trainer", "reward_of_text", "time_peer"]

LEARNING_RATE = 1e-6

# Left to itself it takes nine tenths of the machine's memory for its cache; this one holds 16 thousand tokens.
BATCHING: dict[str, Any] = {
    "use_transformers_continuous_batching": True,
    "transformers_continuous_batching_config": {"num_blocks": 64, "max_batch_tokens": 2048},
}
PEERS: dict[str, dict[str, Any]] = {
    "generate": {"bf16": True},
    "generate-checkpointing": {"bf16": True, "gradient_checkpointing": True},
    "generate-float32": {"bf16": False},
    "batching-float32": {"bf16": False, **BATCHING},
    # As shipped: the rollout casts the weights in training to bfloat16, where updates of 1e-6 are lost.
    "batching": {"bf16": True, **BATCHING},
}
INVALID = ("batching",)
"""Peers that do not learn what they should: timed, and not compared with."""


def reward_of_text(text: str) -> float:
    """A number in [0, 1) that no two texts share: no group is without advantage, on either side."""
    return int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest()[:4], "big") / 2**32


def make_trainer(args: Any, prompts: list[str], directory: str, **more: Any) -> Any:
    """TRL's trainer: 2 prompts × 8 samples in one micro-batch, no KL, one update a batch, no scaling of rewards.

    Args:
        args: model, num_prompts, group_size, tokens, steps, warmup, device.
        prompts: User messages, in the order of use.
        directory: For whatever the trainer writes.
        more: Fields of its configuration to add or change.
    """
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOConfig, GRPOTrainer

    tokenizer = AutoTokenizer.from_pretrained(args.model)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    settings: dict[str, Any] = {
        "output_dir": directory,
        "max_steps": args.warmup + args.steps,
        "per_device_train_batch_size": args.num_prompts * args.group_size,
        "gradient_accumulation_steps": 1,
        "num_generations": args.group_size,
        "max_completion_length": args.tokens,
        "temperature": 1.0,
        "top_p": 1.0,
        "top_k": 0,
        "beta": 0.0,
        "epsilon": 0.2,
        "epsilon_high": 0.28,
        "num_iterations": 1,
        "loss_type": "dapo",
        "scale_rewards": "none",
        "learning_rate": LEARNING_RATE,
        "lr_scheduler_type": "constant",
        "weight_decay": 0.0,
        "adam_beta1": 0.9,
        "adam_beta2": 0.999,
        "max_grad_norm": 1.0,
        "optim": "adamw_torch_fused",
        "gradient_checkpointing": False,
        "bf16": False,
        "use_cpu": args.device == "cpu",
        "shuffle_dataset": False,
        "report_to": "none",
        "save_strategy": "no",
        "logging_steps": 10**6,
        "disable_tqdm": True,
        "seed": 0,
    }

    def reward(completions: list[Any], **_: Any) -> list[float]:
        return [reward_of_text(completion[0]["content"]) for completion in completions]

    return GRPOTrainer(
        model=AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="sdpa"),
        reward_funcs=reward,
        args=GRPOConfig(**{**settings, **more}),
        train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": prompt}]} for prompt in prompts]),
        processing_class=tokenizer,
    )


def _watched(trainer: Any, name: str, spent: list[float]) -> None:
    """Add the seconds of a method's calls to the last element of ``spent``."""
    method: Callable[..., Any] = getattr(trainer, name)

    def timed(*arguments: Any, **named: Any) -> Any:
        started = time.perf_counter()
        result = method(*arguments, **named)
        spent[-1] += time.perf_counter() - started
        return result

    setattr(trainer, name, timed)


def time_peer(args: Any, prompts: list[str], mode: str) -> dict[str, Any]:
    """Seconds of each step after the first ones, and what they went into."""
    from transformers import TrainerCallback

    ends: list[float] = []
    rollout, rewards, lengths = [0.0], [0.0], [0]

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())
            for series in (rollout, rewards, lengths):
                series.append(0)

    with tempfile.TemporaryDirectory() as directory:
        trainer = make_trainer(args, prompts, directory, **PEERS[mode])
        trainer.add_callback(Clock())
        _watched(trainer, "_generate_single_turn", rollout)
        _watched(trainer, "_calculate_rewards", rewards)
        generate = trainer._generate_single_turn

        def counted(*arguments: Any, **named: Any) -> Any:
            completion_ids, logprobs = generate(*arguments, **named)
            lengths[-1] += sum(map(len, completion_ids))
            return completion_ids, logprobs

        trainer._generate_single_turn = counted
        trainer.train()
        norms = [row["grad_norm"] for row in trainer.state.log_history if "grad_norm" in row]
    kept = slice(args.warmup, args.warmup + args.steps)
    seconds = [after - before for before, after in itertools.pairwise(ends)][args.warmup - 1 :]
    drawn, scored = rollout[kept], rewards[kept]
    return {
        "seconds": seconds,
        "rollout_seconds": drawn,
        "reward_seconds": scored,
        "training_seconds": [s - d - r for s, d, r in zip(seconds, drawn, scored, strict=True)],
        "completion_tokens": lengths[kept],
        "mean_completion_tokens": statistics.fmean(lengths[kept]) / (args.num_prompts * args.group_size),
        "last_grad_norm": norms[-1] if norms else None,
    }


def changed_share(before: dict[str, Any], after: dict[str, Any]) -> float:
    """Share of weights that differ, beyond what a cast of the old ones would have changed."""
    changed = sum(int((after[name] != weight.to(after[name].dtype)).sum()) for name, weight in before.items())
    return changed / sum(weight.numel() for weight in before.values())


def landed_peer(args: Any, prompts: list[str], mode: str) -> dict[str, Any]:
    """Share of weights changed by two updates."""
    with tempfile.TemporaryDirectory() as directory:
        trainer = make_trainer(args, prompts, str(Path(directory)), **{**PEERS[mode], "max_steps": 2})
        before = {name: parameter.detach().clone() for name, parameter in trainer.model.named_parameters()}
        trainer.train()
        after = {name: parameter.detach() for name, parameter in trainer.model.named_parameters()}
    return {"changed_share": changed_share(before, after), "dtype": str(next(iter(after.values())).dtype)}
