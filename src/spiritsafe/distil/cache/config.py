"""What a cache is made with, and what it says of itself: configuration, fingerprint, table of shards.

In: a teacher and choices. Out: frozen records; ``cache.json`` is one of them. A cache is refused when any field of its
fingerprint is not what its reader expects, with the name of the field, because teachers and students that do not
belong together are the commonest mistake of offline distillation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self, final

from pydantic import Field, model_validator

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Record

EstimatorName = Literal["threshold", "head_and_draws", "served_top_k"]

_DEFAULT_THRESHOLD = 0.005


@final
class CaptureConfig(Record):
    """How a capture is made. Without any size, ``threshold`` is 0.005.

    Attributes:
        threshold: Ids at least this likely are kept exactly; the rest is drawn so that each draw stands for about this
            much probability. Flat rows get many ids, sure ones few: for a given number of bytes this is the least
            variance of the mean gradient (inclusion probabilities min(1, p / threshold) minimise the summed variance
            for a given number of entries).
        num_head: Keep so many of the likeliest ids of each row exactly, with ``num_draws``.
        num_draws: Draw so many ids of the rest.
        seed: Of draws and rounding.
        micro_batch_tokens: Tokens in one forward pass.
        rows_per_shard: Supervised rows in a file, about; a killed capture loses at most one file's work.
        logits_bytes: Most memory for logits; None chooses by device.
    """

    threshold: float | None = Field(default=None, gt=0.0, lt=1.0)
    num_head: int | None = Field(default=None, ge=1)
    num_draws: int | None = Field(default=None, ge=1)
    seed: int = Field(default=0, ge=0)
    micro_batch_tokens: int = Field(default=8192, ge=1)
    rows_per_shard: int = Field(default=32768, ge=1)
    logits_bytes: int | None = Field(default=None, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _default_threshold(cls, values: Any) -> Any:
        sizes = ("threshold", "num_head", "num_draws")
        if isinstance(values, dict) and all(values.get(name) is None for name in sizes):
            return {**values, "threshold": _DEFAULT_THRESHOLD}
        return values

    @model_validator(mode="after")
    def _one_estimator(self) -> Self:
        fixed = (self.num_head is not None, self.num_draws is not None)
        if fixed not in ((False, False), (True, True)) or fixed[0] == (self.threshold is not None):
            raise ValueError("give either threshold, or num_head and num_draws")
        return self

    @property
    def estimator(self) -> EstimatorName:
        """Which of the two ways."""
        return "head_and_draws" if self.threshold is None else "threshold"

    @property
    def parameters(self) -> dict[str, float]:
        """Of the estimator."""
        if self.threshold is not None:
            return {"threshold": self.threshold}
        return {"num_head": float(self.num_head or 0), "num_draws": float(self.num_draws or 0)}


@final
class TeacherIdentity(Record):
    """Whose probabilities, over which tokens, made how.

    Attributes:
        teacher: Digest of the model directory, or ``EndpointConfig.digest`` of a served model.
        tokenizer: ``ChatFormat.vocab_fingerprint``: what token ids mean.
        chat_template: ``ChatFormat.template_fingerprint``.
        compute_dtype: Of the forward pass; "served" where nobody outside can know.
        vocab_size: Ids that the distribution is over.
    """

    teacher: str
    tokenizer: str
    chat_template: str
    compute_dtype: str
    vocab_size: int = Field(ge=1)


@final
class Fingerprint(Record):
    """Everything that a cached row depends on besides its document."""

    format: Literal[1] = 1
    identity: TeacherIdentity
    estimator: EstimatorName
    parameters: dict[str, float]
    seed: int

    @property
    def unbiased(self) -> bool:
        """Whether the expectation of a row over its draws is the teacher's distribution."""
        return self.estimator != "served_top_k"

    def fields(self) -> dict[str, JSON]:
        """Name and value of each field, those of the teacher among them."""
        own = self.to_json()
        return {**own.pop("identity"), **own}

    def require(self, expected: Mapping[str, JSON], *, where: str) -> None:
        """Refuse when a field is not what is expected of it.

        Raises:
            CompatibilityError: A field differs (all that differ are named), or there is no such field.
        """
        found = self.fields()
        if unknown := sorted(expected.keys() - found.keys()):
            raise CompatibilityError(
                f"A cache has no field {unknown[0]!r} to be checked.", hint=f"Fields are: {', '.join(found)}."
            )
        differing = [name for name, value in expected.items() if found[name] != value]
        if differing:
            pairs = "; ".join(f"{name}: expected {expected[name]}, found {found[name]}" for name in differing)
            raise CompatibilityError(
                f"The teacher cache {where} is not the one that is wanted: {pairs}.",
                hint="Use the cache that was captured from this teacher with this tokenizer and configuration, or "
                "capture a new one into an empty directory.",
            )


@final
class ShardPlan(Record):
    """One file: how many documents and rows it holds and the digest of their keys and rows."""

    file: str
    num_documents: int = Field(ge=1)
    num_rows: int = Field(ge=1)
    documents: str


@final
class CacheManifest(Record):
    """``cache.json``: written first, so that a capture which was killed knows what it was doing.

    Attributes:
        micro_batch_tokens: Part of the inputs, because sums in another order end in other last bits.
    """

    fingerprint: Fingerprint
    micro_batch_tokens: int
    shards: tuple[ShardPlan, ...]

    @property
    def num_rows(self) -> int:
        """Supervised rows of all shards."""
        return sum(shard.num_rows for shard in self.shards)

    @property
    def num_documents(self) -> int:
        """Distinct documents of all shards."""
        return sum(shard.num_documents for shard in self.shards)
