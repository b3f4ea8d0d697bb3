"""Claims, budgets and stop rules as people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from spiritsafe.cli.exam.options import parse_budget, parse_claim, parse_stop, read_public_key
from spiritsafe.core.errors import IntegrityError, RecipeError, SourceError
from spiritsafe.core.records import Sampling
from spiritsafe.exam import register, seal
from spiritsafe.exam.records.paper import PaperHeader
from spiritsafe.exam.records.registration import Budget, Claim
from spiritsafe.ledger import KeyPair, Ledger
from spiritsafe.stats.sequential.design import BettingRule, StopRule, frequent_looks
from spiritsafe.tasks import load_task

DIGEST = "sha256:" + "1" * 64


@pytest.fixture
def header(tmp_path: Path) -> PaperHeader:
    task = load_task("arith:sums")
    key = KeyPair.generate("Eve")
    return seal(task, count=16, ledger=Ledger(tmp_path / "l.jsonl"), directory=tmp_path / "p", examiner=key).header


@pytest.mark.parametrize(
    ("text", "claim"),
    [
        ("score >= 0.6", Claim(kind="score at least", score=0.6, level=0.01)),
        ("score>=60%", Claim(kind="score at least", score=0.6, level=0.01)),
        (f"better than {DIGEST}", Claim(kind="better than", reference=DIGEST, level=0.01)),
        (f" better than {DIGEST} by 5 ", Claim(kind="better than", reference=DIGEST, margin=0.05, level=0.01)),
        (f"no worse than {DIGEST} by 2.5", Claim(kind="no worse than", reference=DIGEST, margin=0.025, level=0.01)),
    ],
)
def test_claims(text: str, claim: Claim) -> None:
    assert parse_claim(text, level=0.01) == claim


@pytest.mark.parametrize(
    "text",
    ["", "good", "score > 0.6", "score >= 1.5", "better than", f"no worse than {DIGEST}", "better than /no/such by 2",
     f"better than {DIGEST} by -5", "score >= .", "score >= 1.2.3", f"better than {DIGEST} by .", "score >= ٣",
     "score >= " + "9" * 400],
)  # fmt: skip
def test_what_is_no_claim(text: str) -> None:
    with pytest.raises(RecipeError):
        parse_claim(text, level=0.025)


def test_a_reference_may_be_a_file(tmp_path: Path, header: PaperHeader) -> None:
    from spiritsafe.exam import load_paper

    registration = register(
        ledger=Ledger(tmp_path / "l.jsonl"), paper=load_paper(tmp_path / "p"), maker=KeyPair.generate("Mary"),
        model_name="base", model_digest=DIGEST, sampling=Sampling(), hypothesis="h",
    )  # fmt: skip
    path = tmp_path / "base.json"
    path.write_bytes(registration.canonical())
    assert parse_claim(f"better than {path} by 1", level=0.025).reference == registration.content_digest
    path.write_text("{}")
    with pytest.raises(IntegrityError):
        parse_claim(f"better than {path}", level=0.025)


def test_budgets() -> None:
    assert parse_budget("tokens=500,seconds=60") == Budget(max_tokens=500, max_seconds=60)
    assert parse_budget("cost=2.5,prices=0.5/1.5,currency=EUR") == Budget(
        max_cost=2.5, prompt_price=0.5, completion_price=1.5, currency="EUR"
    )
    assert parse_budget("cost=1,prices=2") == Budget(max_cost=1, prompt_price=2, completion_price=2)


@pytest.mark.parametrize(
    "text", ["", "tokens", "tokens=many", "tokns=5", "cost=2", "currency=EUR", "tokens=5,,seconds=2"]
)
def test_what_is_no_budget(text: str) -> None:
    with pytest.raises(RecipeError):
        parse_budget(text)


def test_stop_rules(header: PaperHeader) -> None:
    assert parse_stop("fixed", header, level=0.05) is None
    assert parse_stop("looks", header, level=0.05) == StopRule(num_problems=8, num_looks=5, alpha=0.05)
    assert parse_stop("looks:3", header, level=0.05) == StopRule(num_problems=8, num_looks=3, alpha=0.05)
    assert parse_stop("frequent", header, level=0.05) == frequent_looks(8, alpha=0.05)
    assert parse_stop("betting", header, level=0.05) == BettingRule(num_problems=8, num_looks=8, alpha=0.05)
    assert parse_stop("betting:2", header, level=0.05) == BettingRule(num_problems=8, num_looks=2, alpha=0.05)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "sometimes",
        "looks:many",
        "looks:9",
        "fixed:3",
        "frequent:3",
        "betting:0",
        "looks:²",
        "looks:٣",
        "looks:" + "9" * 5000,
        "betting:999999999",
    ],
)
def test_what_is_no_stop_rule(text: str, header: PaperHeader) -> None:
    with pytest.raises(RecipeError):
        parse_stop(text, header, level=0.05)


def test_public_keys(tmp_path: Path) -> None:
    key = KeyPair.generate("Ann").public
    path = tmp_path / "ann.json"
    path.write_bytes(key.canonical())
    assert read_public_key(path) == key
    with pytest.raises(SourceError):
        read_public_key(tmp_path / "none.json")
    path.write_text("{}")
    with pytest.raises(IntegrityError):
        read_public_key(path)
