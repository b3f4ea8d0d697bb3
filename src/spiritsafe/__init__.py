"""spiritsafe: distil one big open language model into a ladder of small ones, each certified by a sealed exam.

Importing this package loads nothing heavy; each room (``spiritsafe.core``, ``spiritsafe.tasks``, …) is imported
by name. Run ``spiritsafe --help`` for the command line.
"""

from __future__ import annotations

__version__ = "0.1.0"
