"""Problems of ``code:solve``: do golds pass, do hidden inputs notice faults, and what do verdicts cost?

For each language so many problems are drawn from all templates, and the gold is graded. Of some of them mutants of the
gold are graded too: those that 1,000 other inputs (in compiled languages 40) tell from it. At last unit tests of
``code:tests`` meet mutants, for the time that a mutant takes.

python bench/code_generated.py --out bench/results/code-generated-cpu.json
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

from machine import describe_machine
from spiritsafe.core.process.limits import usable_cores
from spiritsafe.core.records import Problem
from spiritsafe.tasks import Task, load_task
from spiritsafe.tasks.code.duet.kills import kills_of
from spiritsafe.tasks.code.labelled import fenced
from spiritsafe.tasks.code.lively import lively_mutants
from spiritsafe.tasks.code.templates.catalogue import templates
from spiritsafe.tasks.families.code.exercises import exam_of
from spiritsafe.tasks.families.code.gold_tests import gold_tests
from spiritsafe.tasks.sandbox.sandbox import shared_sandbox

SEED = 17
INPUTS = 1000
MUTANTS = {"python": 40, "fortran": 8, "cobol": 8}


def graded(task: Task, problems: list[Problem], texts: list[str]) -> tuple[list[str], float]:
    """Statuses, and milliseconds a verdict with a thread for each core."""
    started = time.perf_counter()
    with ThreadPoolExecutor(usable_cores()) as threads:
        statuses = list(threads.map(lambda pair: task.grade(*pair).status, zip(problems, texts, strict=True)))
    return statuses, 1000 * (time.perf_counter() - started) / max(1, len(problems))


def other_inputs(problem: Problem, count: int) -> list[Any]:
    """Inputs of a problem's template that are drawn anew."""
    name, _, rest = problem.canonical_text.partition("(")
    template = templates()[name]
    settings = eval(f"dict({rest}")  # our own text: name=value, …
    return template.exercise(settings).inputs(Random(SEED), count)


def mutants_met(task: Task, problems: list[Problem], language: str) -> dict[str, Any]:
    """How many mutants can be told from their golds, and how many of these the hidden inputs notice."""
    told = noticed = suspected = 0
    for problem in problems:
        exam = exam_of(problem.facts)
        found = lively_mutants(
            shared_sandbox(),
            language,
            exam.gold,
            exam.signature,
            other_inputs(problem, INPUTS),
            MUTANTS[language],
        )
        texts = [fenced(one.source, exam.language.fences[0]) for one in found.mutants]
        statuses, _ = graded(task, [problem] * len(texts), texts)
        told += len(texts)
        noticed += sum(status == "wrong" for status in statuses)
        suspected += found.num_equivalent
    return {"can be told": told, "rejected": noticed, "equivalent-suspected": suspected}


def milliseconds_a_mutant(problems: list[Problem]) -> dict[str, Any]:
    """What a mutant costs ``code:tests``: with the right program's twelve turns and all starts shared out, and without.

    Without: of the time with all mutants that with none is taken off.
    """
    shared, own = [], []
    for problem in problems:
        exam = exam_of(problem.facts)
        chosen = lively_mutants(shared_sandbox(), "python", exam.gold, exam.signature, exam.inputs, 60).mutants
        tests = gold_tests(exam)

        def took_ms(mutants: list[str], tests: str = tests, gold: str = exam.gold) -> float:
            started = time.perf_counter()
            kills_of(shared_sandbox(), tests=tests, gold=gold, mutants=mutants)
            return 1000 * (time.perf_counter() - started)

        with_none, with_all = took_ms([]), took_ms([one.source for one in chosen])
        shared.append(with_all / len(chosen))
        own.append((with_all - with_none) / len(chosen))
    found = {"with starts and the right program": shared, "without": own}
    figures = {
        name: {"median": round(statistics.median(ms), 2), "most": round(max(ms), 2)} for name, ms in found.items()
    }
    return {"problems": len(problems), **figures}


def measure(language: str, count: int, num_mutated: int) -> dict[str, Any]:
    """One language's figures."""
    task = load_task(f"code:solve?language={language}")
    started = time.perf_counter()
    problems = list(task.problems("train", seed=SEED, count=count))
    drawing = 1000 * (time.perf_counter() - started) / count
    statuses, grading = graded(task, problems, [task.gold(problem) for problem in problems])
    missed = [p.canonical_text for p, status in zip(problems, statuses, strict=True) if status != "correct"]
    mutated = list(islice(problems, 0, None, max(1, count // num_mutated)))[:num_mutated]
    return {
        "problems": count,
        "templates": len({problem.canonical_text.partition("(")[0] for problem in problems}),
        "golds that pass": statuses.count("correct"),
        "golds that do not": missed,
        "milliseconds to draw one": round(drawing, 1),
        "milliseconds a verdict": round(grading, 1),
        "mutants": {"of problems": len(mutated), **mutants_met(task, mutated, language)},
    }


def main() -> int:
    """Measure, print, write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--python", type=int, default=2000)
    parser.add_argument("--fortran", type=int, default=400)
    parser.add_argument("--cobol", type=int, default=400)
    parser.add_argument("--mutated", type=int, default=73, help="problems of each language whose mutants are graded")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    report: dict[str, Any] = {"machine": describe_machine(), "sandbox": shared_sandbox().layer}
    for language in ("python", "fortran", "cobol"):
        if count := vars(args)[language]:
            report[language] = measure(language, count, args.mutated)
            print(json.dumps({language: report[language]}), flush=True)
    task = load_task("code:tests")
    report["milliseconds a Python mutant"] = milliseconds_a_mutant(list(task.problems("train", seed=SEED, count=40)))
    print(json.dumps(report["milliseconds a Python mutant"]))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
    return 1 if any(report[one]["golds that do not"] for one in MUTANTS if one in report) else 0


if __name__ == "__main__":
    sys.exit(main())
