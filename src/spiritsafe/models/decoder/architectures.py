"""The architectures that the Decoder implements, a row each, and every tensor that their layers are made of.

In: a ``model_type``. Out: what tells it from the others: keys of its ``config.json``, pieces of its layers, its name in
GGUF files; and the names and shapes of its tensors. Whoever reads, writes, counts, cuts, converts or adapts a Decoder
iterates these two tables; a new architecture whose layers are made of these pieces is a row here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, final

_WINDOW_KEYS: dict[str | None, tuple[str, ...]] = {
    None: (),
    "all": ("sliding_window",),
    "late": ("use_sliding_window", "sliding_window", "max_window_layers"),
}


@final
@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a ``model_type`` means.

    Attributes:
        title: What people call it.
        class_name: Of transformers' language model.
        defaults: What a configuration means by a key that it leaves out, as transformers' class does.
        windows: Which layers have a sliding window: "all" where ``sliding_window`` is set; "late" from
            ``max_window_layers`` on, where ``use_sliding_window`` says so.
        biases: Which of ``attention_bias`` and ``mlp_bias`` it has as keys.
        scales: Its factors, named as in :class:`spiritsafe.models.DecoderConfig`; each is 1 where it is left out.
        qkv_bias: Whether query, key and value projections always have biases.
        qk_norm: Whether queries and keys are RMS-normalised per head before rotation.
        uneven_as: Where transformers refuses a hidden width that is no multiple of the number of heads: the
            ``model_type`` that computes the same without biases.
        gguf: Its name in GGUF files; None: it is stored as another.
        gguf_interleaved: Whether llama.cpp stores query and key rows interleaved for its own rotary layout.
        gguf_rope_factors: Whether llama.cpp's converter stores the factors of Llama 3.1's rotary scaling.
    """

    title: str
    class_name: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    windows: Literal["all", "late"] | None = None
    biases: tuple[str, ...] = ()
    scales: tuple[str, ...] = ()
    qkv_bias: bool = False
    qk_norm: bool = False
    uneven_as: str | None = None
    gguf: str | None = None
    gguf_interleaved: bool = False
    gguf_rope_factors: bool = False

    @property
    def keys(self) -> frozenset[str]:
        """Keys of its ``config.json`` beyond those of all architectures."""
        return frozenset((*_WINDOW_KEYS[self.windows], *self.biases, *self.scales))

    def pieces(self, config: Mapping[str, Any]) -> dict[str, bool]:
        """Which parts that only some architectures have are there in a model with such a ``config.json``."""
        attention, mlp = (key in self.biases and bool(config.get(key)) for key in ("attention_bias", "mlp_bias"))
        qkv = self.qkv_bias or attention
        return {"qkv_bias": qkv, "out_bias": attention, "mlp_bias": mlp, "qk_norm": self.qk_norm}


_QWEN = {"max_position_embeddings": 32_768, "num_key_value_heads": 32, "sliding_window": 4096}
ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture(
        title="Llama",
        class_name="LlamaForCausalLM",
        defaults={"max_position_embeddings": 2048},
        biases=("attention_bias", "mlp_bias"),
        uneven_as="mistral",
        gguf="llama",
        gguf_interleaved=True,
        gguf_rope_factors=True,
    ),
    "mistral": Architecture(  # in GGUF a Llama
        title="Mistral",
        class_name="MistralForCausalLM",
        defaults={"max_position_embeddings": 131_072, "num_key_value_heads": 8, "sliding_window": 4096},
        windows="all",
    ),
    "qwen2": Architecture(
        title="Qwen2",
        class_name="Qwen2ForCausalLM",
        defaults=_QWEN,
        windows="late",
        qkv_bias=True,
        gguf="qwen2",
    ),
    "qwen3": Architecture(
        title="Qwen3",
        class_name="Qwen3ForCausalLM",
        defaults={**_QWEN, "head_dim": 128},
        windows="late",
        biases=("attention_bias",),
        qk_norm=True,
        gguf="qwen3",
    ),
    "granite": Architecture(
        title="Granite",
        class_name="GraniteForCausalLM",
        defaults={"max_position_embeddings": 2048},
        biases=("attention_bias", "mlp_bias"),
        scales=("embedding_multiplier", "attention_multiplier", "residual_multiplier", "logits_scaling"),
        gguf="granite",
        gguf_interleaved=True,
    ),
}
"""``model_type`` → what it means."""

_TITLES = [architecture.title for architecture in ARCHITECTURES.values()]
DECODER_NAMES = f"{', '.join(_TITLES[:-1])} or {_TITLES[-1]}"
"""What a user may take where the Decoder is needed."""

DECODER_HINT = (
    "Recipes, sampling and exams run such a model through transformers' own code by themselves. Only what is made of a "
    f"model's parts needs the Decoder (cutting a student): take a dense {DECODER_NAMES} there."
)
"""What to do about a model that the Decoder does not implement."""

TensorAxis = Literal["vocab", "hidden", "queries", "keys", "neurons", "head"]
"""What an axis counts: token ids, channels, numbers of all queries of a token, of all its keys (or values),
feed-forward neurons, numbers of one head."""


@final
@dataclass(frozen=True)
class DecoderTensor:
    """A linear layer, a norm or the embedding.

    Attributes:
        name: Hugging Face's, of a layer's tensor within the layer, without ".weight".
        module: The part of the :class:`Decoder` or its Block that holds it; parts that share a module are stacked
            along their rows in the order of the table.
        gguf: Its name in GGUF files.
        rows: What its rows are.
        columns: What its columns are; None: it is a vector.
        bias: The piece that says whether it has a bias.
        needs: The piece without which it is not there.
    """

    name: str
    module: str
    gguf: str
    rows: TensorAxis
    columns: TensorAxis | None = None
    bias: str | None = None
    needs: str | None = None


LAYER_TENSORS: tuple[DecoderTensor, ...] = (
    DecoderTensor("input_layernorm", "input_norm", "attn_norm", "hidden"),
    DecoderTensor("post_attention_layernorm", "mlp_norm", "ffn_norm", "hidden"),
    DecoderTensor("self_attn.q_norm", "q_norm", "attn_q_norm", "head", needs="qk_norm"),
    DecoderTensor("self_attn.k_norm", "k_norm", "attn_k_norm", "head", needs="qk_norm"),
    DecoderTensor("self_attn.q_proj", "qkv", "attn_q", "queries", "hidden", bias="qkv_bias"),
    DecoderTensor("self_attn.k_proj", "qkv", "attn_k", "keys", "hidden", bias="qkv_bias"),
    DecoderTensor("self_attn.v_proj", "qkv", "attn_v", "keys", "hidden", bias="qkv_bias"),
    DecoderTensor("self_attn.o_proj", "out", "attn_output", "hidden", "queries", bias="out_bias"),
    DecoderTensor("mlp.gate_proj", "gate_up", "ffn_gate", "neurons", "hidden", bias="mlp_bias"),
    DecoderTensor("mlp.up_proj", "gate_up", "ffn_up", "neurons", "hidden", bias="mlp_bias"),
    DecoderTensor("mlp.down_proj", "down", "ffn_down", "hidden", "neurons", bias="mlp_bias"),
)
OUTER_TENSORS: tuple[DecoderTensor, ...] = (
    DecoderTensor("model.embed_tokens", "embedding", "token_embd", "vocab", "hidden"),
    DecoderTensor("model.norm", "norm", "output_norm", "hidden"),
    DecoderTensor("lm_head", "lm_head", "output", "vocab", "hidden", needs="untied"),
)


def axis_sizes(vocab: int, hidden: int, neurons: int, heads: int, kv_heads: int, width: int) -> dict[TensorAxis, int]:
    """How long each axis is."""
    inner: dict[TensorAxis, int] = {"queries": heads * width, "keys": kv_heads * width, "neurons": neurons}
    return {"vocab": vocab, "hidden": hidden, "head": width, **inner}


def shapes_of(
    tensors: Iterable[DecoderTensor], sizes: Mapping[TensorAxis, int], pieces: Mapping[str, bool]
) -> dict[str, tuple[int, ...]]:
    """Name → shape of those tensors that a model with such pieces has."""
    shapes: dict[str, tuple[int, ...]] = {}
    for tensor in tensors:
        if tensor.needs and not pieces[tensor.needs]:
            continue
        rows = sizes[tensor.rows]
        shapes[f"{tensor.name}.weight"] = (rows,) if tensor.columns is None else (rows, sizes[tensor.columns])
        if tensor.bias and pieces[tensor.bias]:
            shapes[f"{tensor.name}.bias"] = (rows,)
    return shapes
