"""Lineages for tests of licence duties: given models, and models that are made from others."""

from __future__ import annotations

from spiritsafe.core.records import Checkpoint, ModelUse, Parent


def given(name: str, licence: str, *, granted: str | None = None) -> Checkpoint:
    """A model that was made elsewhere, of which nothing but name and licence is known."""
    return Checkpoint(
        name=name,
        digest=f"sha256:{name}",
        license=licence,
        num_parameters=1,
        weight_bytes=4,
        license_granted=granted,
    )


def made(name: str, *uses: tuple[Checkpoint, ModelUse | tuple[ModelUse, ...]]) -> Checkpoint:
    """A model of a run, under the licence of what it began with, as stages write it."""
    parents = [
        Parent(
            name=model.name,
            digest=model.digest,
            license=model.license,
            used_as=(used,) if isinstance(used, str) else used,
            license_granted=model.license_granted,
        )
        for model, used in uses
    ]
    return Checkpoint(
        name=name,
        digest=f"sha256:{name}",
        license=parents[0].license,
        num_parameters=1,
        weight_bytes=4,
        parents=tuple(parents),
    )
