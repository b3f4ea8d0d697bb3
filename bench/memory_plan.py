"""Predicted against measured peak memory of training and distillation steps, each in a fresh process.

    python bench/memory_plan.py --out bench/results/memory-plan-<machine>.json

Random weights of SmolLM2-135M's shape (memory does not depend on their values), random documents, a few steps each, in
float32 and bfloat16 (which needs a processor that multiplies it to be as fast as it should). What is predicted is what
a run checks before it trains; what is measured is the kernel's high-water mark of the resident set. A case with a
teacher distils from a live one, held in float32 or in 4 bits, by forward KL; one with adapters trains rank 16 on all
projections, of a base that bfloat16 holds exactly or not, or that is held in 4 or 8 bits; one with windows has 256
tokens of window and one document of all tokens; "varied" steps are all of other lengths, as a run's are. ``--only
quantised`` runs the cases with quantised weights, and all weights and adapters, which they are compared with.
``step_s`` is the median step but the first, ``predicted_step_s`` what a plan would say of it by the median of looks at
the machine before and after: both mean something on an idle machine only.
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
from typing import Any

from machine import describe_machine

SHAPE: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": True,
}
TEACHER_LAYERS = 30
WINDOW = 256
DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


def make_lengths(kind: str, total: int) -> list[int]:
    """Lengths of one micro-batch: documents of 128 tokens, or a log-normal mixture."""
    if kind == "even":
        return [128] * (total // 128)
    if kind == "one":
        return [total]
    rng = random.Random(0)
    lengths: list[int] = []
    while True:
        length = min(max(round(rng.lognormvariate(4.7, 0.6)), 12), 512)
        if sum(lengths) + length > total:
            return lengths
        lengths.append(length)


def random_decoder(config: dict[str, Any], seed: int, weights: Any) -> Any:
    """A Decoder of random weights; quantised ones are random codes, so that no whole matrix was ever there."""
    import torch

    from spiritsafe.models import Decoder, DecoderConfig, QuantisedWeight

    if weights is None:
        return Decoder(DecoderConfig.from_hf(config), seed=seed)
    model = Decoder(DecoderConfig.from_hf(config), seed=None, weights=weights)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.02) if parameter.dim() > 1 else parameter.fill_(1.0)
        for module in model.modules():
            if isinstance(module, QuantisedWeight):
                module.codes.random_(0, 256)
                module.scale_bytes.view(torch.float32).fill_(0.04)
    return model


def look_at_machine(dtype: str) -> list[Any]:
    """Three looks at how fast this machine is: a single one is off by a fifth where others share the processor."""
    from spiritsafe.models import measure_machine

    looks = []
    for _ in range(3):
        measure_machine.cache_clear()
        looks.append(measure_machine("cpu", dtype))
    return looks


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """One case, in this process."""
    import torch

    from spiritsafe.core.events import NullSink
    from spiritsafe.distil import DistilObjective, LossMix
    from spiritsafe.distil.signal import LiveTeacher
    from spiritsafe.models import Document, LoraConfig, add_lora, predict_training, training_work
    from spiritsafe.pipeline.plan.peak_memory import BITSANDBYTES_BYTES, PROCESS_BYTES, peak_bytes, reset_peak
    from spiritsafe.training import Objective, TracesObjective, TrainConfig, train

    config = SHAPE | {"num_hidden_layers": case["layers"]}
    if case["window"]:
        config |= {"model_type": "mistral", "sliding_window": WINDOW}
    config |= {"dtype": "bfloat16" if case["adapters"] == "exact" else "float32"}
    teacher_config = SHAPE | {"num_hidden_layers": case["teacher_layers"]} if case["teacher"] else None
    lengths = make_lengths(case["lengths"], case["micro_batch_tokens"])
    lora = None if case["adapters"] == "none" else LoraConfig(rank=16)
    predicted = predict_training(
        config,
        num_tokens=sum(lengths),
        lengths=lengths,
        supervised_share=sum(length - length // 3 for length in lengths) / sum(lengths),
        compute_dtype=case["dtype"],
        teacher=teacher_config,
        teacher_dtype="fp32",
        process_bytes=PROCESS_BYTES + (BITSANDBYTES_BYTES if case["base"] or case["teacher_weights"] else 0),
        lora=lora,
        base=case["base"],
        teacher_weights=case["teacher_weights"],
    )
    rng = random.Random(1)
    # in a varied run each step has documents of its own, up to a tenth shorter
    rounds = case["steps"] if case["varied"] else 1
    shares = [1.0 - 0.1 * step / rounds for step in range(rounds)]
    documents = [
        Document(
            token_ids=tuple(rng.randrange(SHAPE["vocab_size"]) for _ in range(length)),
            supervised=(*[False] * (length // 3), *[True] * (length - length // 3)),
        )
        for share in shares
        for length in (round(share * longest) for longest in lengths)
    ]
    model = random_decoder(config, 0, case["base"])
    if case["adapters"] == "exact":
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(parameter.bfloat16())
    if lora is not None:
        add_lora(model, lora)
    objective: Objective = TracesObjective()
    if teacher_config is not None:
        teacher = random_decoder(teacher_config, 1, case["teacher_weights"]).requires_grad_(False)
        objective = DistilObjective(LiveTeacher(teacher), LossMix(forward_kl=1.0))
    looks = [] if case["teacher"] else look_at_machine(case["dtype"])
    reset_peak()
    settings = TrainConfig(
        learning_rate=1e-5,
        tokens_per_step=sum(len(document.token_ids) for document in documents) // rounds,
        micro_batch_tokens=sum(lengths),
        max_steps=case["steps"],
        compute_dtype=DTYPES[case["dtype"]],
        checkpoint_every_s=None,
    )
    with tempfile.TemporaryDirectory() as directory:
        result = train(model, documents, objective, settings, directory=Path(directory), events=NullSink())
    measured = peak_bytes()
    tokens = sum(lengths)
    work = training_work(
        config,
        num_tokens=tokens,
        num_supervised=sum(length - length // 3 for length in lengths),
        document_tokens=tokens / len(lengths),
        num_steps=1,
        num_micro_batches=1,
        compute_dtype=case["dtype"],
        lora=lora,
        base=case["base"],
    )
    looks += [] if case["teacher"] else look_at_machine(case["dtype"])
    return {
        "predicted_bytes": predicted.total_bytes,
        "measured_bytes": measured,
        "error": round(predicted.total_bytes / measured - 1.0, 4),
        "step_s": round(median(float(row["seconds"]) for row in result.curve[1:]), 3),
        "predicted_step_s": round(median(rates.seconds(work) for rates in looks), 3) if looks else None,
        "parts": {name: size for name, size in predicted.to_json().items() if name != "total_bytes"},
        "torch": torch.__version__,
    }


def run_case(case: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """One case in a process of its own."""
    command = [sys.executable, __file__, "--out", str(args.out), "--threads", str(args.threads)]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    done = subprocess.run(
        [*command, "--case", json.dumps(case)], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode != 0:
        return {"case": case, "error_text": done.stderr[-4000:]}
    return {"case": case, **json.loads(done.stdout.splitlines()[-1])}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="raw results as JSON")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--dtype", nargs="+", choices=sorted(DTYPES), default=["fp32", "bf16"])
    parser.add_argument("--layers", type=int, nargs="+", default=[30, 20])
    parser.add_argument("--micro-batch-tokens", type=int, nargs="+", default=[512, 1024, 2048])
    parser.add_argument("--lengths", nargs="+", choices=["even", "mixed"], default=["even", "mixed"])
    parser.add_argument("--teacher", nargs="+", choices=["none", "live"], default=["none", "live"])
    parser.add_argument("--steps", type=int, default=2)
    parser.add_argument("--varied-steps", type=int, default=12)
    parser.add_argument("--only", choices=["all", "quantised"], default="all")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    return parser.parse_args()


def cases_of(args: argparse.Namespace) -> list[dict[str, Any]]:
    """The grid that was asked for; for each format adapters, windows and a run of varied steps beside it."""
    cases = []
    for dtype in args.dtype:
        plain = {"dtype": dtype, "teacher": False, "adapters": "none", "window": False, "varied": False}
        plain |= {"layers": args.layers[0], "micro_batch_tokens": args.micro_batch_tokens[0], "lengths": "mixed"}
        plain |= {"steps": args.steps, "base": None, "teacher_weights": None, "teacher_layers": TEACHER_LAYERS}
        for layers in args.layers:
            for teacher in args.teacher:
                for tokens in args.micro_batch_tokens:
                    for lengths in args.lengths:
                        grid = {"layers": layers, "teacher": teacher == "live", "micro_batch_tokens": tokens}
                        cases.append(plain | grid | {"lengths": lengths})
        cases += [plain | {"adapters": adapters} for adapters in ("exact", "inexact")]
        cases += [plain | {"adapters": "exact", "base": base} for base in ("4bit", "8bit")]
        cases.append(plain | {"teacher": True, "teacher_weights": "4bit", "teacher_layers": plain["layers"]})
        cases.append(plain | {"window": True, "lengths": "one", "micro_batch_tokens": max(args.micro_batch_tokens)})
        varied = {"varied": True, "steps": args.varied_steps}
        cases += [plain | varied, plain | varied | {"layers": args.layers[-1], "teacher": "live" in args.teacher}]
    if args.only == "quantised":
        cases = [one for one in cases if one["adapters"] != "inexact" and not (one["window"] or one["varied"])]
    return cases


def summary_of(cases: list[dict[str, Any]], dtypes: list[str]) -> dict[str, Any]:
    """For each format how far the predictions are off."""
    summary: dict[str, Any] = {"num_failed": sum("error" not in found for found in cases)}
    for dtype in dtypes:
        errors = [found["error"] for found in cases if found["case"]["dtype"] == dtype and "error" in found]
        summary[dtype] = {
            "num_cases": len(errors),
            "most_too_low": min(errors, default=None),
            "most_too_high": max(errors, default=None),
            "mean_error": round(sum(map(abs, errors)) / len(errors), 4) if errors else None,
        }
    return summary


def main() -> int:
    args = parse()
    if args.case:
        import torch

        torch.set_num_threads(args.threads)
        print(json.dumps(measure(json.loads(args.case))))
        return 0
    result: dict[str, Any] = {
        "machine": describe_machine(threads=args.threads),
        "arguments": {k: str(v) for k, v in vars(args).items()},
    }
    result["cases"] = []
    args.out.parent.mkdir(parents=True, exist_ok=True)
    for case in cases_of(args):
        found = run_case(case, args)
        result["cases"].append(found)
        print(json.dumps({k: v for k, v in found.items() if k != "parts"}), flush=True)
        result["summary"] = summary_of(result["cases"], args.dtype)
        args.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    print(json.dumps(result["summary"], indent=2))
    return int(result["summary"]["num_failed"] > 0)


if __name__ == "__main__":
    sys.exit(main())
