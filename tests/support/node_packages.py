"""Where packages of npm lie that tests run: ``SPIRITSAFE_NPM`` names a folder in which ``npm install`` put them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

PACKAGES = ("ai", "@ai-sdk/openai-compatible", "@ai-sdk/open-responses")


def node_packages() -> tuple[str, Path]:
    """The program ``node`` and the folder; skips where one of them is missing."""
    node, folder = shutil.which("node"), os.environ.get("SPIRITSAFE_NPM")
    if node is None or folder is None:
        pytest.skip(f"needs node, and SPIRITSAFE_NPM: a folder with `npm install {' '.join(PACKAGES)}`")
    missing = [name for name in PACKAGES if not (Path(folder) / "node_modules" / name).is_dir()]
    assert not missing, f"SPIRITSAFE_NPM={folder} lacks {missing}"
    return node, Path(folder).resolve()
