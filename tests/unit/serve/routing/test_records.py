"""``router.json``: whole, canonical, and refused where it does not fit what is served."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from routing_parts import LARGE, SMALL, asked, estimate, simple_router

from spiritsafe.core.canonical import canonical_json
from spiritsafe.core.errors import CompatibilityError, IntegrityError, SourceError
from spiritsafe.serve.routing.features import FEATURES
from spiritsafe.serve.routing.records import Router, read_router, write_router


def test_it_is_written_canonically_and_comes_back(tmp_path: Path) -> None:
    router, path = simple_router(), tmp_path / "router.json"
    write_router(path, router)
    assert path.read_bytes() == canonical_json(router.to_json()) + b"\n"
    assert read_router(path, {SMALL, LARGE, "sha256:other"}) == router
    assert [one.name for one in tmp_path.iterdir()] == ["router.json"]


def test_models_that_are_not_served_are_named(tmp_path: Path) -> None:
    write_router(tmp_path / "router.json", simple_router())
    with pytest.raises(CompatibilityError, match=r"not served: large \(2222") as caught:
        read_router(tmp_path / "router.json", {SMALL})
    assert "calibrate again" in caught.value.hint


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"features": FEATURES + 1}, CompatibilityError, "features of version"),
        ({"threshold": 0.3}, IntegrityError, "not on the curve"),
        ({"threshold": 2}, IntegrityError, "threshold"),
        ({"kind": "cascade"}, IntegrityError, "do not fit the rungs"),
        ({"kind": "best"}, IntegrityError, "not that of the highest chance"),
        ({"surprise": 1}, IntegrityError, "surprise"),
        ({"chances": []}, IntegrityError, "do not fit the rungs"),
        ({"familiar": {"centre": [0.0], "least": 0.1}}, IntegrityError, "mean of the prompts"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, change: dict[str, object], error: type[Exception], words: str
) -> None:
    path = tmp_path / "router.json"
    path.write_text(json.dumps({**simple_router().to_json(), **change}), "utf-8")
    with pytest.raises(error, match=words):
        read_router(path)


@pytest.mark.parametrize("text", ["[]", "{}", "7", "null", '{"features": "x"}'])
def test_what_is_no_router_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "router.json"
    path.write_text(text, "utf-8")
    with pytest.raises((IntegrityError, CompatibilityError)):
        read_router(path)
    with pytest.raises(SourceError):
        read_router(tmp_path / "none.json")


def test_the_threshold_decides() -> None:
    short, long = asked("2 + 2?"), asked("word " * 100)
    router = simple_router()
    assert (router.pick(short), router.pick(long)) == (0, 1)
    assert simple_router(threshold=None).pick(short) == 1
    assert simple_router("cascade", threshold=None).pick(short) == 1
    assert simple_router("cascade").pick(long) == 0
    twice = {**router.to_json(), "rungs": [router.rungs[0].to_json()] * 2}
    with pytest.raises(IntegrityError, match="stands twice"):
        Router.from_json(twice)


def test_whoever_is_likeliest_is_asked_and_of_strangers_the_most_accurate() -> None:
    router = simple_router("best", threshold=1.0)
    texts = [asked("2 + 2?"), asked("word " * 100)]
    assert [router.pick(text) for text in texts] == [0, 1]
    strange = router.familiar.model_copy(update={"least": 2.0})  # everything is
    largest = simple_router(threshold=1.0).model_copy(update={"familiar": strange})
    assert [largest.pick(text) for text in texts] == [1, 1]
    for accuracies, best in (((0.9, 0.5), 0), ((0.5, 0.9), 1), ((0.5, 0.5), 0)):  # equally good: the cheaper
        rungs = tuple(
            rung.model_copy(update={"accuracy": estimate(value)})
            for rung, value in zip(router.rungs, accuracies, strict=True)
        )
        told = router.model_copy(update={"rungs": rungs, "familiar": strange})
        assert [told.pick(text) for text in texts] == [best, best]
