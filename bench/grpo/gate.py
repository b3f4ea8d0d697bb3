"""The gate of ``bench/grpo/run.py``: the same rollouts into TRL's loss and into ours, in float32.

One thing is set right on the peer's side for the comparison: transformers gives an embedding no gradient for the token
that the configuration names for padding. SmolLM2's is the end-of-turn token, which every prompt holds, so the peer
trains with a gradient that lacks a part (cosine 0.99994 instead of 1 here); it is reported as ``as_shipped``.
"""

from __future__ import annotations

import gc
import random
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from peer import make_trainer, reward_of_text
from torch import Tensor

__all__ = ["LOSSES", "gate"]

TOKENS = 24
"""Most tokens of a completion here."""

# name → the peer's settings, ours
LOSSES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "grpo": ({"loss_type": "grpo", "epsilon": 0.2, "epsilon_high": 0.2}, {"method": "grpo"}),
    "dr_grpo": ({"loss_type": "dr_grpo", "epsilon": 0.2, "epsilon_high": 0.2}, {"method": "dr_grpo"}),
    "dapo": ({"loss_type": "dapo", "epsilon": 0.2, "epsilon_high": 0.28}, {"method": "dapo"}),
    "cispo": ({"loss_type": "cispo", "epsilon_high": 5.0}, {"method": "cispo"}),
    "cispo tight": ({"loss_type": "cispo", "epsilon_high": 1.1}, {"method": "cispo", "clip_high": 0.1}),
    "gspo": (
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 3e-4, "epsilon_high": 4e-4},
        {"method": "gspo"},
    ),
    "gspo wide": (
        {"loss_type": "grpo", "importance_sampling_level": "sequence", "epsilon": 0.03, "epsilon_high": 0.04},
        {"method": "gspo", "clip_low": 0.03, "clip_high": 0.04},
    ),
}
BOUNDS = {"logprob": 1e-4, "loss": 5e-5, "cosine": 0.9999, "norm": 1e-3}
"""Of the loss: relative. Two float32 models whose log-probabilities differ by 2e-5 nats, as these do, cannot be held to
1e-5: it was 7e-6 on one processor and 1.4e-5 on another."""


def draw_rollouts(args: Any, loaded: Any, prompts: Sequence[str]) -> list[Any]:
    """Completions as documents: some end by themselves, some are cut, one is a single token; logprobs shaken.

    Log-probabilities when drawn are what the engine says, moved by a tenth of a nat or so: ratios are then on both
    sides of the clips.
    """
    from spiritsafe.core.records import Message, Prompt, Sampling
    from spiritsafe.models import LocalGenerator
    from spiritsafe.models.interface.batch import DrawnCompletion
    from spiritsafe.reinforce import group_advantages

    asked = [
        Prompt(problem_id=str(i), messages=(Message(role="user", content=text),), num_samples=4, seed=i)
        for i, text in enumerate(prompts)
    ]
    engine = LocalGenerator(loaded, max_batch=16)
    attempts = sorted(
        engine.generate(asked, Sampling(temperature=1.0, max_tokens=TOKENS)),
        key=lambda attempt: (int(attempt.problem_id), attempt.sample_index),
    )
    engine.close()
    rng, end = random.Random(args.seed), loaded.chat.end_id
    rows: list[tuple[int, tuple[int, ...], tuple[float, ...]]] = []
    for attempt in attempts:
        ids, logprobs = attempt.token_ids, attempt.logprobs
        if attempt.sample_index == 0:  # a single token, which is the end
            ids, logprobs = (end,), (-8.0,)
        elif attempt.sample_index == 1:  # cut short
            ids, logprobs = ids[:5], logprobs[:5]
        elif attempt.sample_index == 2:  # ends by itself, before the limit
            ids, logprobs = (*ids[:11], end), (*logprobs[:11], -6.0)
        rows.append((int(attempt.problem_id), ids, tuple(value + rng.gauss(0.0, 0.15) for value in logprobs)))
    rewards = [reward_of_text(repr(ids)) for _, ids, _ in rows]
    groups = [rewards[4 * i : 4 * i + 4] for i in range(len(prompts))]
    # Advantages of a group sum to zero, and a loss that is nearly zero has no relative error worth the name.
    advantages = [value + 0.25 for group in group_advantages(groups) for value in group]
    return [
        replace(
            loaded.chat.document_from_tokens(asked[group].messages, ids),
            drawn=DrawnCompletion(logprobs=logprobs, advantage=advantage, group=group),
        )
        for (group, ids, logprobs), advantage in zip(rows, advantages, strict=True)
    ]


def peer_inputs(documents: Sequence[Any], pad_id: int) -> dict[str, Tensor]:
    """The same as the peer's padded tensors: prompts to the left, completions to the right."""
    prompts = [d.token_ids[: d.supervised.index(True)] for d in documents]
    answers = [d.token_ids[d.supervised.index(True) :] for d in documents]
    widths = (max(map(len, prompts)), max(map(len, answers)))
    shape = {"prompt": (len(documents), widths[0]), "completion": (len(documents), widths[1])}
    inputs = {f"{part}_ids": torch.full(size, pad_id) for part, size in shape.items()}
    inputs |= {f"{part}_mask": torch.zeros(size, dtype=torch.long) for part, size in shape.items()}
    old = torch.zeros(shape["completion"])
    for row, (prompt, answer, document) in enumerate(zip(prompts, answers, documents, strict=True)):
        inputs["prompt_ids"][row, widths[0] - len(prompt) :] = torch.tensor(prompt)
        inputs["prompt_mask"][row, widths[0] - len(prompt) :] = 1
        inputs["completion_ids"][row, : len(answer)] = torch.tensor(answer)
        inputs["completion_mask"][row, : len(answer)] = 1
        old[row, : len(answer)] = torch.tensor(document.drawn.logprobs)
    return {
        **inputs,
        "old_per_token_logps": old,
        "advantages": torch.tensor([d.drawn.advantage for d in documents]),
        "num_items_in_batch": inputs["completion_mask"].sum(),
    }


def peer_side(args: Any, prompts: list[str], inputs: dict[str, Tensor], more: dict[str, Any]) -> dict[str, Any]:
    """The peer's log-probabilities, loss and gradient."""
    with tempfile.TemporaryDirectory() as directory:
        trainer = make_trainer(args, prompts, directory, max_completion_length=TOKENS, **more)
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    ids = torch.cat((inputs["prompt_ids"], inputs["completion_ids"]), 1)
    mask = torch.cat((inputs["prompt_mask"], inputs["completion_mask"]), 1)
    with torch.no_grad():
        logprobs, _, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, inputs["completion_ids"].shape[1]
        )

    def gradients_of() -> tuple[float, dict[str, Tensor]]:
        trainer.model.zero_grad()
        loss = trainer.compute_loss(trainer.model, inputs)
        loss.backward()
        return float(loss.detach()), {n: p.grad for n, p in trainer.model.named_parameters() if p.grad is not None}

    _, shipped = gradients_of()
    trainer.model.get_input_embeddings().padding_idx = None
    loss, gradients = gradients_of()
    clipped = {name: values[-1] for name, values in trainer._metrics["train"].items() if "clip_ratio" in name}
    kept = inputs["completion_mask"].bool()
    return {
        "logprobs": logprobs[kept],
        "loss": loss,
        "gradients": gradients,
        "gradients_as_shipped": shipped,
        "clipped": clipped,
    }


def our_side(loaded: Any, documents: Sequence[Any], settings: dict[str, Any]) -> dict[str, Any]:
    """Ours, over micro-batches as a run would make them, prompts shared."""
    from spiritsafe.models.decoder.weight_names import make_hf_tensors
    from spiritsafe.models.interface.batch import IGNORED
    from spiritsafe.reinforce import PolicyLoss, PolicyObjective, aggregation_weights
    from spiritsafe.reinforce.loss.policy_head import token_logprobs
    from spiritsafe.training.data.packing import num_supervised, pack_micro_batch, split_step

    config, model = PolicyLoss(**settings), loaded.model
    lengths = [num_supervised(document) for document in documents]
    weights = aggregation_weights(lengths, config.aggregation, max_tokens=TOKENS)
    weighted = [replace(document, weight=weight) for document, weight in zip(documents, weights, strict=True)]
    model.train()
    model.zero_grad(set_to_none=True)
    (micros,) = split_step(weighted, num_processes=1, micro_batch_tokens=512, share_prefix=True)
    objective, loss, clipped, count = PolicyObjective(config), 0.0, 0.0, 0
    logprobs: dict[int, Tensor] = {}
    num_tokens = 0
    for micro in micros:
        batch = pack_micro_batch([weighted[place] for place in micro], share_prefix=True)
        num_tokens += batch.num_tokens
        result = objective(model, batch, float(sum(lengths)))
        loss += float(result.loss)
        clipped += float(result.means["clipped_share"][0])
        count += result.means["clipped_share"][1]
        with torch.no_grad():
            rows = torch.nonzero(batch.targets_N != IGNORED).squeeze(1)
            head = model.head()
            found = token_logprobs(model(batch)[rows], head.weight_VH, batch.targets_N[rows], scale=head.scale)
        for place, own in zip(micro, found.split([lengths[place] for place in micro]), strict=True):
            logprobs[place] = own
    with torch.no_grad():  # the gradients in the peer's names: read where its weights would be
        kept = [parameter.detach().clone() for parameter in model.parameters()]
        for parameter in model.parameters():
            parameter.copy_(parameter.grad)
        gradients = {name: value.clone() for name, value in make_hf_tensors(model, model.config).items()}
        for parameter, weight in zip(model.parameters(), kept, strict=True):
            parameter.copy_(weight)
    return {
        "logprobs": torch.cat([logprobs[place] for place in range(len(documents))]),
        "loss": loss,
        "gradients": gradients,
        "clipped_share": clipped / count,
        "computed_tokens": num_tokens,
    }


def cosine(mine: dict[str, Tensor], theirs: dict[str, Tensor]) -> tuple[float, float]:
    """Cosine between two gradients, and the ratio of their norms."""
    if mine.keys() != theirs.keys():
        raise SystemExit(f"gradients of other parameters: {mine.keys() ^ theirs.keys()}")
    pairs = [(mine[name].double(), gradient.double()) for name, gradient in theirs.items()]
    product = sum(float((a * b).sum()) for a, b in pairs)
    squares = [sum(float(pair[side].square().sum()) for pair in pairs) for side in (0, 1)]
    return product / (squares[0] * squares[1]) ** 0.5, (squares[0] / squares[1]) ** 0.5


def compare(ours: dict[str, Any], theirs: dict[str, Any]) -> dict[str, Any]:
    """What the gate asks for, and whether it holds."""
    angle, ratio = cosine(ours["gradients"], theirs["gradients"])
    found = {
        "logprob_max_abs_difference": float((ours["logprobs"] - theirs["logprobs"]).abs().max()),
        "loss": ours["loss"],
        "peer_loss": theirs["loss"],
        "loss_relative_difference": abs(ours["loss"] / theirs["loss"] - 1.0),
        "gradient_cosine": angle,
        "gradient_norm_ratio": ratio,
        "as_shipped": cosine(ours["gradients"], theirs["gradients_as_shipped"]),
        "clipped_share": ours["clipped_share"],
        "peer_clipped": theirs["clipped"],
        "computed_tokens": ours["computed_tokens"],
    }
    found["passed"] = (
        found["logprob_max_abs_difference"] <= BOUNDS["logprob"]
        and found["loss_relative_difference"] <= BOUNDS["loss"]
        and angle >= BOUNDS["cosine"]
        and abs(ratio - 1.0) <= BOUNDS["norm"]
    )
    return found


def gate(args: Any, prompts: list[str]) -> dict[str, Any]:
    """Both sides on the same completions, for each loss."""
    from spiritsafe.models.transformers_backend.loading import load_model

    loaded = load_model(args.model, dtype=torch.float32, implementation="decoder")
    documents = draw_rollouts(args, loaded, prompts[:3])
    inputs = peer_inputs(documents, loaded.chat.pad_id)
    found: dict[str, Any] = {
        "completion_lengths": [len(d.drawn.logprobs) for d in documents],
        "prompt_lengths": [d.supervised.index(True) for d in documents],
        "bounds": BOUNDS,
        "losses": {},
    }
    for name, (theirs, mine) in LOSSES.items():
        ours = our_side(loaded, documents, mine)
        found["losses"][name] = compare(ours, peer_side(args, prompts, inputs, theirs))
        gc.collect()  # a trainer holds itself in a ring, and its model with it
    found["passed"] = all(loss["passed"] for loss in found["losses"].values())
    return found
