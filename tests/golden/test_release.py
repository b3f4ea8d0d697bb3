"""A release as it was published, byte for byte, verified by the code of today.

A test that fails here says that published releases no longer hold: mend the code. A new kind gets a folder of its own.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from spiritsafe.release import RELEASE_STEPS, verify_release

ROOT = Path(__file__).parent / "release"
SIGNATURE = "d167ab515e570877592a4b7dbbc26f9ecedd966ad4d5c8363c7faa8042861053"
"""Of ``model.sig``, which names every other file's digest."""


def test_a_published_release_holds() -> None:
    assert hashlib.sha256((ROOT / "model.sig").read_bytes()).hexdigest() == SIGNATURE
    steps = verify_release(ROOT, public_key=ROOT / "signing-key.pem")
    assert [(step.name, step.ok, step.checked) for step in steps] == [(step.name, True, True) for step in RELEASE_STEPS]
