"""The tests of published problems against mutants of their golds, alone and with further inputs (``more=20``).

The file has HumanEval's or MBPP's rows, with golds. Of each gold all mutants are judged by the published tests. Which
of those that live can be told from the gold at all is asked of 1,000 inputs like those of the tests, others than those
that further inputs are chosen from. Then the same mutants are judged with the further inputs, and the gold, which must
pass. Run again with the same --progress, it goes on where it was.

python bench/code_programs.py problems.jsonl --out bench/results/code-programs-humaneval-cpu.json
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from machine import describe_machine
from spiritsafe.tasks.code.duet.behaviour import behaviours
from spiritsafe.tasks.code.duet.duet import run_duet
from spiritsafe.tasks.code.duet.outcomes import telling
from spiritsafe.tasks.families.programs.further import Further, allowed_inputs, further_of
from spiritsafe.tasks.families.programs.judges import further_checks, judge_python
from spiritsafe.tasks.families.programs.layouts import AskedProgram, asked_of
from spiritsafe.tasks.sandbox.sandbox import shared_sandbox

OTHER_SEED = 1


def told(asked: AskedProgram, further: Further) -> set[int]:
    """Places of the living mutants that some of 1,000 inputs tell from the gold."""
    pool, gold = allowed_inputs(shared_sandbox(), asked.gold, further.known, further.ignored, OTHER_SEED)
    others = behaviours(shared_sandbox(), further.living, pool, whole=True)
    return {place for place, other in enumerate(others) if telling(gold, other, further.ignored)}


def rejected(asked: AskedProgram, further: Further) -> set[int]:
    """Places of the living mutants that fail with the further inputs."""
    if not further.calls:
        return set()
    behind, checks = further_checks(asked.entry, further.facts())
    suite = asked.suite
    result = run_duet(
        shared_sandbox(),
        tests=suite["tests"] + behind,
        checks=[*suite["checks"], *checks],
        prelude=suite["prelude"],
        programs=further.living,
        order=range(len(further.living)),
        cpu_s=5.0,
    )
    return set(range(len(further.living))) - {turn.program for turn in result.turns if turn.has_passed}


def measure(row: dict[str, Any], place: str, count: int) -> dict[str, Any]:
    """One problem's figures."""
    asked = asked_of(row, place)
    further = further_of(asked, count)
    gold = judge_python(shared_sandbox(), asked.gold, {**asked.suite, "further": further.facts()}, asked.entry)
    fail, different = set[int](), set[int]()
    if further.living and further.known:
        fail = rejected(asked, further)
        different = told(asked, further) | fail
    return {
        "problem": place,
        "mutants": further.num_mutants,
        "killed by published tests": further.num_mutants - len(further.living),
        "told by inputs": len(different),
        "rejected with further inputs": len(fail),
        "survive": len(different - fail),
        "equivalent suspected": len(further.living) - len(different),
        "further inputs": len(further.calls),
        "left out": list(further.ignored),
        "why none": further.why_none,
        "gold passes": gold.is_right,
        "seconds": further.seconds,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problems", type=Path)
    parser.add_argument("--more", type=int, default=20)
    parser.add_argument("--progress", type=Path, help="where to keep what is measured")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    rows = [json.loads(line) for line in args.problems.read_text("utf-8").splitlines() if line.strip()]
    done: dict[str, dict[str, Any]] = {}
    if args.progress and args.progress.exists():
        done = {each["problem"]: each for each in map(json.loads, args.progress.read_text("utf-8").splitlines())}
    for number, row in enumerate(rows):
        place = str(row.get("task_id", number))
        if place in done:
            continue
        done[place] = measure(row, place, args.more)
        print(json.dumps(done[place]), flush=True)
        if args.progress:
            with args.progress.open("a", encoding="utf-8") as file:
                file.write(json.dumps(done[place]) + "\n")
    found = list(done.values())
    totals = Counter[str]()
    for each in found:
        totals.update({name: value for name, value in each.items() if type(value) is int})
    killed, different = totals["killed by published tests"], totals["told by inputs"]
    seconds = sorted(each["seconds"] for each in found)
    report = {
        "machine": describe_machine(),
        "more": args.more,
        "problems": len(found),
        **totals,
        "rejected by published tests, of those that can be told": round(killed / (killed + different), 4),
        "rejected with further inputs, of those that can be told": round(
            (killed + totals["rejected with further inputs"]) / (killed + different), 4
        ),
        "golds that fail": [each["problem"] for each in found if not each["gold passes"]],
        "seconds a problem, median and most": [seconds[len(seconds) // 2], seconds[-1]],
        "by problem": found,
    }
    print(json.dumps({name: value for name, value in report.items() if name != "by problem"}))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return 1 if report["golds that fail"] else 0


if __name__ == "__main__":
    sys.exit(main())
