"""A routed system on disk: a directory that is asked like a model, and has no weights of its own.

In: a router by prompt, and where its models lie. Out: ``routed.json``, the router, whose digest is the system's; and
``places.json``, which says where its models lie, inside the run from the directory itself on, so that a run can be
moved. Their digests stand in the router: :func:`read_routed` recomputes them before anybody is asked.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from spiritsafe.core.canonical import short
from spiritsafe.core.errors import CompatibilityError, IntegrityError, SourceError
from spiritsafe.core.files.atomic import read_json, write_bytes, write_json
from spiritsafe.core.files.digests import LINEAGE, PLACES, ROUTED, digest_model
from spiritsafe.core.records import Checkpoint, Parent
from spiritsafe.serve.routing.records import Router, read_router


@final
@dataclass(frozen=True, kw_only=True)
class RoutedSystem:
    """What a directory says, once it is known to be true.

    Attributes:
        directories: Of the router's rungs, in their order.
    """

    checkpoint: Checkpoint
    router: Router
    directories: tuple[Path, ...]


def write_routed(
    directory: Path,
    router: Router,
    places: Mapping[str, str],
    models: Sequence[Checkpoint],
    *,
    name: str,
    parents: tuple[Parent, ...],
    recipe: str,
) -> Checkpoint:
    """Fill an empty directory.

    Args:
        router: By prompt.
        places: Where the router's models lie, by digest: from the directory on, or from the root.
        models: What they are; the system bears the licence of the first, and all of them are its parents.
        name: Of the system.
        recipe: Digest of the recipe that asked for it.

    Raises:
        CompatibilityError: A cascade.
        StorageError: It cannot be written.
    """
    _require_by_prompt(router)
    write_bytes(directory / ROUTED, router.canonical())  # its digest is the one that servers tell of a router
    write_json(directory / PLACES, dict(places))
    checkpoint = Checkpoint(
        name=name,
        digest=digest_model(directory),
        license=models[0].license,
        num_parameters=sum(model.num_parameters for model in models),
        weight_bytes=sum(model.weight_bytes for model in models),
        parents=parents,
        recipe=recipe,
    )
    write_json(directory / LINEAGE, checkpoint.to_json())
    return checkpoint


def place_of(model: Path, directory: Path, root: Path) -> str:
    """Where a model lies, as ``places.json`` says it: from the system's directory on inside ``root``, else absolute.

    Args:
        root: What may be moved as a whole.
    """
    model, directory, root = model.resolve(), directory.resolve(), root.resolve()
    return Path(os.path.relpath(model, directory)).as_posix() if model.is_relative_to(root) else model.as_posix()


def read_routed(directory: Path) -> RoutedSystem:
    """A routed system, every digest recomputed.

    Raises:
        SourceError: A file is missing, or a model is not where the system says.
        IntegrityError: The router is not what the lineage describes, or a model is not the one that was calibrated.
        CompatibilityError: A router of other features, or a cascade.
    """
    checkpoint = Checkpoint.from_json(read_json(directory / LINEAGE))
    found = digest_model(directory)
    if found != checkpoint.digest:
        raise IntegrityError(
            f"{directory} is not what its {LINEAGE} describes: {found} instead of {checkpoint.digest}.",
            hint="Restore the directory, or make it again: the step of its run that routes.",
        )
    router = read_router(directory / ROUTED)
    _require_by_prompt(router)
    places = read_json(directory / PLACES)
    directories = []
    for rung in router.rungs:
        place = places.get(rung.digest) if isinstance(places, dict) else None
        model = directory / place if isinstance(place, str) else None
        if model is None or not model.is_dir():
            said = "nowhere" if model is None else f"not at {model}"
            raise SourceError(
                f"{rung.name} ({short(rung.digest)}), which {directory} asks, is {said}.",
                hint=f"Say in {directory / PLACES} where its directory is; the same bytes will do.",
            )
        if (found := digest_model(model)) != rung.digest:
            raise IntegrityError(
                f"{rung.name}, which {directory} asks, was changed: {model} is {short(found)} instead of "
                f"{short(rung.digest)}.",
                hint="Restore it, or route again: what was learnt is about the other weights.",
            )
        directories.append(model)
    return RoutedSystem(checkpoint=checkpoint, router=router, directories=tuple(directories))


def _require_by_prompt(router: Router) -> None:
    if router.kind == "cascade":
        raise CompatibilityError(
            "A cascade asks several models for one answer; a routed system asks one.", hint="Route by prompt."
        )
