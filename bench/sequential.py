"""Stopping an exam early against sitting the whole paper: the same decisions, how many answers?

    python bench/sequential.py --out bench/results/sequential.json

Two models answer the problems of one paper in random order; the question is "is the first better than the second?" at
the one-sided level .025 ("no worse by 5 points" in the last table). The grid of true gaps, a 1-2-5 series with 0, and
the papers were chosen before any rule was tried. Problems have a difficulty that the models share (latent normals,
correlation .5), the second model scores 40 %. All rules see the same simulated answers.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from spiritsafe.core.seeds import derive_seed
from spiritsafe.stats.sequential.betting import log_wealth
from spiritsafe.stats.sequential.decision import PairedClaim, decide_difference
from spiritsafe.stats.sequential.design import StopRule, boundaries, frequent_looks
from spiritsafe.stats.sequential.score_statistics import difference_z

__all__ = ["GAPS", "Outcome", "bet", "draw", "run_rule", "simulate", "sit_whole"]

GAPS = (0.0, 0.01, 0.02, 0.05, 0.10, 0.20, 0.40)
GAPS_NO_WORSE = (-0.10, -0.05, -0.02, 0.0, 0.02, 0.05, 0.10)
TOLERANCE = 0.05
PAPERS = (200, 400, 1000)
SECOND_SCORE = 0.40
CORRELATION = 0.5
ALPHA = 0.025
ALPHA_BETTING = 0.005  # of it, when betting runs beside the looks

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Outcome:
    """What a rule did on each of R simulated sittings: was the claim shown, after how many problems."""

    shown_R: Bools
    used_R: Ints


def disagreement(gap: float) -> tuple[float, float]:
    """Shares of problems that only the first, only the second model solves."""
    scores = [SECOND_SCORE + gap, SECOND_SCORE]
    first, second = stats.norm.ppf(scores)
    grid = np.linspace(-9.0, first, 20_001)
    below = stats.norm.pdf(grid) * stats.norm.cdf((second - CORRELATION * grid) / math.sqrt(1 - CORRELATION**2))
    both = float(np.trapezoid(below, grid))
    return scores[0] - both, scores[1] - both


def draw(gap: float, num_problems: int, num_sittings: int, seed: int) -> npt.NDArray[np.int8]:
    """First minus second, -1, 0 or 1, shape (R, N)."""
    win, loss = disagreement(gap)
    uniform = np.random.default_rng(seed).random((num_sittings, num_problems), dtype=np.float32)
    return np.where(uniform < win, 1, np.where(uniform < win + loss, -1, 0)).astype(np.int8)


def run_rule(rule: StopRule, margin: float, values_RN: npt.NDArray[np.int8]) -> Outcome:
    """What :func:`decide_difference` decides, for all sittings at once."""
    bounds = boundaries(rule)
    wins, losses = np.cumsum(values_RN == 1, axis=1), np.cumsum(values_RN == -1, axis=1)
    shown, used = np.zeros(len(values_RN), dtype=bool), np.full(len(values_RN), rule.num_problems)
    going = np.ones(len(values_RN), dtype=bool)
    for look, seen in enumerate(rule.looks):
        win, loss = wins[going, seen - 1], losses[going, seen - 1]
        counts = np.stack([loss, seen - win - loss, win], axis=-1)
        # few pairs of numbers occur: the statistic is computed once for each
        kinds, place = np.unique(counts, axis=0, return_inverse=True)
        crossed = (difference_z(kinds, margin, "upper") >= bounds.upper_K[look])[place]
        stop = crossed.copy()
        if bounds.lower_K is not None and seen < rule.num_problems:
            stop |= (difference_z(kinds, margin, "middle") <= bounds.lower_K[look])[place]
        where = np.flatnonzero(going)
        shown[where[crossed]], used[where[stop]] = True, seen
        going[where[stop]] = False
    return Outcome(shown, used)


def sit_whole(margin: float, values_RN: npt.NDArray[np.int8], alpha: float) -> Outcome:
    """The whole paper: McNemar's mid-p test against 0, the corrected score test against other margins."""
    win, loss = (values_RN == 1).sum(axis=1), (values_RN == -1).sum(axis=1)
    num = values_RN.shape[1]
    if margin == 0:
        tail = stats.binom.sf(win, win + loss, 0.5) + 0.5 * stats.binom.pmf(win, win + loss, 0.5)
        shown = (tail <= alpha) & (win > loss)
    else:
        z = difference_z(np.stack([loss, num - win - loss, win], axis=-1), margin, "upper")
        shown = z >= stats.norm.isf(alpha)
    return Outcome(shown, np.full(len(values_RN), num))


def bet(margin: float, values_RN: npt.NDArray[np.int8], alpha: float) -> Outcome:
    """Betting after every problem; nothing but success ends it early."""
    wealth = log_wealth((values_RN.astype(np.float32) + 1) / 2, (1 + margin) / 2)
    above = wealth >= -math.log(alpha)
    shown = above.any(axis=1)
    return Outcome(shown, np.where(shown, above.argmax(axis=1) + 1, values_RN.shape[1]))


def _beside(looks: Outcome, betting: Outcome) -> Outcome:
    """Whichever ends first; if the looks give up first, the bet is off too."""
    first = betting.shown_R & (betting.used_R <= looks.used_R)
    return Outcome(looks.shown_R | first, np.where(first, betting.used_R, looks.used_R))


def _outcomes(margin: float, values_RN: npt.NDArray[np.int8], num_betting: int) -> dict[str, tuple[Outcome, int]]:
    """Every rule's outcome and how many of the sittings it saw."""
    num, some = values_RN.shape[1], values_RN[:num_betting]
    classic = StopRule(num_problems=num, alpha=ALPHA)
    rules = {
        "O'Brien-Fleming, 5 looks": classic,
        "O'Brien-Fleming, 5 looks, futility": classic.model_copy(update={"beta": 0.1}),
        "frequent: 20 looks, cubic, futility": frequent_looks(num, alpha=ALPHA),
    }
    found = {name: (run_rule(rule, margin, values_RN), len(values_RN)) for name, rule in rules.items()}
    part = run_rule(frequent_looks(num, alpha=ALPHA - ALPHA_BETTING), margin, some)
    found[f"frequent at {ALPHA - ALPHA_BETTING:g} beside betting at {ALPHA_BETTING:g}"] = (
        _beside(part, bet(margin, some, ALPHA_BETTING)),
        len(some),
    )
    found["betting alone"] = (bet(margin, some, ALPHA), len(some))
    return found


def _row(name: str, gap: float, outcome: Outcome, whole: Outcome, num_problems: int) -> dict[str, Any]:
    shown, fixed = outcome.shown_R, whole.shown_R[: len(outcome.shown_R)]
    used = float(outcome.used_R.mean())
    return {
        "rule": name,
        "gap": gap,
        "num_sittings": len(shown),
        "shown": round(float(shown.mean()), 5),
        "shown_by_whole_paper": round(float(fixed.mean()), 5),
        "same_decision": round(float((shown == fixed).mean()), 5),
        "only_whole_paper_shows": round(float((fixed & ~shown).mean()), 5),
        "only_rule_shows": round(float((shown & ~fixed).mean()), 5),
        "mean_problems": round(used, 2),
        "share_of_paper": round(used / num_problems, 4),
    }


def simulate(
    num_problems: int, gaps: tuple[float, ...], margin: float, num_sittings: int, num_betting: int
) -> dict[str, Any]:
    """One paper: every rule at every gap, and each rule's mean over the grid."""
    rows = []
    for gap in gaps:
        seed = derive_seed("bench sequential", num_problems, round(1000 * gap), round(1000 * margin))
        values = draw(gap, num_problems, num_sittings, seed)
        whole = sit_whole(margin, values, ALPHA)
        for name, (outcome, _) in _outcomes(margin, values, num_betting).items():
            rows.append(_row(name, gap, outcome, whole, num_problems))
    summary = {}
    for name in dict.fromkeys(row["rule"] for row in rows):
        mine = [row for row in rows if row["rule"] == name]
        share = sum(row["share_of_paper"] for row in mine) / len(mine)
        summary[name] = {
            "mean_share_of_paper": round(share, 4),
            "times_fewer": round(1 / share, 3),
            "largest_error_rate": max((r["shown"] for r in mine if r["gap"] <= margin), default=None),
            "largest_loss_of_power": round(max(r["shown_by_whole_paper"] - r["shown"] for r in mine), 5),
            "least_agreement": min(r["same_decision"] for r in mine),
            "mean_agreement": round(sum(r["same_decision"] for r in mine) / len(mine), 4),
        }
    return {"num_problems": num_problems, "margin": margin, "rows": rows, "summary": summary}


def cover(num_problems: int, gaps: tuple[float, ...], num_sittings: int) -> list[dict[str, Any]]:
    """How often the intervals after the stop hold the true gap, and how often the estimate is above it."""
    rows = []
    for gap in gaps:
        rule = frequent_looks(num_problems, alpha=ALPHA)
        values = draw(gap, num_problems, num_sittings, derive_seed("bench sequential coverage", round(1000 * gap)))
        found = []
        for row in values.astype(int):
            first, second = (row > 0).astype(int).tolist(), (row < 0).astype(int).tolist()
            estimate = decide_difference(rule, PairedClaim(), first, second).estimate
            if estimate is None:
                raise SystemExit("a whole paper was sat and there is no estimate")
            found.append((estimate.low <= gap, gap <= estimate.high, estimate.value > gap, estimate.value, row.mean()))
        low, high, above, value, whole = np.array(found, dtype=float).T
        rows.append(
            {
                "gap": gap,
                "num_sittings": num_sittings,
                "covered": round(float((low * high).mean()), 4),
                "low_above_truth": round(float(1 - low.mean()), 4),
                "high_below_truth": round(float(1 - high.mean()), 4),
                "estimate_above_truth": round(float(above.mean()), 4),
                "mean_error_points": round(100 * float((value - gap).mean()), 3),
                "mean_error_points_whole_paper": round(100 * float((whole - gap).mean()), 3),
            }
        )
    return rows


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, help="raw results as JSON")
    parser.add_argument("--sittings", type=int, default=10_000, help="simulated sittings a gap")
    parser.add_argument("--sittings-betting", type=int, default=1_000, help="of these, the ones that betting sees")
    parser.add_argument("--sittings-coverage", type=int, default=100, help="sittings a gap with an interval each")
    return parser.parse_args()


def main() -> int:
    from machine import describe_machine  # it looks torch's version up: the tests of this file need none

    args = parse()
    start = time.perf_counter()
    result: dict[str, Any] = {
        "machine": describe_machine("numpy", "scipy"),
        "arguments": {k: str(v) for k, v in vars(args).items()},
        "grid": {"gaps": GAPS, "papers": PAPERS, "second_score": SECOND_SCORE, "correlation": CORRELATION},
        "better": [simulate(num, GAPS, 0.0, args.sittings, args.sittings_betting) for num in PAPERS],
        "no_worse": simulate(400, GAPS_NO_WORSE, -TOLERANCE, args.sittings, args.sittings_betting),
        "coverage_after_stopping": cover(400, GAPS, args.sittings_coverage),
    }
    result["seconds"] = round(time.perf_counter() - start, 1)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + "\n", "utf-8")
    for paper in [*result["better"], result["no_worse"]]:
        print(f"\n{paper['num_problems']} problems, margin {paper['margin']:g}")
        for name, line in paper["summary"].items():
            print(f"  {name:44s} {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
