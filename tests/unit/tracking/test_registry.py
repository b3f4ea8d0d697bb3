from __future__ import annotations

import pytest

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.tracking import registry
from spiritsafe.tracking.registry import Tracker, register_tracker, tracker_names, tracker_of


def test_each_file_is_a_tracker() -> None:
    assert set(tracker_names()) >= {"mlflow", "tensorboard", "trackio", "wandb"}


def test_one_without_its_library_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    tracker_names()  # those of the house register once
    monkeypatch.setattr(registry, "_TRACKERS", dict(registry._TRACKERS))
    register_tracker("far", "a_module_that_nobody_has")(Tracker)
    with pytest.raises(CompatibilityError) as caught:
        tracker_of("far")
    assert "pip install 'spiritsafe[far]'" in caught.value.hint
