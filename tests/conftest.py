"""Fixtures that several rooms use."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

sys.path.insert(0, str(Path(__file__).parent / "support"))  # whatever the import mode

from fake_endpoint import Answer, FakeEndpoint

from spiritsafe.core.files.lock import OTHERS_WORK_S, locked

settings.register_profile("spiritsafe", deadline=None)  # a busy machine is no defect
settings.load_profile("spiritsafe")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What looks at a finished run takes as long as the run does."""
    for item in items:
        if {"tiny_run", "released_run"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.slow)


@pytest.fixture
def fake_endpoint() -> Iterator[Callable[[Answer], FakeEndpoint]]:
    """Start an endpoint with ``fake_endpoint(answer)``; it stops when the test ends."""
    started: list[FakeEndpoint] = []

    def start(answer: Answer) -> FakeEndpoint:
        started.append(FakeEndpoint(answer))
        return started[-1]

    yield start
    for endpoint in started:
        endpoint.close()


def _once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], Path]) -> Path:
    """One run for all workers."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return make(tmp_path_factory.mktemp(name))
    shared = tmp_path_factory.getbasetemp().parent / name
    note = shared.with_suffix(".path")
    with locked(shared.with_suffix(".lock"), wait_s=OTHERS_WORK_S):
        if not note.exists():
            shared.mkdir(exist_ok=True)
            note.write_text(str(make(shared)), "utf-8")
    return Path(note.read_text("utf-8"))


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run of the packaged recipe ``tiny``, made smaller. Read only."""
    from finished_run import run_tiny  # here, because it loads torch

    return _once(tmp_path_factory, "finished", run_tiny)


@pytest.fixture(scope="session")
def released_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a finished run that ends with a file and a release. Read only."""
    from released_run import run_released  # here, because it loads torch

    return _once(tmp_path_factory, "released", lambda root: run_released(root).directory)
