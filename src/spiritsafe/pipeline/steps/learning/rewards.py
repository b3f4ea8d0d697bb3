"""What learning by reward did, as the report shows it: courses, pass@k before and after, controls.

In: finished stages of one table of the recipe, and certificates. Out: a :class:`~spiritsafe.report.Reinforced`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from spiritsafe.core.files.atomic import read_json
from spiritsafe.exam import right_answers
from spiritsafe.exam.records import Certificate
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.graph import Node
from spiritsafe.pipeline.stages.measuring.probe import PassCounts, When, counts_of, pass_points, probes_of
from spiritsafe.reinforce import ReinforceConfig
from spiritsafe.report import Arm, ArmKind, PassPoint, Reinforced, RewardRun, RoundPoint
from spiritsafe.stats import Estimate, clopper_pearson_interval, paired_difference, score_interval

Certificates = Mapping[str, Certificate]

_METHODS = {
    "grpo": "GRPO",
    "dr_grpo": "Dr.GRPO",
    "dapo": "DAPO",
    "gspo": "GSPO",
    "cispo": "CISPO",
    "rloo": "RLOO",
    "rft": "rejection-sampled fine-tuning",
}


def reinforced(
    context: RunContext, nodes: Sequence[Node], certificates: Certificates, config: ReinforceConfig, task: str
) -> Reinforced:
    """One record for a table of the recipe that reinforces, with its repetitions and controls."""
    nodes = sorted(nodes, key=lambda node: _KINDS.index(_kind(node)))  # the real ones first; stable
    starts = list(dict.fromkeys(str(node.recipe.needs.weights) for node in nodes))
    wells = _formed(context, nodes)
    return Reinforced(
        name=nodes[0].entry,
        start=starts[0] if len(starts) == 1 else "its start",
        method=_METHODS[config.loss.method] + (f", KL {config.loss.kl_weight:g}" if config.loss.kl_weight else ""),
        task=task,
        k=config.group_size,
        runs=tuple(_run(context, node) for node in nodes),
        passes=_passes(context, nodes),
        well_formed=wells,
        arms=_arms(nodes, certificates),
    )


def added_answers(certificates: Certificates, names: Sequence[str]) -> list[int]:
    """Right answers to each sealed problem, of some models together."""
    answers = [right_answers(certificates[name].result.outcomes, "sealed") for name in names]
    return [sum(counts) for counts in zip(*answers, strict=True)]


_KINDS: tuple[ArmKind, ...] = ("reinforced", "random", "format", "rft")


def _kind(node: Node) -> ArmKind:
    return node.control or "reinforced"


def rounds_of(context: RunContext, name: str) -> list[dict[str, Any]]:
    """One row a round of a model that learnt by reward."""
    return list(read_json(context.stage(name).path / "rounds.json"))


def _run(context: RunContext, node: Node) -> RewardRun:
    path = context.stage(node.name).path
    rounds, curve = rounds_of(context, node.name), list(read_json(path / "curve.json"))
    result = dict[str, Any](context.stage(node.name).result())
    updates: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for row in curve:
        if row["tokens"]:
            updates[row["epoch"]].append(row)
    points, drawn = [], 0
    for row in rounds:
        drawn += row["num_tokens"]
        scored = [_dev_score(context, update) for update in curve if update["epoch"] == row["round"]]
        dev = next((score for score in reversed(scored) if score is not None), None)
        points.append(_point(row, updates[row["round"]], drawn, dev))
    return RewardRun(
        name=node.name,
        kind=_kind(node),
        rounds=tuple(points),
        trained_tokens=int(result["tokens"]),
        drawing_s=sum(row["draw_seconds"] for row in rounds),
        grading_s=sum(row["grade_seconds"] for row in rounds),
        training_s=sum(row.get("train_seconds", 0.0) for row in rounds),
        warnings=tuple(result["warnings"]),
        alarms=tuple(f"round {alarm['round']}: {alarm['message']}" for alarm in read_json(path / "alarms.json")),
        ended_by=result["ended_by"],
    )


def _dev_score(context: RunContext, update: dict[str, Any]) -> Estimate | None:
    found = update.get("evaluation")
    if not found:
        return None
    right, count = int(found["dev_right"]), int(found["dev_problems"])
    return clopper_pearson_interval(right, count, confidence=context.recipe.confidence)


def _point(row: dict[str, Any], updates: Sequence[dict[str, Any]], drawn: int, dev: Estimate | None) -> RoundPoint:
    def mean(name: str) -> float | None:
        values = [update[name] for update in updates if name in update]
        return sum(values) / len(values) if values else None

    return RoundPoint(
        round=row["round"],
        num_tokens=drawn,
        reward=row["reward_mean"],
        right=row["pass_at_1"],
        solved=row["pass_at_k"],
        length=row["tokens_mean"],
        entropy=row["entropy"],
        idle=row["share_without_advantage"],
        changed=mean("changed_share"),
        gap=mean("gap"),
        dev=dev,
    )


def _counts(context: RunContext, nodes: Sequence[Node], when: When) -> list[PassCounts]:
    probes = probes_of(context.recipe)
    found = [probes[node.name, when] for node in nodes if (node.name, when) in probes]
    return [counts_of(context.stage(probe.stage)) for probe in found]


def _passes(context: RunContext, nodes: Sequence[Node]) -> tuple[PassPoint, ...]:
    before, after = (_counts(context, nodes, when) for when in _WHENS)
    if not before:
        return ()
    points = pass_points(before, after, confidence=context.recipe.confidence)
    return tuple(PassPoint(k=k, before=first, after=then, gain=gain) for k, first, then, gain in points)


_WHENS: tuple[When, When] = ("before", "after")


def _formed(context: RunContext, nodes: Sequence[Node]) -> Any:
    """Share of well-formed answers before and after; of several seeds the first."""
    sides = [_counts(context, nodes, when) for when in _WHENS]
    return tuple(side[0].format_rate() for side in sides) if sides[0] else None


def _arms(nodes: Sequence[Node], certificates: Certificates) -> tuple[Arm, ...]:
    """Each way to learn, its seeds added up problem by problem."""
    arms: list[Arm] = []
    real: list[int] = []
    for kind in _KINDS:
        mine = [node for node in nodes if _kind(node) == kind]
        if not mine or not all({node.name, str(node.recipe.needs.weights)} <= certificates.keys() for node in mine):
            continue  # none, or not all of them sat
        confidence = certificates[mine[0].name].result.sealed.accuracy.confidence
        count, right = len(mine), added_answers(certificates, [node.name for node in mine])
        start = added_answers(certificates, [str(node.recipe.needs.weights) for node in mine])
        gain = paired_difference(right, start, trials=count, confidence=confidence)
        real = right if kind == "reinforced" else real
        behind = (
            None
            if kind == "reinforced" or not real
            else paired_difference(real, right, trials=count, confidence=confidence)
        )
        arms.append(
            Arm(
                kind=kind,
                num_seeds=count,
                sealed=score_interval(right, trials=count, confidence=confidence),
                gain=gain.difference,
                behind=None if behind is None else behind.difference,
                p_value=None if behind is None else behind.p_value,
            )
        )
    return tuple(arms)
