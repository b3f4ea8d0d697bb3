"""Weights & Biases: to its service or, with ``WANDB_MODE=offline``, to a folder ``wandb`` in the run's own.

Where it goes and with which key is said by wandb's own login and environment. Sent are the curves and nothing else: no
console, no source, no machine, no list of packages. A run that goes on is the same run there, by its id.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, final

from spiritsafe.tracking.registry import Points, TrackedRun, Tracker, register_tracker

_ID_LENGTH = 32
_TIMEOUT_S = 10.0


@final
@register_tracker("wandb", "wandb")
class WandbTracker(Tracker):
    """Each stage counts its own steps, so each curve is drawn over a step of its axis and not over wandb's."""

    def __init__(self, run: TrackedRun) -> None:
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            save_code=False,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            host="",  # None would be the machine's name
            x_save_requirements=False,
            init_timeout=_TIMEOUT_S,
            finish_timeout=_TIMEOUT_S,
        )
        # asked here, because init would put its question to the terminal and nobody looks for one
        if wandb.setup().settings.mode == "online" and not wandb.login(prompt=False, verify=False):
            raise PermissionError("no login: run `wandb login`, or set WANDB_API_KEY or WANDB_MODE=offline.")
        self._run: Any = wandb.init(
            project=run.project,
            name=run.name,
            id=run.id[:_ID_LENGTH],
            resume="allow",
            dir=str(run.directory),
            settings=settings,
        )
        self._known: set[str] = set()

    def log(self, points: Sequence[Points]) -> None:
        """Hand them to wandb's own process."""
        for one in points:
            step = f"{one.axis}/step"
            for name in one.values.keys() - self._known:
                self._run.define_metric(name, step_metric=step)
            self._known |= one.values.keys()
            self._run.log({**one.values, step: one.step})

    def close(self) -> None:
        """Finish the run there."""
        self._run.finish()
