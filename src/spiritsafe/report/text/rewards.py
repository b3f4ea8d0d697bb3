"""What learning by reward did, in sentences: the gain, what controls leave of it, was it taught or elicited.

In: a :class:`~spiritsafe.report.data.learning.Reinforced`, or two ways held against each other. Out: plain text for
page and terminal. A sentence never claims more than its interval does.
"""

from __future__ import annotations

from collections.abc import Sequence

from spiritsafe.report.data.learning import Arm, ArmKind, PassPoint, Reinforced, Versus
from spiritsafe.report.numbers import change_text, work_text

ARM_NAMES: dict[ArmKind, str] = {
    "reinforced": "verified reward",
    "random": "random reward",
    "format": "reward for form",
    "rft": "rejection sampling",
}

_CONTROLS: dict[ArmKind, str] = {
    "random": "a random reward",
    "format": "a reward for form alone",
    "rft": "fine-tuning on right answers alone",
}


def findings(step: Reinforced, exams: Sequence[str]) -> list[str]:
    """The gain and each control in each exam, pass@k.

    Args:
        exams: Names of the run's exams.
    """
    said = []
    for name in exams:
        arms, before = step.arms_of(name), f"{name}: " if len(exams) > 1 else ""
        said += [f"{before}{_gain(step, arm)}" for arm in arms if arm.kind == "reinforced"]
        said += [f"{before}{_control(arm)}" for arm in arms if arm.behind is not None]
    if step.passes:
        said.append(_passes(step.passes))
    return said


def warnings_of(step: Reinforced) -> list[str]:
    """What was warned of before and on the way, and what ended a run early."""
    said = []
    for run in step.runs:
        said += [f"{run.name}, before it began: {warning}." for warning in run.warnings]
        said += [f"{run.name}, alarm: {alarm}" for alarm in run.alarms]
        if run.ended_by:
            said.append(f"{run.name} ended before its last round: {run.ended_by}")
    return said


def versus_sentence(pair: Versus) -> str:
    """What one way to a model was worth against another, and what each cost."""
    seeds = f" over {pair.num_seeds} seeds" if pair.num_seeds > 1 else ""
    difference = pair.difference
    if difference.low > 0:
        said = f"{pair.first} is ahead of {pair.second}{seeds}"
    elif difference.high < 0:
        said = f"{pair.first} is behind {pair.second}{seeds}"
    else:
        said = f"That {pair.first} and {pair.second} differ{seeds} is not shown"
    return (
        f"{said}: {change_text(difference)}, at {work_text(pair.first_flops)} against {work_text(pair.second_flops)}."
    )


def _gain(step: Reinforced, real: Arm) -> str:
    seeds = f" over {real.num_seeds} seeds" if real.num_seeds > 1 else ""
    change = change_text(real.gain)
    if real.gain.low > 0:
        return f"It gained {change} over {step.start} on the sealed exam{seeds}."
    if real.gain.high < 0:
        return f"It lost against {step.start} on the sealed exam{seeds}: {change}."
    return f"No gain over {step.start} is shown on the sealed exam{seeds}: {change}."


def _control(arm: Arm) -> str:
    behind = arm.behind
    if behind is None:
        raise ValueError("the real reward is no control")
    name, own = _CONTROLS[arm.kind], change_text(arm.gain)
    if behind.low > 0:
        return f"Against {name} it is ahead by {change_text(behind)}; the control itself changed by {own}."
    if behind.high < 0:
        return f"It is behind {name}: {change_text(behind)}; the control itself changed by {own}."
    return f"That it beats {name} is not shown: {change_text(behind)}; the control itself changed by {own}."


def _passes(passes: tuple[PassPoint, ...]) -> str:
    """pass@k at one try against the most tries: more of the same, or more at all."""
    first, last = passes[0], passes[-1]
    said = f"On dev problems pass@{first.k} changed by {change_text(first.gain)}"
    if last.k == first.k:
        return f"{said}."
    said += f", pass@{last.k} by {change_text(last.gain)}: "
    if last.gain.low > 0:
        return f"{said}it solves problems that {last.k} tries of its start did not, so something was taught."
    if last.gain.high < 0:
        return f"{said}it solves fewer problems in {last.k} tries than its start did."
    if first.gain.low > 0:
        return (
            f"{said}it gives right answers more often, but that it solves more problems in {last.k} tries than its "
            "start is not shown: elicited rather than taught, as far as this can tell."
        )
    return f"{said}no change is shown."
