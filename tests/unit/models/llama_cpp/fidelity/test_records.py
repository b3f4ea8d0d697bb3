from __future__ import annotations

from typing import Any

import pytest

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.llama_cpp.fidelity.records import (
    KL_BOUNDS,
    Fidelity,
    GreedyDifference,
    GreedyFidelity,
    LogitFidelity,
    TokenDifference,
    TokenFidelity,
    require_faithful,
)
from spiritsafe.stats import Estimate


def logits(kl: float) -> LogitFidelity:
    estimate = Estimate(value=kl, low=0.0, high=kl, confidence=0.95, n=3, method="")
    agreement = Estimate(value=1.0, low=0.5, high=1.0, confidence=0.95, n=3, method="")
    return LogitFidelity(num_documents=3, num_tokens=9, kl=estimate, largest_kl=kl, agreement=agreement)


def fidelity(**changes: Any) -> Fidelity:
    tokens: dict[str, Any] = {
        "seed": 0, "num_texts": 10, "num_conversations": 4, "missing": "", "num_different": 0, "first": (),
        "parent_ends": (2, 0), "header_ends": (0, 2),
    }  # fmt: skip
    tokens |= changes.pop("tokens", {})
    values: dict[str, Any] = {"file_type": "f16", "kl_bound": KL_BOUNDS["f16"], "general": logits(1e-5), **changes}
    return Fidelity(parent="sha256:p", file="sha256:f", llama_cpp="b1", tokens=TokenFidelity(**tokens), **values)


def different(**ids: tuple[int, ...] | None) -> dict[str, Any]:
    given: dict[str, Any] = {"parent": (5, 6, 7), "header": (5, 6, 7), "llama_cpp": (5, 6, 7)} | ids
    return {"num_different": 2, "first": (TokenDifference(text="a 12", parses_special=True, **given),)}


def greedy(num_different: int) -> GreedyFidelity:
    first = (GreedyDifference(prompt=1, position=4, parent=8, file=9, margin=0.5),) * num_different
    return GreedyFidelity(
        num_prompts=2, num_tokens=64, tolerance=0.02, num_ties=3, num_different=num_different, first=first
    )


@pytest.mark.parametrize(
    "good",
    [
        fidelity(),  # in which order ends are listed says nothing
        fidelity(in_task=logits(9e-5), greedy=greedy(0)),
        fidelity(file_type="q4_0", kl_bound=None, general=logits(0.4)),
    ],
)
def test_what_is_within_its_bounds_passes(good: Fidelity) -> None:
    require_faithful(good)
    assert Fidelity.from_json(good.to_json()) == good


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"tokens": different(llama_cpp=(5, 60, 7)), "general": logits(1.0)}, r"'a 12' is \[5, 6, 7\] by the parent's"),
        ({"tokens": different(llama_cpp=(5, 60, 7))}, r"\[5, 60, 7\] by llama\.cpp \(2 of 24 comparisons differ\)"),
        ({"tokens": different(header=(5, 6), llama_cpp=None)}, r"\[5, 6\] by the file's header"),
        ({"tokens": {"header_ends": (2,)}}, r"end with tokens \[2, 0\], the file's with \[2\]"),
        ({"general": logits(2e-4)}, r"on general text are 0\.0002 nats .* f16 explains 1e-04"),
        ({"in_task": logits(0.01), "greedy": greedy(1)}, r"on text of the task are 0\.01 nats"),
        ({"greedy": greedy(1)}, r"answer to prompt 1 has token 9 at place 4, .* prefers 8 by 0\.5 logits \(so 1 of 64"),
    ],
)
def test_the_first_failure_is_named(bad: dict[str, Any], told: str) -> None:
    with pytest.raises(CompatibilityError, match=told):
        require_faithful(fidelity(**bad))
