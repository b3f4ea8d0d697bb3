"""The architecture of a dense RoPE decoder, read from and written to Hugging Face's ``config.json``.

In: the dictionary of a ``config.json`` of one of ``ARCHITECTURES``. Out: a frozen :class:`DecoderConfig`. What the
Decoder does not implement is refused. A key that is not known here is looked up in transformers' code for the family:
read there, it is refused here; read nowhere, it changes nothing, and :func:`unread_keys` names it for the user.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, final

from pydantic import Field, JsonValue, ValidationError

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.records import Record
from spiritsafe.models.decoder.architectures import (
    ARCHITECTURES,
    DECODER_HINT,
    LAYER_TENSORS,
    OUTER_TENSORS,
    Architecture,
    TensorAxis,
    axis_sizes,
    shapes_of,
)
from spiritsafe.models.decoder.config_keys import keys_read_by
from spiritsafe.models.decoder.rope import RopeConfig

_READ = {
    "model_type", "vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
    "num_key_value_heads", "head_dim", "hidden_act", "max_position_embeddings", "original_max_position_embeddings",
    "rms_norm_eps", "tie_word_embeddings", "rope_parameters", "rope_scaling", "rope_theta", "partial_rotary_factor",
}  # fmt: skip

# Carried along unread: none of these changes the function from tokens to logits. attention_dropout belongs here
# because it acts in training only and the Decoder trains without dropout.
_METADATA = {
    "_model_name_or_path", "_name_or_path", "attention_dropout", "bos_token_id", "chunk_size_feed_forward", "dtype",
    "eos_token_id", "finetuning_task", "initializer_range", "is_decoder", "is_llama_config", "output_attentions",
    "output_hidden_states", "pad_token_id", "pretraining_tp", "problem_type", "return_dict", "sep_token_id",
    "task_specific_params", "tokenizer_class", "torch_dtype", "torchscript", "transformers.js_config",
    "transformers_version", "unk_token_id", "use_cache",
}  # fmt: skip
# Bookkeeping that says nothing more of this model, or follows from its family.
_DROPPED = {
    "_attn_implementation", "_attn_implementation_autoset", "architectures", "attn_implementation", "id2label",
    "label2id",
}  # fmt: skip
# What trainers, uploaders and older versions of transformers leave behind: how text is drawn, how the model was
# trained, tasks that are not language modelling.
_INERT = {
    "_commit_hash", "_flash_attn_2_enabled", "auto_map", "bad_words_ids", "begin_suppress_tokens", "classifier_dropout",
    "decoder_start_token_id", "diversity_penalty", "do_sample", "early_stopping", "embd_pdrop",
    "encoder_no_repeat_ngram_size", "exponential_decay_length_penalty", "forced_bos_token_id", "forced_eos_token_id",
    "gradient_checkpointing", "hidden_dropout", "length_penalty", "max_length", "max_new_tokens", "min_length",
    "min_new_tokens", "model_max_length", "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_labels",
    "num_return_sequences", "output_scores", "pad_token", "prefix", "remove_invalid_values", "repetition_penalty",
    "resid_pdrop", "return_dict_in_generate", "suppress_tokens", "temperature", "tf_legacy_loss", "top_k", "top_p",
    "typical_p", "unsloth_fixed", "unsloth_version", "use_bfloat16", "use_return_dict",
}  # fmt: skip

# Switches that other code understands and the Decoder implements in this one position only.
_FIXED: dict[str, Any] = {
    "is_encoder_decoder": False,
    "rope_interleaved": False,
    "use_mrope": False,
    "use_sliding_window": False,
    "add_cross_attention": False,
    "tie_encoder_decoder": False,
    "pruned_heads": {},
    "quantization_config": {},
}


_MOST = 2**40
_MOST_LAYERS = 10_000
"""No model is so large; a list of layers must fit into memory before any weight is read."""


def _size(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    most = _MOST_LAYERS if key == "num_hidden_layers" else _MOST
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise CompatibilityError(
            f"config.json has no usable {key} (found {value!r}).",
            hint="Restore config.json from the model's publisher.",
        )
    return value


def unread_keys(config: Mapping[str, Any]) -> tuple[str, ...]:
    """Keys of a Decoder's ``config.json`` that are not known here, and that transformers' code does not read either.

    Raises:
        CompatibilityError: The Decoder does not implement the family, or a key that transformers reads.
    """
    family = config.get("model_type")
    if not isinstance(family, str) or family not in ARCHITECTURES:
        raise CompatibilityError(f"The Decoder does not implement model_type {family!r}.", hint=DECODER_HINT)
    known = _READ | ARCHITECTURES[family].keys | _METADATA | _DROPPED | _INERT | {"layer_types"}
    unread = []
    for key, value in config.items():
        if value is None or key in known or (key in _FIXED and value == _FIXED[key]):
            continue
        read = keys_read_by(family)
        if key in _FIXED or read is None or key in read:
            raise CompatibilityError(
                f"The Decoder does not implement {key}={value!r} of a {family} configuration.", hint=DECODER_HINT
            )
        unread.append(key)
    return tuple(unread)


def _windows(config: Mapping[str, Any], family: str, num_layers: int) -> tuple[int | None, ...]:
    """Window of each layer, by the family's own rule; a ``layer_types`` list must say what the family can do."""
    window = config.get("sliding_window")
    if window is not None and (not isinstance(window, int) or window < 1):
        raise CompatibilityError(
            f"config.json has an impossible sliding_window: {window!r}.",
            hint="Restore config.json from the model's publisher.",
        )
    is_late = ARCHITECTURES[family].windows == "late"
    if is_late:
        window = window if config.get("use_sliding_window", False) else None
        first = config.get("max_window_layers", 28)
        sliding = [window is not None and layer >= first for layer in range(num_layers)]
    else:
        sliding = [window is not None] * num_layers
    types = config.get("layer_types")
    if types is not None:
        named = {"full_attention": False, "attention": False, "sliding_attention": True}
        fits = isinstance(types, list) and len(types) == num_layers
        if not fits or any(not isinstance(kind, str) or kind not in named for kind in types):
            raise CompatibilityError(
                f"layer_types {types!r} is not implemented for {num_layers} layers.", hint=DECODER_HINT
            )
        listed = [named[kind] for kind in types]
        if (not is_late and listed != sliding) or (window is None and any(listed)):
            raise CompatibilityError(
                f"layer_types {types!r} contradicts the rest of this {family} configuration.", hint=DECODER_HINT
            )
        sliding = listed
    return tuple(window if slides else None for slides in sliding)


@final
class DecoderConfig(Record):
    """A dense decoder with rotary positions.

    Attributes:
        family: Hugging Face ``model_type``.
        head_dim: Width of one attention head.
        windows: For each layer, how many tokens a query sees (itself included), or None for all before it.
        qkv_bias: Whether query, key and value projections have biases.
        out_bias: Whether the attention's output projection has a bias.
        qk_norm: Whether queries and keys are RMS-normalised per head before rotation (Qwen3).
        tied: Whether the head is the embedding.
        embedding_multiplier: Factor on embeddings (Granite).
        attention_multiplier: Factor on attention scores; None is ``head_dim ** -0.5``.
        residual_multiplier: Factor on what each sublayer adds (Granite).
        logits_scaling: Divisor of logits (Granite).
        metadata: Keys of ``config.json`` that do not change the function (token ids, version, dtype, …).
    """

    family: str
    vocab_size: int = Field(ge=1)
    hidden_size: int = Field(ge=1)
    intermediate_size: int = Field(ge=1)
    num_layers: int = Field(ge=1)
    num_heads: int = Field(ge=1)
    num_kv_heads: int = Field(ge=1)
    head_dim: int = Field(ge=2)
    max_context: int = Field(ge=1)
    rms_norm_eps: float = Field(gt=0)
    rope: RopeConfig = RopeConfig()
    windows: tuple[int | None, ...]
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    tied: bool = False
    embedding_multiplier: float = 1.0
    attention_multiplier: float | None = None
    residual_multiplier: float = 1.0
    logits_scaling: float = 1.0
    metadata: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def architecture(self) -> Architecture:
        """What its family means."""
        return ARCHITECTURES[self.family]

    @property
    def attention_scale(self) -> float:
        """What query-key products are multiplied by."""
        return self.head_dim**-0.5 if self.attention_multiplier is None else self.attention_multiplier

    @property
    def num_parameters(self) -> int:
        """Numbers in the weights; a tied head counts once."""
        in_layer = sum(map(math.prod, self.layer_shapes().values()))
        return self.num_layers * in_layer + sum(map(math.prod, self.outer_shapes().values()))

    @property
    def axis_sizes(self) -> dict[TensorAxis, int]:
        """How long each axis of its tensors is."""
        heads = (self.num_heads, self.num_kv_heads, self.head_dim)
        return axis_sizes(self.vocab_size, self.hidden_size, self.intermediate_size, *heads)

    def layer_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name within a layer → shape of every tensor of a layer."""
        return shapes_of(LAYER_TENSORS, self.axis_sizes, dict(self))

    def outer_shapes(self) -> dict[str, tuple[int, ...]]:
        """Name → shape of every tensor that belongs to no layer."""
        return shapes_of(OUTER_TENSORS, self.axis_sizes, {"untied": not self.tied})

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> DecoderConfig:
        """Read a ``config.json``.

        Raises:
            CompatibilityError: Another architecture, a missing or impossible size, or any attribute or value that
                the Decoder does not implement; the message names it.
        """
        unread_keys(config)
        family = str(config["model_type"])
        architecture = ARCHITECTURES[family]
        given = {**architecture.defaults, **config}
        heads = _size(given, "num_attention_heads")
        hidden = _size(given, "hidden_size")
        layers = _size(given, "num_hidden_layers")
        if given.get("hidden_act", "silu") not in ("silu", "swish"):
            raise CompatibilityError(
                f"Activation {given['hidden_act']!r} is not implemented, only 'silu'.", hint=DECODER_HINT
            )
        try:
            result = cls(
                family=family,
                vocab_size=_size(given, "vocab_size"),
                hidden_size=hidden,
                intermediate_size=_size(given, "intermediate_size"),
                num_layers=layers,
                num_heads=heads,
                num_kv_heads=heads if given.get("num_key_value_heads") is None else given["num_key_value_heads"],
                head_dim=hidden // heads if given.get("head_dim") is None else given["head_dim"],
                max_context=_size(given, "max_position_embeddings"),
                rms_norm_eps=given.get("rms_norm_eps", 1e-6),
                rope=RopeConfig.from_hf(given),
                windows=_windows(given, family, layers),
                tied=bool(given.get("tie_word_embeddings", False)),
                metadata={k: v for k, v in config.items() if k in _METADATA},
                **architecture.pieces(given),
                **{key: given.get(key, 1.0) for key in architecture.scales},
            )
        except ValidationError as error:
            first = error.errors()[0]
            raise CompatibilityError(
                f"config.json has an impossible {'.'.join(map(str, first['loc']))}: {first['msg']}.",
                hint="Restore config.json from the model's publisher.",
            ) from error
        if result.num_heads % result.num_kv_heads or result.head_dim % 2:
            raise CompatibilityError(
                f"{result.num_heads} heads over {result.num_kv_heads} key-value heads of width {result.head_dim}: "
                "the heads must divide evenly and the width be even.",
                hint="Restore config.json from the model's publisher.",
            )
        return result

    def to_hf(self) -> dict[str, Any]:
        """A ``config.json`` that transformers 5 reads, and older readers too (``rope_theta``, ``rope_scaling``)."""
        rope = self.rope.to_hf()
        scaling = None if self.rope.rope_type == "default" else {k: v for k, v in rope.items() if k != "rope_theta"}
        out: dict[str, Any] = {
            **self.metadata,
            "model_type": self.family,
            "architectures": [self.architecture.class_name],
            "vocab_size": self.vocab_size,
            "hidden_size": self.hidden_size,
            "intermediate_size": self.intermediate_size,
            "num_hidden_layers": self.num_layers,
            "num_attention_heads": self.num_heads,
            "num_key_value_heads": self.num_kv_heads,
            "head_dim": self.head_dim,
            "hidden_act": "silu",
            "max_position_embeddings": self.max_context,
            "rms_norm_eps": self.rms_norm_eps,
            "tie_word_embeddings": self.tied,
            "rope_parameters": rope,
            "rope_theta": self.rope.rope_theta,
            "rope_scaling": scaling,
        }
        window = next((w for w in self.windows if w is not None), None)
        if self.architecture.windows == "all":
            out["sliding_window"] = window
        elif self.architecture.windows == "late":
            out["use_sliding_window"] = window is not None
            out["sliding_window"] = window
            out["max_window_layers"] = self.windows.index(window) if window is not None else self.num_layers
            out["layer_types"] = ["full_attention" if w is None else "sliding_attention" for w in self.windows]
        biases = {"attention_bias": self.out_bias, "mlp_bias": self.mlp_bias}
        out |= {key: biases[key] for key in self.architecture.biases}
        return out | {key: getattr(self, key) for key in self.architecture.scales}
