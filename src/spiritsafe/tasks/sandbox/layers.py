"""Which walls this machine has: the strongest of those that can be built and hold.

In: nothing, or the name of a layer. Out: a :class:`Layer`, or an error that says what to install. Nothing weaker than
these is called a sandbox, and without one no foreign code is run.
"""

from __future__ import annotations

import sys
from functools import cache
from types import ModuleType
from typing import final

from spiritsafe.core.errors import TaskError
from spiritsafe.tasks.sandbox import landlock, namespaces
from spiritsafe.tasks.sandbox.box import Box, BoxLost
from spiritsafe.tasks.sandbox.job import Run, RunStep
from spiritsafe.tasks.sandbox.walls import take_slot

_MODULES: tuple[ModuleType, ...] = (namespaces, landlock)
"""Strongest first."""
SANDBOX_LAYERS: tuple[str, ...] = tuple(module.NAME for module in _MODULES)
_WORD = "behind walls"
_TRIES = 3
"""A busy machine refuses a process now and then, and what is found is kept."""


@final
class SandboxMissingError(TaskError):
    """This machine has no sandbox, so foreign code is not run."""


@cache
def why_no_layer(name: str) -> str | None:
    """Why a layer cannot be had here; None: it can, which was tried."""
    module = _module(name)
    if sys.platform != "linux":
        return "only Linux has it"
    reason: str | None = module.why_not()
    if reason is not None:
        return reason
    for _ in range(_TRIES):
        reason = _why_no_word(module)
        if reason is None:
            break
    return reason


def _why_no_word(module: ModuleType) -> str | None:
    """Why no program speaks behind the walls of a layer; None: one did."""
    try:
        box: Box = module.open_box(take_slot())
    except (BoxLost, OSError) as error:
        return str(error)
    try:
        result = box.run([Run(files={"a.py": f"print({_WORD!r})"}, steps=(RunStep(python="a.py"),))])[0]
    except BoxLost as error:
        return str(error)
    finally:
        box.close()
    return None if result.steps[0].text == f"{_WORD}\n" else f"a program said {result.steps[0].errors[-200:]!r}"


def _module(name: str) -> ModuleType:
    return next(module for module in _MODULES if name == module.NAME)


def strongest_layer() -> str:
    """The strongest layer that there is here.

    Raises:
        SandboxMissingError: There is none.
    """
    reasons = {}
    for name in SANDBOX_LAYERS:
        reasons[name] = why_no_layer(name)
        if reasons[name] is None:
            return name
    raise SandboxMissingError(
        "There is no sandbox here, so foreign code is not run: "
        + "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        + ".",
        hint="Install bubblewrap (apt-get install bubblewrap), or use a Linux kernel with Landlock (5.13 or newer); "
        "see `spiritsafe doctor`.",
    )


def open_layer(name: str, slot: int, extra: tuple[str, ...] = ()) -> Box:
    """A box of a layer; see :func:`spiritsafe.tasks.sandbox.namespaces.open_box`."""
    box: Box = _module(name).open_box(slot, extra)
    return box
