"""Sandboxes of every layer that this machine has, for tests."""

from __future__ import annotations

import atexit
from functools import cache

import pytest

from spiritsafe.tasks.sandbox.layers import LAYERS, why_not
from spiritsafe.tasks.sandbox.sandbox import Sandbox


@cache
def sandbox_of(layer: str) -> Sandbox:
    """One of a layer; the test is skipped where there is none."""
    if (reason := why_not(layer)) is not None:
        pytest.skip(f"no {layer} here: {reason}")
    sandbox = Sandbox(layer=layer, num_boxes=1)
    atexit.register(sandbox.close)
    return sandbox


every_layer = pytest.mark.parametrize("layer", LAYERS)
