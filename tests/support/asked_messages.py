"""A value for each property of ``/v1/messages``: a body that has it, and the same without."""

from __future__ import annotations

from typing import Any

import asked_count_tokens
from asked_completions import SAMPLING, Row

BODY: dict[str, Any] = {**asked_count_tokens.BODY, "max_tokens": 9, "seed": 1}

ROWS: dict[str, Row] = {
    **asked_count_tokens.ROWS,
    **{name: SAMPLING[name] for name in ("temperature", "top_p", "top_k", "seed", "max_tokens")},
    "metadata": ({"metadata": {"user_id": "x"}}, {}),
    "metadata.user_id": ({"metadata": {"user_id": "x"}}, {}),
    "service_tier": ({"service_tier": "standard_only"}, {}),
    "stop_sequences": ({"stop_sequences": ["x"]}, {}),
}
