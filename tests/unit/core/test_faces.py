from __future__ import annotations

import subprocess
import sys

import pytest

import spiritsafe.exam as room
from spiritsafe.core.faces import attributes_of


def test_a_name_is_loaded_when_it_is_asked_for_and_only_then() -> None:
    code = """
import sys
import spiritsafe.models as models
assert "torch" not in sys.modules
assert "LocalGenerator" in dir(models)
assert models.LoraConfig is models.LoraConfig
assert "spiritsafe.models.lora.config" in sys.modules
assert "spiritsafe.models.running.generators.local_generator" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_what_a_face_does_not_show_is_an_attribute_error() -> None:
    find, names = attributes_of("spiritsafe.exam")
    with pytest.raises(AttributeError, match=r"module 'spiritsafe\.exam' has no attribute 'nothing'"):
        find("nothing")
    assert set(room.__all__) <= set(names())
    assert find("verify") is room.verify
    from spiritsafe.exam.verification import verify as module  # a module of the room is still found by its name

    assert module.verify is room.verify


def test_a_star_import_gives_what_the_face_names() -> None:
    given: dict[str, object] = {}
    exec("from spiritsafe.ledger import *", given)
    import spiritsafe.ledger

    assert set(spiritsafe.ledger.__all__) <= set(given)
