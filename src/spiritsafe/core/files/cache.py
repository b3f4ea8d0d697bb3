"""Where this program keeps what can be fetched or made again: converted models, what the hub said of a data set."""

from __future__ import annotations

import os
from pathlib import Path


def default_cache() -> Path:
    """``$SPIRITSAFE_CACHE``, else ``spiritsafe`` in the user's cache directory."""
    if given := os.environ.get("SPIRITSAFE_CACHE"):
        return Path(given).expanduser()
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "spiritsafe"
