"""Training beside another program: steps alone and beside one process that keeps a core busy, by how threads wait.

    python bench/busy.py --out bench/results/busy-cpu.json

SmolLM2-135M's shape with 6 layers and 8,192 tokens, random weights, steps of 1,024 tokens on as many threads as there
are cores, each run in a process of its own because OpenMP reads its settings once. "spinning" is the library's default,
"asleep" is what every command sets. Runs take turns; medians of each run's steps but the first, then of the rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from machine import describe_machine
from spiritsafe.core.process.waiting_threads import wait_asleep

WAYS = ("spinning", "asleep")
SHAPE = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 576, "intermediate_size": 1536,
    "num_hidden_layers": 6, "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 8192,
    "max_position_embeddings": 2048, "rms_norm_eps": 1e-5, "rope_theta": 100000.0, "tie_word_embeddings": True,
    "hidden_act": "silu",
}  # fmt: skip


def seconds_a_step(num_steps: int) -> float:
    """Of a training run in this process."""
    from spiritsafe.models import Decoder, DecoderConfig, Document
    from spiritsafe.training import TracesObjective, TrainConfig, train

    drawn = random.Random(0)
    documents = []
    for length in (drawn.randrange(30, 110) for _ in range(200)):
        ids = tuple(drawn.randrange(100, 8000) for _ in range(length))
        documents.append(Document(token_ids=ids, supervised=tuple(place >= length // 2 for place in range(length))))
    config = TrainConfig(
        learning_rate=1e-5, tokens_per_step=1024, micro_batch_tokens=1024, max_steps=num_steps, checkpoint_every_s=None
    )
    with tempfile.TemporaryDirectory() as folder:
        model = Decoder(DecoderConfig.from_hf(SHAPE))
        result = train(model, documents, TracesObjective(), config, directory=Path(folder))
    return median(row["seconds"] for row in result.curve[1:])


def measure(way: str, num_steps: int) -> float:
    """The same in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_", "KMP_"))}
    command = [sys.executable, __file__, "--child", way, "--steps", str(num_steps)]
    return float(subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, help="raw results as JSON")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--child", choices=WAYS, help="one run in this process: what the bench calls itself with")
    args = parser.parse_args()
    if args.child is not None:
        if args.child == "asleep":
            wait_asleep()
        print(seconds_a_step(args.steps))
        return 0
    result = {"machine": describe_machine(), "alone": {way: [] for way in WAYS}, "beside": {way: [] for way in WAYS}}
    for number in range(args.rounds):
        order = WAYS if number % 2 == 0 else WAYS[::-1]
        for way in order:
            result["alone"][way].append(measure(way, args.steps))
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
        try:
            for way in order:
                result["beside"][way].append(measure(way, args.steps))
        finally:
            busy.kill()
    result["medians"] = {place: {way: median(result[place][way]) for way in WAYS} for place in ("alone", "beside")}
    print(json.dumps(result["medians"], indent=2))
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
