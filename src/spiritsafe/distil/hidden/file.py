"""A fitted hidden-state match on disk, so that a resumed run goes on with the very same one.

In: a :class:`HiddenMatch`. Out: one safetensors file, and the match again. Fitting anew gives the same numbers only on
the same machine and number of threads, and costs the calibration passes; a run's checkpoint is refused when its
objective's description differs. The file stays in the run's directory and is no part of the student.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from spiritsafe.core.canonical import canonical_json
from spiritsafe.core.errors import CompatibilityError, IntegrityError, SourceError
from spiritsafe.core.files.atomic import atomic_path
from spiritsafe.distil.hidden.match import ChannelUnits, HiddenMatch, MatchedPair
from spiritsafe.distil.hidden.projections import AffineProjection, IndexProjection, Projection

_KEY = "spiritsafe_hidden_match"
_SETTINGS = ("weight", "until", "schedule", "share_of_tokens", "cosine", "error", "seed")


def save_hidden_match(path: Path, match: HiddenMatch) -> None:
    """Write it; the current weight is not part of it.

    Raises:
        CompatibilityError: It has a projection of a kind that this file cannot hold.
        StorageError: The file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for number, pair in enumerate(match.pairs):
        parts = {"centre_H": pair.units.centre_H, "inverse_H": pair.units.inverse_H, **_tensors_of(pair.projection)}
        tensors |= {f"{number}.{name}": tensor.detach().cpu().contiguous().clone() for name, tensor in parts.items()}
    with atomic_path(path) as temporary:
        save_file(tensors, temporary, metadata={_KEY: canonical_json(match.describe()).decode()})


def _tensors_of(projection: Projection) -> dict[str, Tensor]:
    if isinstance(projection, IndexProjection):
        width = torch.tensor(projection.teacher_width)
        return {"indices_H": torch.tensor(projection.indices), "teacher_width": width}
    if isinstance(projection, AffineProjection):
        parts = {"mean_G": projection.mean_G, "left_GK": projection.left_GK, "bias_H": projection.bias_H}
        return parts if projection.right_KH is None else {**parts, "right_KH": projection.right_KH}
    raise CompatibilityError(
        f"A {type(projection).__name__} cannot be written.", hint="Use an IndexProjection or an AffineProjection."
    )


def load_hidden_match(path: Path, *, device: torch.device | str = "cpu") -> HiddenMatch:
    """Read what :func:`save_hidden_match` wrote, at step 0.

    Args:
        device: Of its tensors: the student's.

    Raises:
        SourceError: It cannot be read, or holds no hidden-state match.
        IntegrityError: Its tensors are not those that its description names.
    """
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            text = (file.metadata() or {}).get(_KEY)
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - the handle is no mapping
    except (OSError, SafetensorError) as error:
        raise SourceError(
            f"{path} cannot be read: {error}.", hint="Delete it; it is made again from the models."
        ) from error
    if text is None:
        raise SourceError(f"{path} holds no hidden-state match.", hint="Name the file that training wrote.")
    described: dict[str, Any] = json.loads(text)
    pairs = []
    changed = IntegrityError(f"{path} was changed after it was written.", hint="Delete it; it is made again.")
    try:
        for number, pair in enumerate(described["pairs"]):
            start = f"{number}."
            own = {name.removeprefix(start): t.to(device) for name, t in tensors.items() if name.startswith(start)}
            pairs.append(
                MatchedPair(
                    student_layer=pair["student_layer"],
                    teacher_layer=pair["teacher_layer"],
                    share=pair["share"],
                    projection=_projection_of(pair["projection"], own),
                    units=ChannelUnits(centre_H=own["centre_H"], inverse_H=own["inverse_H"]),
                )
            )
        match = HiddenMatch(pairs, **{name: described[name] for name in _SETTINGS})
    except KeyError as error:  # a tensor or a setting is gone
        raise changed from error
    if canonical_json(match.describe()) != canonical_json(described):
        raise changed
    return match


def _projection_of(name: str, tensors: dict[str, Tensor]) -> Projection:
    if "indices_H" in tensors:
        return IndexProjection(tensors["indices_H"].tolist(), int(tensors["teacher_width"]))
    return AffineProjection(
        name=name,
        mean_G=tensors["mean_G"],
        left_GK=tensors["left_GK"],
        right_KH=tensors.get("right_KH"),
        bias_H=tensors["bias_H"],
    )
