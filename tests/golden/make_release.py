"""Makes the release of this folder, of a run in miniature. It was made once and must verify for ever.

Run as ``PYTHONPATH=src:tests/support python tests/golden/make_release.py DIRECTORY``. Keys are made anew, so another
run gives other files: add new kinds in a new folder and leave the published one as it is.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from finished_run import SilentWatcher
from released_run import released_recipe

from spiritsafe.models import default_cache
from spiritsafe.pipeline import run_recipe


def make(directory: Path) -> None:
    """One model, one file, one exam that base, model and file sat."""
    recipe = released_recipe(base={"source": "tiny:0?layers=1&hidden=32&heads=2&kv_heads=1", "licence": "Apache-2.0"})
    with tempfile.TemporaryDirectory() as root:
        outcome = run_recipe(recipe, "", root=Path(root), cache=default_cache(), watcher=SilentWatcher())
        (made,) = outcome.directory.glob("stages/*-release/release")
        shutil.copytree(made, directory)


if __name__ == "__main__":
    make(Path(sys.argv[1]))
