"""Rotary position embedding: frequencies of every supported scaling, and the tables of cosines and sines.

In: the ``rope_parameters`` of a Hugging Face configuration (or the older ``rope_theta`` + ``rope_scaling``). Out:
``cos``/``sin`` for given positions. Shapes: P positions, W head_dim, E = W / 2 (each frequency turns the pair of
channels e and e + E), S heads, N tokens.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, final

import torch
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Record
from spiritsafe.models.decoder.architectures import DECODER_HINT
from spiritsafe.models.decoder.sampling_mode import is_sampling

RopeKind = Literal["default", "linear", "dynamic", "llama3", "yarn"]

_KEYS: dict[str, frozenset[str]] = {
    "default": frozenset(),
    "linear": frozenset({"factor"}),
    "dynamic": frozenset({"factor"}),
    "llama3": frozenset({"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}),
    "yarn": frozenset(
        {
            "factor",
            "original_max_position_embeddings",
            "attention_factor",
            "beta_fast",
            "beta_slow",
            "mscale",
            "mscale_all_dim",
            "truncate",
        }
    ),
}
_REQUIRED: dict[str, frozenset[str]] = {
    "default": frozenset(),
    "linear": frozenset({"factor"}),
    "dynamic": frozenset({"factor"}),
    "llama3": frozenset({"factor", "low_freq_factor", "high_freq_factor"}),
    "yarn": frozenset({"factor"}),
}


@final
class RopeConfig(Record):
    """Which rotary embedding a model uses; field names are those of Hugging Face's ``rope_parameters``.

    Attributes:
        rope_type: "dynamic" equals "default" up to the model's own context, which the Decoder never exceeds.
        original_max_position_embeddings: Context before scaling ("llama3", "yarn").
    """

    rope_type: RopeKind = "default"
    rope_theta: float = 10_000.0
    factor: float | None = None
    low_freq_factor: float | None = None
    high_freq_factor: float | None = None
    original_max_position_embeddings: int | None = None
    attention_factor: float | None = None
    beta_fast: float | None = None
    beta_slow: float | None = None
    mscale: float | None = None
    mscale_all_dim: float | None = None
    truncate: bool | None = None

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> RopeConfig:
        """Read either spelling of a Hugging Face configuration.

        Raises:
            CompatibilityError: A type, key or value that is not implemented here, or two spellings that disagree.
        """
        given = config.get("rope_scaling") or config.get("rope_parameters") or {}
        if not isinstance(given, Mapping) or any(isinstance(value, Mapping) for value in given.values()):
            raise CompatibilityError(
                "Rotary embeddings that differ from layer to layer are not implemented.", hint=DECODER_HINT
            )
        values = {key: value for key, value in given.items() if value is not None}
        legacy = values.pop("type", "default")
        kind = values.pop("rope_type", legacy)
        theta = values.pop("rope_theta", config.get("rope_theta"))
        outer = config.get("rope_theta")
        if outer is not None and theta != outer:
            raise CompatibilityError(
                f"The configuration gives two different rope_theta: {theta} and {outer}.",
                hint="Correct config.json so that both say the same.",
            )
        if kind not in _KEYS:
            raise CompatibilityError(f"Rotary embedding type {kind!r} is not implemented.", hint=DECODER_HINT)
        if values.pop("partial_rotary_factor", 1.0) != 1.0 or (config.get("partial_rotary_factor") or 1.0) != 1.0:
            raise CompatibilityError("A partial rotary embedding is not implemented.", hint=DECODER_HINT)
        unknown = sorted(set(values) - _KEYS[kind])
        if unknown:
            raise CompatibilityError(
                f"Rotary embedding type {kind!r} has the unknown parameter {unknown[0]!r}.", hint=DECODER_HINT
            )
        missing = sorted(_REQUIRED[kind] - set(values))
        if missing:
            raise CompatibilityError(
                f"Rotary embedding type {kind!r} lacks its parameter {missing[0]!r}.",
                hint="Restore config.json from the model's publisher.",
            )
        if kind in ("llama3", "yarn"):
            outer_original = config.get("original_max_position_embeddings")
            values.setdefault("original_max_position_embeddings", config.get("max_position_embeddings"))
            if outer_original is not None:
                values["original_max_position_embeddings"] = outer_original
        return cls(rope_type=kind, rope_theta=10_000.0 if theta is None else theta, **values)

    def to_hf(self) -> dict[str, Any]:
        """The ``rope_parameters`` of transformers 5."""
        return self.model_dump(mode="json", exclude_none=True)


def _yarn_mscale(scale: float, mscale: float = 1.0) -> float:
    """Equation 22 of YaRN (arXiv 2309.00071), generalised by DeepSeek's ``mscale``."""
    return 1.0 if scale <= 1 else 0.1 * mscale * math.log(scale) + 1.0


def _required(value: float | None) -> float:
    if value is None:
        raise CompatibilityError(
            "A rotary embedding lacks one of its parameters.", hint="Restore config.json from the model's publisher."
        )
    return float(value)


def _llama3(rope: RopeConfig, frequencies_E: Tensor) -> Tensor:
    """Llama 3.1: long wavelengths slowed by ``factor``, short ones kept, a smooth step between."""
    factor = _required(rope.factor)
    low, high = _required(rope.low_freq_factor), _required(rope.high_freq_factor)
    original = _required(rope.original_max_position_embeddings)
    wavelength_E = 2 * math.pi / frequencies_E
    slowed_E = torch.where(wavelength_E > original / low, frequencies_E / factor, frequencies_E)
    smooth_E = (original / wavelength_E - low) / (high - low)
    blended_E = (1 - smooth_E) * slowed_E / factor + smooth_E * slowed_E
    between_E = ~(wavelength_E < original / high) & ~(wavelength_E > original / low)
    return torch.where(between_E, blended_E, slowed_E)


def _yarn(rope: RopeConfig, head_dim: int) -> tuple[Tensor, float]:
    """YaRN (arXiv 2309.00071 §3.2-3.4): interpolate slow channels, keep fast ones, scale the attention."""
    factor = _required(rope.factor)
    original = _required(rope.original_max_position_embeddings)
    scaling = rope.attention_factor
    if scaling is None:
        if rope.mscale and rope.mscale_all_dim:
            scaling = _yarn_mscale(factor, rope.mscale) / _yarn_mscale(factor, rope.mscale_all_dim)
        else:
            scaling = _yarn_mscale(factor)

    def channel(rotations: float) -> float:
        return (head_dim * math.log(original / (rotations * 2 * math.pi))) / (2 * math.log(rope.rope_theta))

    low, high = channel(rope.beta_fast or 32), channel(rope.beta_slow or 1)
    if rope.truncate is None or rope.truncate:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    if low == high:
        high += 0.001
    periods_E = rope.rope_theta ** (torch.arange(0, head_dim, 2).to(torch.float) / head_dim)
    kept_E = 1 - torch.clamp((torch.arange(head_dim // 2, dtype=torch.float32) - low) / (high - low), 0, 1)
    frequencies_E = (1.0 / (factor * periods_E)) * (1 - kept_E) + (1.0 / periods_E) * kept_E
    return frequencies_E, scaling


def rope_frequencies(rope: RopeConfig, head_dim: int) -> tuple[Tensor, float]:
    """Angular frequency of each channel pair, and the factor on cosines and sines.

    Computed on the CPU in float32, step by step as transformers does, so that both agree to the bit.

    Returns:
        ``frequencies_E`` float32 on the CPU, and the attention scaling (1 except for YaRN).
    """
    if rope.rope_type == "yarn":
        return _yarn(rope, head_dim)
    exponents_E = torch.arange(0, head_dim, 2, dtype=torch.int64).to(torch.float) / head_dim
    frequencies_E = 1.0 / (rope.rope_theta**exponents_E)
    if rope.rope_type == "linear":
        frequencies_E = frequencies_E / _required(rope.factor)
    elif rope.rope_type == "llama3":
        frequencies_E = _llama3(rope, frequencies_E)
    return frequencies_E, 1.0


@final
class RopeTable:
    """Cosines and sines of positions 0..P-1, made once for each device and dtype and grown when longer ones come.

    Not a module: ``model.to(bfloat16)`` must not round the frequencies.
    """

    def __init__(self, rope: RopeConfig, head_dim: int) -> None:
        self._frequencies_E, self._scaling = rope_frequencies(rope, head_dim)
        self._tables: dict[tuple[torch.device, torch.dtype], tuple[Tensor, Tensor]] = {}

    def table(self, num_positions: int, *, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        """``cos_PW`` and ``sin_PW`` for at least ``num_positions`` positions, for both channels of each pair.

        The sine of a pair's first channel, which takes it from the second, is negative.
        """
        known = self._tables.get((device, dtype))
        if known is None or known[0].shape[0] < num_positions:
            size = max(256, 1 << (num_positions - 1).bit_length())
            # torch.inference_mode would poison a table that training later saves for backward
            with torch.inference_mode(False):
                angles_PE = torch.arange(size, dtype=torch.float32)[:, None] * self._frequencies_E
                cos_PE, sin_PE = angles_PE.cos() * self._scaling, angles_PE.sin() * self._scaling
                cos_PW = torch.cat((cos_PE, cos_PE), dim=1).to(device=device, dtype=dtype)
                sin_PW = torch.cat((-sin_PE, sin_PE), dim=1).to(device=device, dtype=dtype)
            known = (cos_PW, sin_PW)
            self._tables[device, dtype] = known
        return known


def rotate(heads_NSW: Tensor, cos_NW: Tensor, sin_NW: Tensor) -> Tensor:
    """Turn each head's channel pairs (e, e + E) by their angle.

    Args:
        heads_NSW: Queries and keys side by side.
        cos_NW: Of each token's position, from a :class:`RopeTable`.
        sin_NW: Likewise.
    """
    partner_NSW = heads_NSW.roll(heads_NSW.shape[-1] // 2, dims=-1)
    turned_NSW = heads_NSW * cos_NW.unsqueeze(1)
    # in half precision one rounding less would be another number than the trainer's
    if heads_NSW.dtype == torch.float32 and is_sampling():
        return turned_NSW.addcmul_(partner_NSW, sin_NW.unsqueeze(1))
    return turned_NSW + partner_NSW * sin_NW.unsqueeze(1)
