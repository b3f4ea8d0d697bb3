"""The material of a verification: nothing is read that the signature does not name, nothing without bounds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spiritsafe.core.errors import IntegrityError, SpiritsafeError
from spiritsafe.release.verification import case as case_module
from spiritsafe.release.verification.case import ReleaseCase, about, named


def test_only_what_the_signature_names_is_read(released: Any) -> None:
    case = ReleaseCase(released.directory, None)
    assert case.read("LICENSE") == (released.directory / "LICENSE").read_bytes()
    for path in ("../out/LICENSE", "/etc/passwd", "model.sig", "missing"):
        with pytest.raises(IntegrityError, match="not in this release"):
            case.read(path)


def test_a_large_file_is_not_read_whole(copied: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case_module, "_MOST_BYTES", 100)
    with pytest.raises(SpiritsafeError, match=r"release\.json has more than 100 bytes"):
        _ = ReleaseCase(copied(), None).release


def test_errors_name_the_file_once() -> None:
    with pytest.raises(IntegrityError) as caught, about("a.json"):
        raise IntegrityError("It is nested too deep.", hint="Mend it.")
    assert caught.value.message == "a.json: It is nested too deep."
    with pytest.raises(IntegrityError) as caught, about("a.json"):
        raise IntegrityError("a.json is none.", hint="Mend it.")
    assert caught.value.message == "a.json is none."
    assert named([f"{number}" for number in range(25)]).endswith("19 and 5 more")
