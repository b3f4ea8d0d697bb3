"""Seeds: every random stream is named, none is shared.

``derive_seed(7, "rollouts", problem_id)`` is a function of its parts only, so that adding a stage or changing an
order never shifts another stage's numbers.
"""

from __future__ import annotations

import hashlib

from spiritsafe.core.canonical import JSON, canonical_json

SEED_BITS = 52
"""Seeds fit RFC 8785's exact integers (below 2**53)."""


def derive_seed(*parts: JSON) -> int:
    """A seed in [0, 2**52) from any JSON values: the leading bits of SHA-256 over their canonical list."""
    raw = hashlib.sha256(canonical_json(list(parts))).digest()
    return int.from_bytes(raw[:8], "big") >> (64 - SEED_BITS)
