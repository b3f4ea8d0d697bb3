from __future__ import annotations

import gc
import threading
from collections.abc import Iterator

import pytest

from spiritsafe.core.process.gc_pause import MOST_NEW, rare_collections


@pytest.fixture(autouse=True)
def usual_thresholds() -> Iterator[None]:
    before = gc.get_threshold()
    gc.set_threshold(700, 9, 8)
    yield
    gc.set_threshold(*before)


def test_inside_the_collector_runs_rarely_and_outside_as_before() -> None:
    with rare_collections():
        assert gc.get_threshold() == (MOST_NEW, 9, 8)
        with rare_collections():
            assert gc.get_threshold()[0] == MOST_NEW
        assert gc.get_threshold()[0] == MOST_NEW
    assert gc.get_threshold() == (700, 9, 8)


def test_an_error_inside_leaves_it_as_before() -> None:
    with pytest.raises(KeyError), rare_collections():
        raise KeyError
    assert gc.get_threshold() == (700, 9, 8)


@pytest.mark.parametrize("threshold", [0, 2 * MOST_NEW])
def test_a_collector_that_is_off_or_runs_more_rarely_is_left(threshold: int) -> None:
    gc.set_threshold(threshold, 9, 8)
    with rare_collections():
        assert gc.get_threshold() == (threshold, 9, 8)
    assert gc.get_threshold() == (threshold, 9, 8)


def test_the_last_of_two_threads_puts_it_back() -> None:
    first_is_in, first_may_go = threading.Event(), threading.Event()

    def first() -> None:
        with rare_collections():
            first_is_in.set()
            first_may_go.wait(10)

    thread = threading.Thread(target=first)
    thread.start()
    assert first_is_in.wait(10)
    with rare_collections():
        first_may_go.set()
        thread.join()
        assert gc.get_threshold()[0] == MOST_NEW
    assert gc.get_threshold() == (700, 9, 8)
