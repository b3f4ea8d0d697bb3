"""``python -m spiritsafe`` is ``spiritsafe``."""

from __future__ import annotations

from spiritsafe.cli import main

main()
