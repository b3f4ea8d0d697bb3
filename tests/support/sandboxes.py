"""Sandboxes of every layer that this machine has, for tests."""

from __future__ import annotations

import atexit
from functools import cache

import pytest

from spiritsafe.tasks.sandbox.layers import SANDBOX_LAYERS, why_no_layer
from spiritsafe.tasks.sandbox.sandbox import Sandbox


@cache
def sandbox_of(layer: str) -> Sandbox:
    """One of a layer; the test is skipped where there is none."""
    if (reason := why_no_layer(layer)) is not None:
        pytest.skip(f"no {layer} here: {reason}")
    sandbox = Sandbox(layer=layer, num_boxes=1)
    atexit.register(sandbox.close)
    return sandbox


every_layer = pytest.mark.parametrize("layer", SANDBOX_LAYERS)
