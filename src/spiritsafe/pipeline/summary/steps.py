"""The report's view of steps: the staircase with its costs, and what learning by reward did.

In: the finished stages of a run and its certificates. Out: records of :mod:`spiritsafe.report`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from spiritsafe.core.files.atomic import read_json
from spiritsafe.exam import compare, right_answers
from spiritsafe.exam.records import Certificate
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.equal_compute import history, own, spent_since
from spiritsafe.pipeline.recipe.graph import Node, models_of, start_of
from spiritsafe.pipeline.recipe.probes import When, probes_of
from spiritsafe.pipeline.recipe.steps import ReinforceStep, SampleStep, TuneStep
from spiritsafe.pipeline.stages.probe import PassCounts, counts_of, pass_points
from spiritsafe.report import Arm, ArmKind, MadeRow, PassPoint, Reinforced, RewardRun, RoundPoint, Versus, count_text
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


def made_rows(context: RunContext, certificates: Certificates) -> tuple[MadeRow, ...]:
    """Teacher, its verified attempts, steps and students in the order of making; controls stand elsewhere."""
    rows = [_row(context, "teacher", "fine-tuned", "base", _taught(context), certificates)]
    if context.recipe.sample is not None:
        rows.append(_row(context, "sampled", "sampled", "teacher", _sampled(context, "sample"), certificates))
    for node in context.recipe.nodes:
        if node.control is None:
            made_by, counts = _making(context, node)
            start = node.recipe.start if isinstance(node.recipe, SampleStep) else start_of(node)
            rows.append(_row(context, node.name, made_by, start, counts, certificates))
    return tuple(rows)


def _row(
    context: RunContext, name: str, made_by: str, start: str | None, counts: str, certificates: Certificates
) -> MadeRow:
    spent = own(context, name)
    mine, before = certificates.get(name), certificates.get(start or "")
    gain = compare(mine, before).sealed.difference if mine is not None and before is not None else None
    return MadeRow(
        name=name,
        made_by=made_by,
        start=start,
        counts=counts,
        generated_tokens=spent.generated_tokens,
        trained_tokens=spent.trained_tokens,
        read_tokens=spent.read_tokens,
        flops=spent.flops,
        total_flops=history(context, name).flops,
        sealed=None if mine is None else mine.result.sealed.accuracy,
        gain=gain,
    )


def _result(context: RunContext, name: str) -> dict[str, Any]:
    return dict(context.stage(name).result())


def _taught(context: RunContext) -> str:
    verified = dict(_result(context, "traces")["counts"])["teach"]["verified"]
    return f"{count_text(verified)} worked solutions"


def _sampled(context: RunContext, stage: str) -> str:
    result = _result(context, stage)
    return f"{count_text(result['verified'])} of {count_text(result['asked'])} verified"


def _making(context: RunContext, node: Node) -> tuple[str, str]:
    """How it was made, and how much of what went in."""
    recipe = node.recipe
    if isinstance(recipe, SampleStep):
        return "sampled", _sampled(context, node.name)
    if isinstance(recipe, TuneStep):
        counts = dict(_result(context, node.name)["documents"])
        return "fine-tuned", ", ".join(f"{count_text(count)} {name}" for name, count in counts.items())
    if isinstance(recipe, ReinforceStep):
        rounds = _rounds(context, node.name)
        drawn = sum(row["num_answers"] for row in rounds)
        groups = sum(row["num_kept_groups"] for row in rounds)
        learnt = groups * recipe.config.group_size
        answers = f"{count_text(drawn)} answers, {count_text(learnt)} with an advantage"
        return "reinforced", f"{len(rounds)} rounds, {answers}"
    audit = read_json(context.stage(node.name).path / "audit.json")
    made_by = "fine-tuned" if recipe.objective == "traces" else "distilled"
    return made_by, f"{count_text(audit['num_documents'])} documents"


def comparisons(context: RunContext, certificates: Certificates) -> tuple[Versus, ...]:
    """The pairs that the recipe asks for, paired problem by problem, their seeds added up."""
    confidence = context.recipe.exam.confidence
    rows = []
    for pair in context.recipe.compare:
        sides = [models_of(context.recipe.nodes, name) for name in (pair.first, pair.second)]
        count = max(map(len, sides))
        first, second = (side * (count // len(side)) for side in sides)
        right, other = _added(certificates, first), _added(certificates, second)
        found = paired_difference(right, other, trials=count, confidence=confidence)
        pairs = list(zip(first, second, strict=True))
        rows.append(
            Versus(
                first=pair.first,
                second=pair.second,
                num_seeds=count,
                first_sealed=score_interval(right, trials=count, confidence=confidence),
                second_sealed=score_interval(other, trials=count, confidence=confidence),
                difference=found.difference,
                p_value=found.p_value,
                first_flops=sum(spent_since(context, a, b).flops for a, b in pairs) // count,
                second_flops=sum(spent_since(context, b, a).flops for a, b in pairs) // count,
            )
        )
    return tuple(rows)


def _added(certificates: Certificates, names: Sequence[str]) -> list[int]:
    """Right answers to each sealed problem, of some models together."""
    answers = [right_answers(certificates[name].result.outcomes, "sealed") for name in names]
    return [sum(counts) for counts in zip(*answers, strict=True)]


def reinforced_steps(context: RunContext, certificates: Certificates) -> tuple[Reinforced, ...]:
    """One record for each table of the recipe that reinforces, with its repetitions and controls."""
    groups: dict[str, list[Node]] = defaultdict(list)
    for node in context.recipe.nodes:
        if isinstance(node.recipe, ReinforceStep):
            groups[node.entry].append(node)
    return tuple(_reinforced(context, nodes, certificates) for nodes in groups.values())


def _reinforced(context: RunContext, nodes: Sequence[Node], certificates: Certificates) -> Reinforced:
    nodes = sorted(nodes, key=lambda node: _KINDS.index(_kind(node)))  # the real ones first; stable
    step = _step(nodes[0])
    loss = step.config.loss
    starts = list(dict.fromkeys(_step(node).start for node in nodes))
    wells = _formed(context, nodes)
    return Reinforced(
        name=nodes[0].entry,
        start=starts[0] if len(starts) == 1 else "its start",
        method=_METHODS[loss.method] + (f", KL {loss.kl_weight:g}" if loss.kl_weight else ""),
        task=step.task or context.recipe.task.spec,
        k=step.config.group_size,
        runs=tuple(_run(context, node) for node in nodes),
        passes=_passes(context, nodes),
        well_formed=wells,
        arms=_arms(nodes, certificates, confidence=context.recipe.exam.confidence),
    )


_KINDS: tuple[ArmKind, ...] = ("reinforced", "random", "format", "rft")


def _kind(node: Node) -> ArmKind:
    return node.control or "reinforced"


def _step(node: Node) -> ReinforceStep:
    if not isinstance(node.recipe, ReinforceStep):
        raise TypeError(f"{node.name} is no step that reinforces")
    return node.recipe


def _rounds(context: RunContext, name: str) -> list[dict[str, Any]]:
    return list(read_json(context.stage(name).path / "rounds.json"))


def _run(context: RunContext, node: Node) -> RewardRun:
    path = context.stage(node.name).path
    rounds, curve = _rounds(context, node.name), list(read_json(path / "curve.json"))
    result = _result(context, node.name)
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
    return clopper_pearson_interval(right, count, confidence=context.recipe.exam.confidence)


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
    points = pass_points(before, after, confidence=context.recipe.exam.confidence)
    return tuple(PassPoint(k=k, before=first, after=then, gain=gain) for k, first, then, gain in points)


_WHENS: tuple[When, When] = ("before", "after")


def _formed(context: RunContext, nodes: Sequence[Node]) -> Any:
    """Share of well-formed answers before and after; of several seeds the first."""
    sides = [_counts(context, nodes, when) for when in _WHENS]
    return tuple(side[0].format_rate() for side in sides) if sides[0] else None


def _arms(nodes: Sequence[Node], certificates: Certificates, *, confidence: float) -> tuple[Arm, ...]:
    """Each way to learn, its seeds added up problem by problem."""
    arms: list[Arm] = []
    real: list[int] = []
    for kind in _KINDS:
        mine = [node for node in nodes if _kind(node) == kind]
        if not mine:
            continue
        count, right = len(mine), _added(certificates, [node.name for node in mine])
        start = _added(certificates, [_step(node).start for node in mine])
        gain = paired_difference(right, start, trials=count, confidence=confidence)
        real = real or right
        behind = None if kind == "reinforced" else paired_difference(real, right, trials=count, confidence=confidence)
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
