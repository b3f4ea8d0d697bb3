"""File models: a directory that holds one GGUF file and its ``lineage.json``.

In: such a directory, and where the file came from. Out: its :class:`Checkpoint`, whose digest is that of the file.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.core.files.atomic import write_json
from spiritsafe.core.files.digests import LINEAGE, digest_file, file_model
from spiritsafe.core.records import Checkpoint, Parent
from spiritsafe.models.checkpoints.lineage import parent_of
from spiritsafe.models.gguf.convert import gguf_license
from spiritsafe.models.gguf.metadata import LINEAGE_KEY
from spiritsafe.models.gguf.names import ROPE_FACTORS
from spiritsafe.models.gguf.reader import GGUFFile


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
        StorageError: It cannot be written.
    """
    file = file_model(directory)
    if file is None:
        raise SourceError(
            f"{directory} does not hold one GGUF file and nothing else.",
            hint="Put each file into a directory of its own: its digest alone is the model's.",
        )
    with GGUFFile(file) as opened:
        tensors = {name: tensor for name, tensor in opened.tensors.items() if name != ROPE_FACTORS}
    checkpoint = Checkpoint(
        name=name,
        digest=digest_file(file),
        license=license,
        num_parameters=sum(math.prod(tensor.shape) for tensor in tensors.values()),
        weight_bytes=sum(tensor.num_bytes for tensor in tensors.values()),
        parents=parents,
        recipe=recipe,
    )
    write_json(directory / LINEAGE, checkpoint.to_json())
    return checkpoint


def found_file_lineage(directory: Path) -> Checkpoint:
    """As :func:`write_file_lineage`, of a file that somebody gave: what it says of itself, and what it was made from.

    Its name is the file's own, without the ending; of a file that holds the lineage of the model that it was made from,
    the name that it holds.

    Raises:
        SourceError: The directory holds something else, or the file is damaged.
        IntegrityError: The lineage in the file is none.
    """
    file = file_model(directory)
    if file is None:
        return write_file_lineage(directory, name="", license="")  # which says what is wrong
    with GGUFFile(file) as opened:
        held, name = opened.metadata.get(LINEAGE_KEY), opened.metadata.get("general.name")
    if held is None:
        return write_file_lineage(directory, name=file.stem, license=gguf_license(file))
    try:
        parent = Checkpoint.from_json(json.loads(held))
    except (ValueError, TypeError, RecursionError) as error:  # an IntegrityError too
        raise IntegrityError(
            f"{file} holds no lineage under {LINEAGE_KEY}, but something else.",
            hint="It was changed after it was written: download or make it again.",
        ) from error
    name = name if isinstance(name, str) and name else file.stem
    return write_file_lineage(directory, name=name, license=gguf_license(file), parents=(parent_of(parent, "weights"),))
