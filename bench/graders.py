"""The grader of ``math:`` against labels: GSM8K's model solutions, each labelled right or wrong by its authors.

The file has one JSON object a line with ``gold``, ``solution`` and ``is_correct``
(openai/grade-school-math, ``grade_school_math/data/example_model_solutions.jsonl`` in that shape). No error is allowed.

python bench/graders.py labelled-solutions.jsonl --out bench/results/graders-cpu.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import Counter
from pathlib import Path

from machine import describe_machine
from spiritsafe.core.records import Problem
from spiritsafe.tasks.families.math.task import MathVerifier


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("solutions", type=Path)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.solutions.read_text("utf-8").splitlines() if line.strip()]
    verifier, counts, started = MathVerifier(), Counter[str](), time.perf_counter()
    for row in rows:
        facts = {"answer": str(row["gold"])}
        problem = Problem(task="math:labelled", canonical_text=row["solution"][:50], messages=(), facts=facts)
        status = verifier.judge(problem, row["solution"]).status
        counts[status] += 1
        counts["false accepts"] += status == "correct" and not row["is_correct"]
        counts["false rejects"] += status != "correct" and row["is_correct"]
    found = {"rows": len(rows), **counts, "seconds": round(time.perf_counter() - started, 2)}
    report = {"machine": describe_machine(), "verifier": f"{verifier.name}/{verifier.version}", **found}
    print(json.dumps(found))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return 1 if counts["false accepts"] or counts["false rejects"] else 0


if __name__ == "__main__":
    sys.exit(main())
