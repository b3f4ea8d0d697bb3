from __future__ import annotations

import pytest
from pydantic import ValidationError

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.distil.cache import CaptureConfig, Fingerprint, TeacherIdentity
from spiritsafe.distil.cache.config import CacheManifest, ShardPlan

IDENTITY = TeacherIdentity(teacher="t", tokenizer="k", chat_template="c", compute_dtype="float32", vocab_size=9)
FINGERPRINT = Fingerprint(identity=IDENTITY, estimator="threshold", parameters={"threshold": 0.1}, seed=3)


def test_the_two_ways_and_the_default() -> None:
    assert CaptureConfig().parameters == {"threshold": 0.005}
    assert CaptureConfig(num_head=32, num_draws=16).estimator == "head_and_draws"
    assert CaptureConfig(num_head=32, num_draws=16).parameters == {"num_head": 32.0, "num_draws": 16.0}
    for wrong in ({"num_head": 4}, {"num_draws": 4}, {"threshold": 0.1, "num_head": 4, "num_draws": 4}):
        with pytest.raises(ValidationError, match="either threshold, or"):
            CaptureConfig(**wrong)
    with pytest.raises(ValidationError):
        CaptureConfig(num_head=4, num_draws=0)  # a tail without draws is biased


def test_a_difference_is_named_with_what_was_expected_and_found() -> None:
    FINGERPRINT.require(FINGERPRINT.fields(), where="here")
    with pytest.raises(CompatibilityError, match="tokenizer: expected other, found k; seed: expected 4, found 3"):
        FINGERPRINT.require({"tokenizer": "other", "seed": 4, "teacher": "t"}, where="here")
    with pytest.raises(CompatibilityError, match="no field 'temperature'"):
        FINGERPRINT.require({"temperature": 1}, where="here")


def test_a_manifest_survives_json_and_counts() -> None:
    shards = tuple(ShardPlan(file=f"{n}", num_documents=n, num_rows=10 * n, documents="d") for n in (1, 2))
    manifest = CacheManifest(fingerprint=FINGERPRINT, micro_batch_tokens=5, shards=shards)
    assert CacheManifest.from_json(manifest.to_json()) == manifest
    assert (manifest.num_documents, manifest.num_rows) == (3, 30)
