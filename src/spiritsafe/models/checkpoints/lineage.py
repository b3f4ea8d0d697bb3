"""What a model directory says of itself in ``lineage.json``; its weights are not opened, so that no torch is needed."""

from __future__ import annotations

from pathlib import Path

from spiritsafe.core.errors import IntegrityError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.files.digests import digest_directory
from spiritsafe.core.records import Checkpoint, Parent

LINEAGE = "lineage.json"


def read_checkpoint(directory: Path) -> Checkpoint:
    """The directory's lineage, as written; :func:`verify_checkpoint` checks that it is true.

    Raises:
        SourceError: There is none.
        IntegrityError: It is not a valid record.
    """
    return Checkpoint.from_json(read_json(directory / LINEAGE))


def verify_checkpoint(directory: Path) -> Checkpoint:
    """The directory's lineage, after its digest was recomputed over every other file.

    Raises:
        SourceError: There is none.
        IntegrityError: A file was changed, added or removed since it was written.
    """
    checkpoint = read_checkpoint(directory)
    found = digest_directory(directory, exclude=[LINEAGE])
    if found != checkpoint.digest:
        raise IntegrityError(
            f"{directory} is not what its {LINEAGE} describes: {found} instead of {checkpoint.digest}.",
            hint=f"Restore the directory, or delete {LINEAGE} to treat it as a new model of unknown origin.",
        )
    return checkpoint


def parent_of(checkpoint: Checkpoint, *used_as: str) -> Parent:
    """The entry that a child's lineage holds for this model.

    Args:
        used_as: "weights", "outputs", "logits", "hidden_states".
    """
    return Parent.from_json(
        {
            "name": checkpoint.name,
            "digest": checkpoint.digest,
            "license": checkpoint.license,
            "used_as": used_as,
            "license_granted": checkpoint.license_granted,
        }
    )
