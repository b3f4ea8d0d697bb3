"""What is really in a GGUF file: types, bits a weight, how much is stored otherwise than the file's type says.

In: a file. Out: :class:`FileFacts`, and whether a file's name tells the truth.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import final

from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.core.records import Record
from spiritsafe.models.gguf.names import ROPE_FACTORS
from spiritsafe.models.gguf.reader import GGUFFile, GGUFTensor
from spiritsafe.models.gguf.types import FILE_TYPES, FileType, mixture_types

MOST_SUBSTITUTED = 0.1
"""Share of matrix weights that may have fallen back to another type before a name without "fallback" lies.

A model whose rows fit has none at all. One with a single odd width, such as a cut feed-forward layer whose down
projection alone falls back, has a fifth to a third; where the hidden width does not fit it is nearly everything. A
tenth lies between a corner of the model and a whole kind of matrix.
"""
_MARK = "fallback"
_NAMES = "|".join(sorted(FILE_TYPES, key=len, reverse=True))
_CLAIM = re.compile(rf"(?<![A-Za-z0-9])({_NAMES})(?![A-Za-z0-9_])", re.IGNORECASE)


@final
class TypeShare(Record):
    """Tensors of one type.

    Attributes:
        type: Of the tensors, such as "q8_0".
        num_tensors: How many.
        num_bytes: Theirs together.
    """

    type: str
    num_tensors: int
    num_bytes: int


@final
class FileFacts(Record):
    """What is in a GGUF file.

    Attributes:
        file_type: What the file says it is, such as "q4_k_m".
        types: How its tensors are stored, the type with most bytes first.
        bits_per_weight: Bits of tensors over parameters: the true ones, fallbacks and head included.
        substituted_share: Share of matrix weights that fell back to another type because their rows are not whole
            blocks of the type that the mixture has for them.
        num_parameters: Numbers in its weights.
        tensor_bytes: Bytes of its tensors.
        file_bytes: Bytes of the file.
    """

    file_type: str
    types: tuple[TypeShare, ...]
    bits_per_weight: float
    substituted_share: float
    num_parameters: int
    tensor_bytes: int
    file_bytes: int


def file_facts(file: Path) -> FileFacts:
    """What is in a file, from its header alone.

    Raises:
        SourceError: It is missing, damaged or not GGUF, or holds a vocabulary alone.
        CompatibilityError: It is of a file type that is not known here.
    """
    with GGUFFile(file) as opened:
        number = opened.require("general.file_type", int)
        architecture = opened.require("general.architecture", str)
        tensors = dict(opened.tensors)
    file_type = next((one for one in FILE_TYPES.values() if one.number == number), None)
    if file_type is None:
        raise CompatibilityError(
            f"{file}: the file type {number} is not known.", hint=f"Known: {', '.join(FILE_TYPES)}; convert it to one."
        )
    weights = {name: tensor for name, tensor in tensors.items() if name != ROPE_FACTORS}
    if not any(len(tensor.shape) > 1 for tensor in weights.values()):
        raise SourceError(f"{file} holds no matrix.", hint="It is a vocabulary without a model: give the model's file.")
    num_parameters = sum(math.prod(tensor.shape) for tensor in weights.values())
    tensor_bytes = sum(tensor.num_bytes for tensor in tensors.values())
    return FileFacts(
        file_type=file_type.name,
        types=_shares(tensors),
        bits_per_weight=8 * tensor_bytes / num_parameters,
        substituted_share=_substituted(weights, file_type, architecture),
        num_parameters=num_parameters,
        tensor_bytes=tensor_bytes,
        file_bytes=file.stat().st_size,
    )


def _shares(tensors: Mapping[str, GGUFTensor]) -> tuple[TypeShare, ...]:
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for tensor in tensors.values():
        counts[tensor.kind.name.lower()] += 1
        sizes[tensor.kind.name.lower()] += tensor.num_bytes
    ordered = sorted(counts, key=lambda name: (-sizes[name], name))
    return tuple(TypeShare(type=name, num_tensors=counts[name], num_bytes=sizes[name]) for name in ordered)


def _substituted(weights: Mapping[str, GGUFTensor], file_type: FileType, architecture: str) -> float:
    matrices = {name: tensor for name, tensor in weights.items() if len(tensor.shape) > 1}
    shapes = {name: tensor.shape for name, tensor in weights.items()}
    wanted = mixture_types(shapes, file_type, architecture=architecture)
    other = [name for name, kinds in wanted.items() if matrices[name].kind not in kinds]
    whole = sum(math.prod(tensor.shape) for tensor in matrices.values())
    return sum(math.prod(matrices[name].shape) for name in other) / whole


def true_name(facts: FileFacts, stem: str) -> str:
    """The file name that says what is in the file: ``<stem>-Q4_K_M.gguf``, or ``<stem>-Q4_K_M.fallback.gguf``."""
    mark = f".{_MARK}" if facts.substituted_share > MOST_SUBSTITUTED else ""
    return f"{stem}-{facts.file_type.upper()}{mark}.gguf"


def check_file_name(facts: FileFacts, name: str) -> None:
    """Refuse a file name that says something else than what is in the file; one that says nothing may stand.

    Raises:
        CompatibilityError: It names another type, or hides that more than a tenth of the weights fell back to another
            one; the hint has a name that is true.
    """
    stem = name.removesuffix(".gguf")
    claims = list(_CLAIM.finditer(stem))
    if not claims:
        return
    claim = claims[-1]
    honest = true_name(facts, stem[: claim.start()].rstrip("-._") or "model")
    if claim[1].lower() != facts.file_type:
        raise CompatibilityError(
            f"The name {name} says {claim[1]}, the file is {facts.file_type.upper()}.", hint=f"Call it {honest}."
        )
    if facts.substituted_share > MOST_SUBSTITUTED and _MARK not in stem[claim.end() :].lower():
        stored = ", ".join(f"{one.num_tensors} {one.type.upper()}" for one in facts.types)
        raise CompatibilityError(
            f"The name {name} says {claim[1]}, but {facts.substituted_share:.0%} of its matrix weights fell back to "
            f"another type, because their rows are not whole blocks (tensors: {stored}).",
            hint=f"Call it {honest}, or choose a type whose blocks fit, such as q8_0 or q4_0.",
        )
