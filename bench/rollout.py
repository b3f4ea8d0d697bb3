"""Rollouts: spiritsafe's engine against transformers' ``generate``, completion tokens a second.

    python bench/rollout.py MODEL_DIRECTORY --out bench/results/rollout-<machine>.json

Gates before any timing: greedy tokens agree with ``generate`` up to ties (a differing token must be within 1e-3 nats of
the peer's), and the engine's logprobs are those of the peer's own logits over the same tokens. Then for each number of
sequences blocks in the order A B B A in one process, fixed lengths (no end token), temperature 1, the first run of each
left out; medians. The same script runs on a GPU (``--device cuda``, bfloat16).
"""

from __future__ import annotations

import argparse
import datetime
import json
import statistics
import time
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from machine import describe_machine
from spiritsafe.core.records import Message, Prompt, Sampling
from spiritsafe.models import LocalGenerator, load_model

QUESTIONS = ("What is {} + {}?", "Name {} rivers and {} towns.", "Write {} lines about the number {} and the sea.")


def prompts_of(count: int) -> list[Prompt]:
    return [
        Prompt(
            problem_id=str(i),
            messages=(Message(role="user", content=QUESTIONS[i % len(QUESTIONS)].format(10 + i, 99 - i)),),
            seed=i,
        )
        for i in range(count)
    ]


def padded(rows: list[list[int]], device: str) -> tuple[torch.Tensor, torch.Tensor]:
    longest = max(map(len, rows))
    ids = torch.zeros((len(rows), longest), dtype=torch.long)
    mask = torch.zeros((len(rows), longest), dtype=torch.long)
    for index, row in enumerate(rows):
        ids[index, longest - len(row) :] = torch.tensor(row)
        mask[index, longest - len(row) :] = 1
    return ids.to(device), mask.to(device)


class Peer:
    def __init__(self, directory: Path, dtype: torch.dtype, device: str) -> None:
        self.model = AutoModelForCausalLM.from_pretrained(directory, dtype=dtype).to(device).eval()
        self.model.generation_config.eos_token_id = None
        self.device = device

    @torch.inference_mode()
    def run(self, rows: list[list[int]], num_tokens: int, *, greedy: bool) -> torch.Tensor:
        ids, mask = padded(rows, self.device)
        sampling: dict[str, Any] = {"do_sample": False} if greedy else {"do_sample": True, "temperature": 1.0}
        if not greedy:
            sampling |= {"top_k": 0, "top_p": 1.0}
        out = self.model.generate(
            ids, attention_mask=mask, max_new_tokens=num_tokens, pad_token_id=0, use_cache=True, **sampling
        )
        return out[:, ids.shape[1] :]

    @torch.inference_mode()
    def logprobs(self, prompt: list[int], tokens: list[int]) -> torch.Tensor:
        ids = torch.tensor([prompt + tokens], device=self.device)
        return self.model(ids).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1).cpu()


class NoEnd:
    """The chat format without end tokens, so that both sides generate exactly as many tokens."""

    def __init__(self, chat: Any) -> None:
        self._chat = chat
        self.eos_ids: tuple[int, ...] = ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chat, name)


def gate(
    engine: LocalGenerator, peer: Peer, prompts: list[Prompt], rows: list[list[int]], bound: float
) -> dict[str, float]:
    attempts = {a.problem_id: a for a in engine.generate(prompts, Sampling(temperature=0.0, max_tokens=32))}
    theirs = peer.run(rows, 32, greedy=True)
    same = worst = 0.0
    for index, (prompt, row) in enumerate(zip(prompts, rows, strict=True)):
        tokens = list(attempts[prompt.problem_id].token_ids)
        logp_TV = peer.logprobs(row, tokens)
        picked = logp_TV[torch.arange(len(tokens)), torch.tensor(tokens)]
        gap = float((logp_TV.max(-1).values - picked).max())
        worst = max(worst, gap, float((picked - torch.tensor(attempts[prompt.problem_id].logprobs)).abs().max()))
        same += tokens == theirs[index].tolist()
    if worst > bound:
        raise SystemExit(f"gate failed: tokens or logprobs differ from the peer's by {worst:.2e} nats (bound {bound})")
    return {"greedy_identical_share": same / len(prompts), "worst_gap_nats": worst, "bound_nats": bound}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sequences", type=int, nargs="+", default=[32, 64])
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--blocks", type=int, default=2, help="A B B A blocks")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    dtype = getattr(torch, args.dtype)
    loaded = load_model(args.directory, dtype=dtype, device=args.device)
    rows = [loaded.chat.prompt_ids(p.messages) for p in prompts_of(max(args.sequences))]
    unended = type(loaded)(
        model=loaded.model, chat=NoEnd(loaded.chat), checkpoint=loaded.checkpoint, directory=loaded.directory
    )
    peer = Peer(args.directory, dtype, args.device)
    longest = max(map(len, rows)) + args.tokens
    results = []
    for count in args.sequences:
        engine = LocalGenerator(unended, max_batch=count, max_context=longest)
        prompts, mine = prompts_of(count), rows[:count]
        passed = gate(engine, peer, prompts[:8], mine[:8], 1e-3 if args.dtype == "float32" else 0.25)
        sampling = Sampling(temperature=1.0, max_tokens=args.tokens)

        def ours(engine: Any = engine, prompts: Any = prompts, sampling: Any = sampling) -> float:
            started = time.perf_counter()
            attempts = list(engine.generate(prompts, sampling))
            seconds = time.perf_counter() - started
            if {a.num_tokens for a in attempts} != {args.tokens}:
                raise SystemExit("the engine did not generate the same number of tokens")
            return seconds

        def theirs(mine: Any = mine) -> float:
            started = time.perf_counter()
            out = peer.run(mine, args.tokens, greedy=False)
            if args.device == "cuda":
                torch.cuda.synchronize()
            seconds = time.perf_counter() - started
            if tuple(out.shape) != (len(mine), args.tokens):
                raise SystemExit("generate did not generate the same number of tokens")
            return seconds

        ours()
        theirs()
        times: dict[str, list[float]] = {"spiritsafe": [], "transformers": []}
        for _ in range(args.blocks):
            for name in ("spiritsafe", "transformers", "transformers", "spiritsafe"):
                times[name].append(ours() if name == "spiritsafe" else theirs())
        engine.close()
        rates = {name: [count * args.tokens / s for s in values] for name, values in times.items()}
        medians = {name: statistics.median(values) for name, values in rates.items()}
        row = {
            "sequences": count,
            "tokens_each": args.tokens,
            "gate": passed,
            "tokens_per_s": {name: [round(v, 1) for v in values] for name, values in rates.items()},
            "median_tokens_per_s": {name: round(value, 1) for name, value in medians.items()},
            "ratio": round(medians["spiritsafe"] / medians["transformers"], 3),
        }
        results.append(row)
        print(json.dumps(row))
    record = {
        "bench": "rollout",
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": f"python bench/rollout.py MODEL --sequences {' '.join(map(str, args.sequences))} "
        f"--tokens {args.tokens} --dtype {args.dtype} --device {args.device}",
        "model": loaded.checkpoint.name,
        "model_digest": loaded.checkpoint.digest,
        "dtype": args.dtype,
        "machine": describe_machine("transformers", "spiritsafe", device=args.device),
        "results": results,
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
