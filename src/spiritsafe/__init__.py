"""spiritsafe: distil one big open language model into a ladder of small ones, each certified by a sealed exam.

Importing this package loads nothing heavy; each room (``spiritsafe.core``, ``spiritsafe.tasks``, …) is imported
by name. Run ``spiritsafe --help`` for the command line. What stands in two lines of somebody else's program is here
too, each loaded when it is first asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from spiritsafe.core.faces import attributes_of

if TYPE_CHECKING:
    from spiritsafe.reinforce import as_trl_reward, as_verl_reward, trl_dataset, write_verl_rows
else:
    __getattr__, __dir__ = attributes_of(__name__)

__all__ = ["__version__", "as_trl_reward", "as_verl_reward", "trl_dataset", "write_verl_rows"]

__version__ = "0.1.0"
