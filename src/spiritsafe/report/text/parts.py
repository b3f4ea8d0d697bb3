"""Names of the parts of an exam, short enough to head a column.

In: tasks as a paper names them. Out: of each what tells it from the others.
"""

from __future__ import annotations

from collections.abc import Sequence


def part_labels(tasks: Sequence[str]) -> list[str]:
    """Without the knobs that all have; without the task's own name where one task differs by its knobs alone."""
    split = [(name, knobs.split("&")) for name, _, knobs in (task.partition("?") for task in tasks)]
    shared = set.intersection(*(set(knobs) for _, knobs in split)) if len(split) > 1 else set()
    own = ["&".join(knob for knob in knobs if knob not in shared) for _, knobs in split]
    if len({name for name, _ in split}) == 1 and all(own):
        return own
    return [f"{name}?{knobs}" if knobs else name for (name, _), knobs in zip(split, own, strict=True)]
