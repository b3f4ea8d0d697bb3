"""File types of GGUF, and which type each tensor of a file gets by llama.cpp's rules.

In: a file type such as "q4_k_m", and names and shapes of a model's tensors. Out: how each of them is stored, hence
bytes before a file is written, and exactly those. A file type names a mixture: vectors stay float32, the head gets a
finer type, some layers get more bits, and rows that are not whole blocks fall back to another type. The rules are those
of ``llama_tensor_get_type`` in llama.cpp's ``src/llama-quant.cpp`` for dense models.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, final

from gguf import GGML_QUANT_SIZES
from gguf import GGMLQuantizationType as T
from gguf import LlamaFileType as F

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.gguf.names import ROPE_FACTORS, gguf_name

FileOnlyName = Literal[
    "f16", "q8_0", "q4_0", "q4_1", "q5_0", "q5_1", "q2_k", "q2_k_s", "q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m",
    "q5_k_s", "q5_k_m", "q6_k", "iq4_nl", "iq4_xs", "iq3_xxs", "iq3_xs", "iq3_s", "iq3_m", "iq2_xxs", "iq2_xs", "iq2_s",
    "iq2_m", "iq1_s", "iq1_m",
]  # fmt: skip
"""Names of file types that mean the same wherever they stand."""
FileTypeName = Literal["f32", "bf16", FileOnlyName]
"""Names of file types, as they stand in file names. In a "bf16" file vectors are float32, unlike in safetensors."""


@final
@dataclass(frozen=True, kw_only=True)
class FileType:
    """A mixture of tensor types that has a name.

    Attributes:
        name: As in file names, in small letters.
        number: Its ``general.file_type``.
        tensor: How most matrices are stored.
        is_written_here: Whether ``write_gguf`` writes it; llama.cpp's quantiser writes the others.
        needs_importance: Whether llama.cpp refuses to write it without an importance matrix.
    """

    name: FileTypeName
    number: int
    tensor: T
    is_written_here: bool = False
    needs_importance: bool = False


def _here(name: FileTypeName, number: F, tensor: T) -> FileType:
    return FileType(name=name, number=int(number), tensor=tensor, is_written_here=True)


def _there(name: FileTypeName, number: F, tensor: T, *, importance: bool = False) -> FileType:
    return FileType(name=name, number=int(number), tensor=tensor, needs_importance=importance)


_ROWS = (
    _here("f32", F.ALL_F32, T.F32),
    _here("f16", F.MOSTLY_F16, T.F16),
    _here("bf16", F.MOSTLY_BF16, T.BF16),
    _here("q8_0", F.MOSTLY_Q8_0, T.Q8_0),
    _here("q4_0", F.MOSTLY_Q4_0, T.Q4_0),
    _here("q4_1", F.MOSTLY_Q4_1, T.Q4_1),
    _here("q5_0", F.MOSTLY_Q5_0, T.Q5_0),
    _here("q5_1", F.MOSTLY_Q5_1, T.Q5_1),
    _there("q2_k", F.MOSTLY_Q2_K, T.Q2_K),
    _there("q2_k_s", F.MOSTLY_Q2_K_S, T.Q2_K, importance=True),
    _there("q3_k_s", F.MOSTLY_Q3_K_S, T.Q3_K),
    _there("q3_k_m", F.MOSTLY_Q3_K_M, T.Q3_K),
    _there("q3_k_l", F.MOSTLY_Q3_K_L, T.Q3_K),
    _there("q4_k_s", F.MOSTLY_Q4_K_S, T.Q4_K),
    _there("q4_k_m", F.MOSTLY_Q4_K_M, T.Q4_K),
    _there("q5_k_s", F.MOSTLY_Q5_K_S, T.Q5_K),
    _there("q5_k_m", F.MOSTLY_Q5_K_M, T.Q5_K),
    _there("q6_k", F.MOSTLY_Q6_K, T.Q6_K),
    _there("iq4_nl", F.MOSTLY_IQ4_NL, T.IQ4_NL),
    _there("iq4_xs", F.MOSTLY_IQ4_XS, T.IQ4_XS),
    _there("iq3_xxs", F.MOSTLY_IQ3_XXS, T.IQ3_XXS, importance=True),
    _there("iq3_xs", F.MOSTLY_IQ3_XS, T.IQ3_S, importance=True),
    _there("iq3_s", F.MOSTLY_IQ3_S, T.IQ3_S),
    _there("iq3_m", F.MOSTLY_IQ3_M, T.IQ3_S),
    _there("iq2_xxs", F.MOSTLY_IQ2_XXS, T.IQ2_XXS, importance=True),
    _there("iq2_xs", F.MOSTLY_IQ2_XS, T.IQ2_XS, importance=True),
    _there("iq2_s", F.MOSTLY_IQ2_S, T.IQ2_XS, importance=True),
    _there("iq2_m", F.MOSTLY_IQ2_M, T.IQ2_S, importance=True),
    _there("iq1_s", F.MOSTLY_IQ1_S, T.IQ1_S, importance=True),
    _there("iq1_m", F.MOSTLY_IQ1_M, T.IQ1_M, importance=True),
)
FILE_TYPES: Mapping[str, FileType] = {row.name: row for row in _ROWS}
"""Name → file type."""

_PLAIN = (T.F32, T.F16, T.BF16)
# What a row becomes that is not whole blocks of 256; of 32 if it is whole blocks of that, else float16.
_FALLBACKS = {
    **dict.fromkeys((T.IQ1_S, T.IQ1_M, T.IQ2_XXS, T.IQ2_XS, T.IQ2_S, T.IQ3_XXS, T.IQ3_S, T.IQ4_XS), T.IQ4_NL),
    **dict.fromkeys((T.Q2_K, T.Q3_K), T.Q4_0),
    T.Q4_K: T.Q5_0,
    T.Q5_K: T.Q5_1,
    T.Q6_K: T.Q8_0,
}


def find_file_type(name: str) -> FileType:
    """The file type of a name, in any letter case.

    Raises:
        CompatibilityError: There is none.
    """
    found = FILE_TYPES.get(name.lower())
    if found is None:
        raise CompatibilityError(
            f"There is no file type {name!r}.",
            hint=f"Known: {', '.join(FILE_TYPES)}.",
        )
    return found


def file_shapes(config: DecoderConfig) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor of a model's file, under a GGUF file's names."""
    layer = config.layer_shapes()
    named = dict(config.outer_shapes())
    for index in range(config.num_layers):
        named |= {f"model.layers.{index}.{name}": shape for name, shape in layer.items()}
    factors = {ROPE_FACTORS: (config.head_dim // 2,)} if config.rope.rope_type == "llama3" else {}
    return {str(gguf_name(name)): shape for name, shape in named.items()} | factors


def file_bytes(config: DecoderConfig, file_type: FileType, *, importance: bool = False) -> int:
    """Bytes of the tensors in a model's file.

    Args:
        config: Of the model.
        file_type: Of the file.
        importance: Whether llama.cpp has an importance matrix.
    """
    shapes = file_shapes(config)
    architecture = config.architecture.gguf or "llama"
    types = tensor_types(shapes, file_type, architecture=architecture, importance=importance)
    return sum(stored_bytes(shape, types[name]) for name, shape in shapes.items())


def stored_bytes(shape: tuple[int, ...], tensor: T) -> int:
    """Bytes of a tensor stored so."""
    block, num_bytes = GGML_QUANT_SIZES[tensor]
    return math.prod(shape) // int(block) * int(num_bytes)


@final
@dataclass(frozen=True, kw_only=True)
class _Model:
    """What the rules look at beside a tensor's name.

    Attributes:
        num_layers: Layers.
        num_queries: Query heads that share a key head.
        is_tied: Whether the embedding is the head.
        is_70b: Whether llama.cpp takes it for a model of 70 billion parameters, which it tells by 80 layers.
        has_importance: Whether there is an importance matrix.
    """

    num_layers: int
    num_queries: int
    is_tied: bool
    is_70b: bool
    has_importance: bool

    def is_head(self, name: str) -> bool:
        """Whether the tensor gives the logits."""
        return name == ("token_embd.weight" if self.is_tied else "output.weight")

    def is_early(self, layer: int, part: int = 8) -> bool:
        """Whether it is in the first eighth (or another part) of the layers."""
        return layer < self.num_layers // part

    def has_more_bits(self, layer: int) -> bool:
        """llama.cpp's ``use_more_bits``: the first and last eighth, and every third layer between."""
        eighth = self.num_layers // 8
        return layer < eighth or layer >= 7 * self.num_layers // 8 or (layer - eighth) % 3 == 2


_Rule = Callable[[_Model, int], T | None]
"""A model and a layer to the type of a tensor there; None: the file type's own."""


def _always(tensor: T) -> _Rule:
    return lambda model, layer: tensor


def _grouped(tensor: T, otherwise: T | None = None) -> _Rule:
    """The type where at least four query heads share a key head: the values' matrix is small then."""
    return lambda model, layer: tensor if model.num_queries >= 4 else otherwise


def _early(tensor: T, otherwise: T | None = None, part: int = 8) -> _Rule:
    return lambda model, layer: tensor if model.is_early(layer, part) else otherwise


def _more_bits(model: _Model, layer: int) -> T | None:
    return T.Q6_K if model.has_more_bits(layer) else None


def _first(count: int, tensor: T, otherwise: T | None = None) -> _Rule:
    return lambda model, layer: tensor if layer < count else otherwise


def _with_importance(rule: _Rule) -> _Rule:
    return lambda model, layer: rule(model, layer) if model.has_importance else None


def _without_importance(rule: _Rule) -> _Rule:
    return lambda model, layer: None if model.has_importance else rule(model, layer)


def _middle(model: _Model, layer: int) -> T | None:
    is_middle = model.num_layers // 8 <= layer < 7 * model.num_layers // 8
    return T.IQ3_XXS if is_middle else None


def _iq3_xxs_values(model: _Model, layer: int) -> T:
    if model.num_queries >= 4:
        return T.Q4_K
    return T.IQ3_XXS if model.has_importance else T.IQ3_S


_COARSE = ("iq2_xxs", "iq2_xs", "iq2_s", "iq2_m", "iq1_s", "iq1_m")
_FINE_COARSE = ("iq2_s", "iq2_m")


def _coarse(name: str) -> T:
    """What the types below three bits take for tensors that matter more."""
    return T.IQ3_S if name in _FINE_COARSE else T.Q2_K


_VALUES: dict[str, _Rule] = {
    "q2_k": _grouped(T.Q4_K, T.Q3_K),
    "q2_k_s": _grouped(T.Q4_K),
    "q3_k_m": _first(2, T.Q5_K, T.Q4_K),
    "q3_k_l": _always(T.Q5_K),
    "q4_k_s": _first(4, T.Q5_K),
    "q4_k_m": _more_bits,
    "q5_k_m": _more_bits,
    "iq4_nl": _grouped(T.Q5_K),
    "iq4_xs": _grouped(T.Q5_K),
    "iq3_xxs": _iq3_xxs_values,
    "iq3_xs": _grouped(T.Q4_K),
    "iq3_s": _grouped(T.Q4_K),
    "iq3_m": _always(T.Q4_K),
    **{name: _grouped(T.Q4_K, _coarse(name)) for name in _COARSE},
}
_DOWN: dict[str, _Rule] = {
    "q2_k": _always(T.Q3_K),
    "q2_k_s": _early(T.Q4_K),
    "q3_k_m": _early(T.Q5_K, T.Q4_K, part=16),
    "q3_k_l": _always(T.Q5_K),
    "q4_k_s": _early(T.Q5_K),
    "q4_k_m": _more_bits,
    "q5_k_m": _more_bits,
    "iq4_nl": _without_importance(_early(T.Q5_K)),
    "iq4_xs": _without_importance(_early(T.Q5_K)),
    "iq3_xxs": _without_importance(_early(T.Q4_K, T.Q3_K)),
    "iq3_m": _early(T.Q4_K),
    "q4_0": _with_importance(_early(T.Q4_1)),
    "q5_0": _with_importance(_early(T.Q5_1)),
    **{name: _early(_coarse(name)) for name in _COARSE},
}
_OUT: dict[str, _Rule] = {
    "q2_k": _always(T.Q3_K),
    "q3_k_m": _always(T.Q4_K),
    "q3_k_l": _always(T.Q5_K),
    "iq3_xxs": _always(T.IQ3_S),
    "iq3_m": _always(T.Q4_K),
    **dict.fromkeys(("iq1_s", "iq1_m"), _always(T.IQ2_XXS)),
    **dict.fromkeys(_FINE_COARSE, _always(T.IQ3_S)),
}
_QUERIES: dict[str, _Rule] = {"iq3_xs": _always(T.IQ3_XXS), "iq3_xxs": _always(T.IQ2_S)}
_INNER: dict[str, _Rule] = {"iq3_xs": _middle}
_RULES: dict[str, dict[str, _Rule]] = {
    "attn_v": _VALUES,
    "attn_q": _QUERIES,
    "attn_k": _QUERIES,
    "attn_output": _OUT,
    "ffn_down": _DOWN,
    "ffn_gate": _INNER,
    "ffn_up": _INNER,
}
_EMBEDDING: dict[str, T] = {
    **dict.fromkeys(("iq2_xxs", "iq2_xs", "iq1_s", "iq1_m"), T.Q2_K),
    **dict.fromkeys((*_FINE_COARSE, "iq3_xxs"), T.IQ3_S),
}
_LAYER = re.compile(r"blk\.(\d+)\.([a-z_]+)\.weight")


def tensor_types(
    shapes: Mapping[str, tuple[int, ...]], file_type: FileType, *, architecture: str, importance: bool = False
) -> dict[str, T]:
    """How each tensor of a dense model is stored in a file of this type.

    Args:
        shapes: Name → shape, under a GGUF file's names; a tied head is not listed.
        file_type: Of the file.
        architecture: ``general.architecture``.
        importance: Whether llama.cpp has an importance matrix, which changes some choices.
    """
    model = _model_of(shapes, architecture, importance)
    return {name: _tensor_type(name, shape, file_type, model) for name, shape in shapes.items()}


def _model_of(shapes: Mapping[str, tuple[int, ...]], architecture: str, importance: bool) -> _Model:
    layers = 1 + max((int(m[1]) for name in shapes if (m := _LAYER.fullmatch(name))), default=-1)
    queries, keys = (shapes.get(f"blk.0.attn_{part}.weight", (1,))[0] for part in "qk")
    grouped = queries // keys
    is_70b = layers == 80 and (architecture == "qwen2" or (architecture == "llama" and grouped > 1))
    return _Model(
        num_layers=layers,
        num_queries=grouped,
        is_tied="output.weight" not in shapes,
        is_70b=is_70b,
        has_importance=importance,
    )


def mixture_types(
    shapes: Mapping[str, tuple[int, ...]], file_type: FileType, *, architecture: str
) -> dict[str, set[T]]:
    """What the file type has for each matrix, with and without an importance matrix, were its rows whole blocks.

    The head is left out: every quantised file type stores it in a finer type than its name says.
    """
    models = [_model_of(shapes, architecture, importance) for importance in (False, True)]
    return {
        name: {_wanted(name, file_type, model) for model in models}
        for name, shape in shapes.items()
        if len(shape) > 1 and not models[0].is_head(name)
    }


def _tensor_type(name: str, shape: tuple[int, ...], file_type: FileType, model: _Model) -> T:
    if len(shape) == 1:
        return T.F32
    if file_type.tensor in _PLAIN:
        return file_type.tensor
    wanted = _head_type(shape, file_type) if model.is_head(name) else _wanted(name, file_type, model)
    return _fitting(shape, wanted)


def _head_type(shape: tuple[int, ...], file_type: FileType) -> T:
    if file_type.tensor == T.Q8_0 or shape[-1] % GGML_QUANT_SIZES[file_type.tensor][0]:
        return T.Q8_0
    return T.Q5_K if file_type.name in (*_COARSE, "iq3_xxs") else T.Q6_K


def _wanted(name: str, file_type: FileType, model: _Model) -> T:
    """The type of a matrix that is not the head, whatever its rows."""
    if name == "token_embd.weight":
        return _EMBEDDING.get(file_type.name, file_type.tensor)
    match = _LAYER.fullmatch(name)
    rule = _RULES.get(match[2], {}).get(file_type.name) if match else None
    found = None if match is None or rule is None else rule(model, int(match[1]))
    wanted = file_type.tensor if found is None else found
    if match and match[2] == "attn_v" and model.is_70b and file_type.name not in _COARSE and wanted in (T.Q3_K, T.Q4_K):
        return T.Q5_K
    return wanted


def _fitting(shape: tuple[int, ...], wanted: T) -> T:
    """The type itself, or what rows that are not whole blocks of it fall back to."""
    for kind in (wanted, _FALLBACKS.get(wanted, T.F16)):
        if shape[-1] % GGML_QUANT_SIZES[kind][0] == 0:
            return kind
    return T.F16
