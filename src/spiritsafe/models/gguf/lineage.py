"""File models: a directory that holds one GGUF file and its ``lineage.json``.

In: such a directory, and where the file came from. Out: its :class:`Checkpoint`, whose digest is that of the file.
"""

from __future__ import annotations

from pathlib import Path

from spiritsafe.core.errors import SourceError
from spiritsafe.core.files.atomic import write_json
from spiritsafe.core.files.digests import LINEAGE, digest_file, file_model
from spiritsafe.core.records import Checkpoint, Parent
from spiritsafe.models.gguf.facts import file_facts


def write_file_lineage(
    directory: Path, *, name: str, license: str, parents: tuple[Parent, ...] = (), recipe: str | None = None
) -> Checkpoint:
    """Describe a finished file model in its ``lineage.json``.

    Args:
        directory: Holds one GGUF file and nothing else.
        name: What the model is called.
        license: SPDX id, or a ``LicenseRef-``.
        parents: What it was made from.
        recipe: Digest of the resolved recipe that made it.

    Raises:
        SourceError: The directory holds something else, or the file is damaged.
        CompatibilityError: The file is of a type that is not known here.
        StorageError: It cannot be written.
    """
    file = file_model(directory)
    if file is None:
        raise SourceError(
            f"{directory} does not hold one GGUF file and nothing else.",
            hint="Put each file into a directory of its own: its digest alone is the model's.",
        )
    facts = file_facts(file)
    checkpoint = Checkpoint(
        name=name,
        digest=digest_file(file),
        license=license,
        num_parameters=facts.num_parameters,
        weight_bytes=facts.tensor_bytes,
        parents=parents,
        recipe=recipe,
    )
    write_json(directory / LINEAGE, checkpoint.to_json())
    return checkpoint
