from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from bpe_parts import write_bpe_model
from tiny_student import sums_problems, tiny_student, worked_documents

from spiritsafe.core.canonical import canonical_json
from spiritsafe.core.errors import CompatibilityError, IntegrityError, NumericalError
from spiritsafe.core.files.reading import parse_json
from spiritsafe.core.records import Message
from spiritsafe.distil.evaluation.estimates import (
    HELD_OUT_STATEMENT,
    HeldOut,
    held_out_difference,
    held_out_estimates,
)
from spiritsafe.distil.evaluation.held_out import held_out
from spiritsafe.models import load_model
from spiritsafe.stats import korn_graubard_interval, ratio_interval


def sums_of(n: int, *, seed: int = 0, **changes: Any) -> HeldOut:
    """Sums of a made-up model on made-up documents; the documents are the same for every seed."""
    sizes = np.random.default_rng(0).integers(5, 60, n)
    rng = np.random.default_rng(seed + 1)
    fields = {
        "vocabulary": "a",
        "teacher": "t",
        "num_documents": n,
        "places": tuple(range(n)),
        "num_tokens": tuple(sizes.tolist()),
        "num_bytes": tuple((4 * sizes).tolist()),
        "nll": tuple((sizes * rng.gamma(4, 0.25, n)).tolist()),
        "kl": tuple((sizes * rng.gamma(2, 0.05, n)).tolist()),
        "num_agreeing": tuple(rng.binomial(sizes, 0.8).tolist()),
        "is_kl_exact": True,
    }
    return HeldOut(**{**fields, **changes})


def test_means_are_over_tokens_and_bytes_and_intervals_over_documents() -> None:
    measured = sums_of(30)
    found = held_out_estimates(measured, seed=3)
    tokens = sum(measured.num_tokens)
    assert measured.kl is not None
    assert measured.num_agreeing is not None
    assert found.kl_per_token is not None
    assert found.bits_per_byte is not None
    assert found.nats_per_token == ratio_interval(measured.nll, measured.num_tokens, seed=3, least=0.0)
    assert found.kl_per_token == ratio_interval(measured.kl, measured.num_tokens, seed=3, least=0.0)
    assert found.bits_per_byte.value == pytest.approx(sum(measured.nll) / math.log(2) / (4 * tokens))
    assert found.bits_per_byte.high == pytest.approx(found.nats_per_token.high / math.log(2) / 4)
    assert found.agreement == korn_graubard_interval(measured.num_agreeing, measured.num_tokens)
    assert (found.num_documents, found.num_left_out, found.num_tokens, found.num_bytes) == (30, 0, tokens, 4 * tokens)
    assert found.nats_per_token.n == 30


def test_an_estimated_divergence_may_be_below_zero() -> None:
    kl = tuple(-0.1 if place % 2 else 0.1 for place in range(30))
    exact, estimated = (held_out_estimates(sums_of(30, kl=kl, is_kl_exact=exact)) for exact in (True, False))
    assert exact.kl_per_token is not None
    assert estimated.kl_per_token is not None
    assert estimated.kl_per_token.low < exact.kl_per_token.low <= exact.kl_per_token.value


def test_documents_without_text_have_no_bytes_to_divide_by() -> None:
    found = held_out_estimates(sums_of(3, num_bytes=(0, 0, 7), kl=None, num_agreeing=None, teacher=None))
    assert found.bits_per_byte is None
    assert (found.kl_per_token, found.agreement) == (None, None)
    assert "bits" not in found.note()


def test_one_document_is_no_sample() -> None:
    with pytest.raises(NumericalError, match="1 documents"):
        held_out_estimates(sums_of(1))


def test_the_line_for_people_tells_what_was_left_out_and_that_it_is_practice() -> None:
    measured = sums_of(4, num_documents=6, too_long=(5,), unsupervised=(4,))
    found = held_out_estimates(measured)
    assert found.note().endswith("(4 documents, 2 left out)")
    for part in ("nats a token", "bits a byte", "KL to the teacher", "same choice at"):
        assert part in found.note()
    assert found.statement == HELD_OUT_STATEMENT
    assert "not a certificate" in found.statement


def test_a_difference_is_paired() -> None:
    first = sums_of(40)
    shift = np.random.default_rng(5).normal(-0.05, 0.02, 40) * np.array(first.num_tokens)
    second = first.model_copy(update={"nll": tuple((np.array(first.nll) + shift).tolist())})
    found = held_out_difference(second, first, seed=2)
    assert found.nats_per_token == ratio_interval(np.array(second.nll) - np.array(first.nll), first.num_tokens, seed=2)
    own = held_out_estimates(first).nats_per_token
    assert found.nats_per_token is not None
    assert found.nats_per_token.high < 0.0
    assert found.nats_per_token.high - found.nats_per_token.low < 0.2 * (own.high - own.low)
    assert found.statement == HELD_OUT_STATEMENT


def test_a_model_does_not_differ_from_itself() -> None:
    found = held_out_difference(sums_of(9), sums_of(9))
    for estimate in (found.nats_per_token, found.bits_per_byte, found.kl_per_token):
        assert estimate is not None
        assert estimate.low == estimate.value == estimate.high == 0.0


def test_only_documents_that_both_read_are_compared() -> None:
    whole, other = sums_of(6), sums_of(6, seed=1)

    def without(measured: HeldOut, place: int) -> HeldOut:
        rows = ("places", "num_tokens", "num_bytes", "nll", "kl", "num_agreeing")
        left = {name: (*getattr(measured, name)[:place], *getattr(measured, name)[place + 1 :]) for name in rows}
        return measured.model_copy(update={**left, "too_long": (place,)})

    found = held_out_difference(without(whole, 1), without(other, 4))
    both = [0, 2, 3, 5]
    assert found.num_documents == 4
    assert found.nats_per_token is not None
    assert found.nats_per_token.value == pytest.approx(
        sum(whole.nll[i] - other.nll[i] for i in both) / sum(whole.num_tokens[i] for i in both)
    )


def test_other_tokens_are_compared_by_the_byte_only() -> None:
    for changes in ({"vocabulary": "b"}, {"num_tokens": (9,) * 8}):
        found = held_out_difference(sums_of(8), sums_of(8, seed=1, **changes))
        assert found.nats_per_token is None
        assert found.kl_per_token is None
        assert found.bits_per_byte is not None
    for changes in ({"teacher": "another"}, {"teacher": None, "kl": None, "num_agreeing": None}):
        found = held_out_difference(sums_of(8), sums_of(8, seed=1, **changes))
        assert found.kl_per_token is None
        assert found.nats_per_token is not None


def test_other_documents_are_refused() -> None:
    with pytest.raises(CompatibilityError, match="8 documents, the other on 9"):
        held_out_difference(sums_of(8), sums_of(9))
    measured = sums_of(8)
    with pytest.raises(CompatibilityError, match="Document 0 holds"):
        held_out_difference(measured, measured.model_copy(update={"num_bytes": (1, *measured.num_bytes[1:])}))


def test_models_of_different_tokenizers_read_one_text(tmp_path: Path) -> None:
    """Two models that know nothing pay log V a token, whatever a token holds; per byte they can be compared."""
    byte, bpe = tiny_student(tmp_path), load_model(write_bpe_model(tmp_path / "bpe"), dtype=torch.float32)
    texts = ["the cat sat there", "nothing here", "東京 and the other cat", "def add(a, b)"]
    measured = []
    for loaded in (byte, bpe):
        with torch.no_grad():
            loaded.model.head().weight_VH.zero_()
        documents = [loaded.chat.document([Message(role="user", content="Go on.")], text) for text in texts]
        measured.append(held_out(loaded, documents, num_bytes=[len(text.encode()) for text in texts]))
    total = sum(len(text.encode()) for text in texts)
    expected = [
        (total + 4) * math.log2(260) / total,
        sum(len(bpe.chat.completion_ids(text)) + 1 for text in texts) * math.log2(448) / total,
    ]
    for one, bits in zip(measured, expected, strict=True):
        estimate = held_out_estimates(one).bits_per_byte
        assert estimate is not None
        assert estimate.value == pytest.approx(bits, rel=1e-5)
    difference = held_out_difference(*measured)
    assert difference.nats_per_token is None
    assert difference.bits_per_byte is not None
    assert difference.bits_per_byte.value == pytest.approx(expected[0] - expected[1], rel=1e-5)
    assert difference.bits_per_byte.low < difference.bits_per_byte.value < difference.bits_per_byte.high


def test_it_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    student = tiny_student(tmp_path)
    measured = held_out(student, worked_documents(student, sums_problems(3)), teacher=student)
    again = HeldOut.from_json(parse_json(canonical_json(measured.to_json()), "measures.json"))
    assert again == measured
    assert held_out_estimates(again) == held_out_estimates(measured)


@pytest.mark.parametrize(
    "changes",
    [
        {"nll": (1.0,)},
        {"kl": (1.0, 2.0, 3.0)},
        {"places": (0, 0)},
        {"too_long": (7,)},
        {"num_documents": 3},
        {"nll": (1.0, math.inf)},
        {"extra": 1},
    ],
)
def test_a_damaged_file_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError, match="Not a valid HeldOut"):
        HeldOut.from_json({**sums_of(2).to_json(), **changes})
