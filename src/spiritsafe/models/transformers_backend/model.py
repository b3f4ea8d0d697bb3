"""Every architecture that the Decoder does not cover, through transformers, behind the same interface.

In: a Hugging Face directory. Out: a :class:`LanguageModel`. Documents of similar length are computed together, padded
on the right: under causal attention no token sees padding behind it. Where rotary frequencies follow the longest
document of a batch (longrope), documents on either side of the change are never computed together, so that a
document's hidden states do not depend on its neighbours. Shapes: N tokens, D documents of a group, T tokens of its
longest, H hidden width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, final

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.utils import CONFIG_NAME, GENERATION_CONFIG_NAME
from transformers.utils.logging import disable_progress_bar, get_verbosity, set_verbosity, set_verbosity_error

from spiritsafe.core.errors import CompatibilityError, SourceError, SpiritsafeError
from spiritsafe.core.files.atomic import read_json, storage_errors, write_json
from spiritsafe.models.checkpoints.tensors import convert_weights
from spiritsafe.models.decoder.attention import group_lengths
from spiritsafe.models.decoder.quantised import WeightFormat, format_name
from spiritsafe.models.interface.batch import PackedBatch
from spiritsafe.models.interface.language_model import SHARD_BYTES, ExpertBalance, Head, LanguageModel
from spiritsafe.models.transformers_backend.balance import router_loss_of
from spiritsafe.models.transformers_backend.quantisation import keep_codes, quantised_loading

_LOGIT_TOLERANCE = {torch.float32: 1e-3, torch.float16: 1e-2, torch.bfloat16: 3e-2}
"""Largest difference, relative to the largest logit, between hidden states times head and the model's own logits."""

_SCALE_TOLERANCE = 0.01
"""How near a scale that the configuration names must be to the one that was measured."""

_MEASURED_TOKENS = 64

_UNBOUNDED = 1 << 20
"""Context of a model that names none (recurrent ones)."""


def check_foreign(directory: Path) -> Any:
    """The configuration of a model that transformers runs, before its weights are read.

    Code that the directory brings itself is never run.

    Raises:
        SourceError: The installed transformers does not know the architecture, or the configuration is damaged.
        CompatibilityError: It caps its logits: training and scoring need a linear head.
    """
    with _named(directory):
        config = AutoConfig.from_pretrained(directory, local_files_only=True, trust_remote_code=False)
        text = config.get_text_config()
        if type(config) not in AutoModelForCausalLM._model_mapping and type(text) not in (
            AutoModelForCausalLM._model_mapping
        ):
            raise ValueError(f"{config.model_type!r} is no language model that it knows")
        values = text.to_dict()
    for key, value in values.items():
        plain = key.replace("_", "")
        if value and "softcap" in plain and "att" not in plain and "router" not in plain:
            raise CompatibilityError(
                f"{directory}: this model caps its logits ({key} = {value}), so that they are no linear map of its "
                "hidden states; training and scoring need one.",
                hint="Serve it (with vLLM, for example) and give it as an endpoint, or take another model.",
            )
    return config


@contextmanager
def _named(directory: Path) -> Iterator[None]:
    """Whatever transformers raises at a directory, as one error that names it."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, SpiritsafeError):
        raise
    except Exception as error:  # the boundary to code that knows hundreds of architectures
        first, *rest = (str(error).strip() or type(error).__name__).splitlines()
        reason = f"{first} {rest[0].strip()}" if first.endswith(":") and rest else first
        raise SourceError(
            f"transformers cannot load {directory}: {reason.rstrip('.')}.",
            hint="Check that config.json and the weights belong together, that the weights are not quantised, and that "
            "the installed transformers knows this architecture.",
        ) from error


def _named_scales(config: Mapping[str, Any]) -> list[float]:
    """Factors on logits that a configuration names; families multiply or divide by them, so both are given."""
    values = [
        float(value)
        for key, value in config.items()
        if ("logit" in key and "scal" in key) or key in ("lm_head_multiplier", "output_multiplier")
        if isinstance(value, int | float) and value
    ]
    return [scale for value in values for scale in (value, 1.0 / value)]


def _rope_boundary(config: Any) -> int | None:
    """Tokens up to which rotary frequencies are those of short documents; None: they are always the same.

    transformers takes others once the longest document of a batch is longer ("longrope", "dynamic").
    """
    rope = getattr(config, "rope_parameters", None) or {}
    kinds = [rope, *(value for value in rope.values() if isinstance(value, dict))]
    bounds = [
        kind.get("original_max_position_embeddings")
        or getattr(config, "original_max_position_embeddings", None)
        or config.max_position_embeddings
        for kind in kinds
        if kind.get("rope_type") == "longrope" or "dynamic" in str(kind.get("rope_type"))
    ]
    return min(map(int, bounds)) if bounds else None


def _groups(lengths: Sequence[int], boundary: int | None, device_type: str) -> list[list[int]]:
    """Documents that are computed together: of similar length, and on one side of the boundary."""
    if boundary is None:
        return group_lengths(lengths, device_type)
    sides = [[d for d, length in enumerate(lengths) if (length > boundary) == beyond] for beyond in (False, True)]
    return [
        [side[i] for i in group]
        for side in sides
        if side
        for group in group_lengths([lengths[d] for d in side], device_type)
    ]


@final
class TransformersModel(LanguageModel):
    """A causal language model of the transformers library.

    Args:
        directory: A Hugging Face directory.
        weights: Hold the linear layers, the head excepted, in 4 bits (NF4) or 8 (LLM.int8), frozen.

    Raises:
        SourceError: transformers cannot load it.
        CompatibilityError: Its logits are not a linear map of its hidden states (soft caps, biases, extra layers), or
            ``weights`` needs bitsandbytes and it is not there.
    """

    def __init__(
        self,
        directory: Path,
        *,
        dtype: torch.dtype,
        device: torch.device | str,
        weights: WeightFormat | None = None,
    ) -> None:
        super().__init__()
        self.weight_format = weights
        self._router_loss, _ = router_loss_of(check_foreign(directory))
        if self._router_loss is not None:
            self.balance = ExpertBalance(self._router_loss.coefficient)
        disable_progress_bar()  # transformers draws one for each file it reads or writes
        told = {} if weights is None else quantised_loading(weights, dtype, device)
        with _named(directory):
            model = AutoModelForCausalLM.from_pretrained(
                directory, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True, **told
            )
            self.model: Any = model if weights is not None else model.to(device)
        self._checkpointing = False
        with _named(directory):
            config = self.model.config.get_text_config()
            self.vocab_size = int(self._weight().shape[0])
            self.hidden_size = int(self._weight().shape[1])
            self.num_layers = int(config.num_hidden_layers)
            self.max_context = int(getattr(config, "max_position_embeddings", None) or _UNBOUNDED)
            self.rope_boundary = _rope_boundary(config)
            keep_codes(self.model)
            ours, theirs = self._probe()
        self._head_scale = self._measure_head_scale(ours, theirs)

    @property
    def activation_checkpointing(self) -> bool:
        """Whether layers keep their inputs only and are computed again in the backward pass."""
        return self._checkpointing

    @activation_checkpointing.setter
    def activation_checkpointing(self, wanted: bool) -> None:
        if wanted and self.can_checkpoint:
            self._checkpoint("enable")({"use_reentrant": False})
        elif self._checkpointing:
            self._checkpoint("disable")()
        self._checkpointing = bool(wanted and self.can_checkpoint)

    @property
    def can_checkpoint(self) -> bool:
        """Whether the architecture can compute activations again."""
        return bool(self.model.supports_gradient_checkpointing)

    def _checkpoint(self, what: str) -> Callable[..., None]:
        """Transformers' method, by its newer name or its older one."""
        newer: Callable[..., None] | None = getattr(self.model, f"activation_checkpointing_{what}", None)
        older: Callable[..., None] = getattr(self.model, f"gradient_checkpointing_{what}", lambda *args: None)
        return newer or older

    def measure_activations(self) -> tuple[int, int]:
        """Bytes that a token of a training pass keeps for its backward pass, and where activations are recomputed."""
        length = min(_MEASURED_TOKENS, self.max_context, self.rope_boundary or _MEASURED_TOKENS)
        ids = torch.arange(length, device=self.device).remainder(self.vocab_size)
        weights = {parameter.untyped_storage().data_ptr() for parameter in self.parameters()}
        kept: dict[int, int] = {}

        def note(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in weights:
                kept[storage.data_ptr()] = storage.nbytes()
            return tensor

        was, training = self.activation_checkpointing, self.model.training
        self.activation_checkpointing = False
        self.model.train()
        devices = [self.device] if self.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.enable_grad():
            with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
                hidden_NH, _ = self._rectangle(ids, [length], (), [])
            del hidden_NH
        self.model.train(training)
        self.activation_checkpointing = was
        per_token = -(-sum(kept.values()) // length)
        inputs = self.num_layers * self.hidden_size * self.dtype.itemsize
        return per_token, inputs + per_token // max(1, self.num_layers)

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self._weight().device

    @property
    def dtype(self) -> torch.dtype:
        """Number format of the weights."""
        return self._weight().dtype

    @property
    def number_format(self) -> str:
        """``bfloat16``, or ``4bit+bfloat16``."""
        return format_name(self.dtype, self.weight_format)

    def _weight(self) -> nn.Parameter:
        embeddings = self.model.get_output_embeddings()
        if embeddings is None or getattr(embeddings, "bias", None) is not None:
            raise CompatibilityError(
                f"The head of {type(self.model).__name__} is not a plain matrix.",
                hint="Use this model as a remote endpoint instead.",
            )
        weight: nn.Parameter = embeddings.weight
        return weight

    @torch.no_grad()
    def _probe(self) -> tuple[Tensor, Tensor]:
        """Hidden states times head, and the model's own logits, of a few tokens."""
        weight_VH = self._weight()
        tokens = torch.arange(3, 7, device=weight_VH.device).remainder(self.vocab_size)[None]
        training = self.model.training
        self.model.eval()
        hidden = self.model.get_decoder()(input_ids=tokens, use_cache=False).last_hidden_state
        ours = torch.nn.functional.linear(hidden.float(), weight_VH.float())
        theirs = self.model(input_ids=tokens, use_cache=False).logits.float()
        self.model.train(training)
        return ours, theirs

    def _measure_head_scale(self, ours: Tensor, theirs: Tensor) -> float:
        """``logits / (hidden @ weight.T)``: 1, or what the configuration says, as the probe shows; else as measured.

        Half precision measures to a few digits only; the configuration's number has them all.
        """
        measured = float((ours * theirs).sum() / (ours * ours).sum())
        named = [1.0, *_named_scales(self.model.config.get_text_config().to_dict())]
        nearest = min(named, key=lambda scale: abs(measured / scale - 1.0))
        scale = nearest if abs(measured / nearest - 1.0) < _SCALE_TOLERANCE else measured
        error = float((ours * scale - theirs).abs().max() / theirs.abs().max())
        if not error <= _LOGIT_TOLERANCE.get(self.dtype, 3e-2):
            raise CompatibilityError(
                f"The logits of {type(self.model).__name__} are not a linear map of its hidden states "
                f"(relative difference {error:.2g}).",
                hint="Use this model as a remote endpoint instead; training and scoring need a linear head.",
            )
        return scale

    def forward(self, batch: PackedBatch) -> Tensor:
        """Hidden states after the final norm, ``[N, H]``.

        Raises:
            CompatibilityError: A document is longer than the model's context, or the batch shares a prefix.
        """
        return self.forward_with_layers(batch, ())[0]

    def forward_with_layers(self, batch: PackedBatch, layers: Sequence[int]) -> tuple[Tensor, tuple[Tensor, ...]]:
        """What :meth:`forward` gives, and the stream after each of some layers, in the order asked for.

        Raises:
            CompatibilityError: As :meth:`forward`, or the model's layers cannot be read.
        """
        if batch.prefix_length:
            raise CompatibilityError(
                "A transformers model does not take batches with a shared prefix.",
                hint="Pack the documents without prefix_length for models whose shares_prefixes is False.",
            )
        longest = max(batch.lengths)
        if longest > self.max_context:
            raise CompatibilityError(
                f"A document of {longest} tokens does not fit this model's context of {self.max_context}.",
                hint="Shorten or split the document, or use a model with a longer context.",
            )
        if torch.is_inference_mode_enabled():  # rotary buffers made in it could not be trained with afterwards
            with torch.inference_mode(False), torch.no_grad():
                return self._forward(batch, layers)
        return self._forward(batch, layers)

    def _forward(self, batch: PackedBatch, layers: Sequence[int]) -> tuple[Tensor, tuple[Tensor, ...]]:
        routed: list[Sequence[Tensor]] = []
        hidden_NH, streams = self._grouped(batch, layers, routed)
        if not routed or self._router_loss is None or self.balance is None:
            return hidden_NH, streams
        loss = self._router_loss(tuple(torch.cat(parts) for parts in zip(*routed, strict=True)))
        return self.balance.carried(hidden_NH, loss), streams

    def _grouped(
        self, batch: PackedBatch, layers: Sequence[int], routed: list[Sequence[Tensor]]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        groups = _groups(batch.lengths, self.rope_boundary, self.device.type)
        if len(groups) == 1:
            return self._rectangle(batch.token_ids_N, batch.lengths, layers, routed)
        tokens = torch.split(torch.arange(len(batch.token_ids_N), device=self.device), list(batch.lengths))
        places = [torch.cat([tokens[document] for document in group]) for group in groups]
        parts = [
            self._rectangle(batch.token_ids_N[place], [batch.lengths[document] for document in group], layers, routed)
            for group, place in zip(groups, places, strict=True)
        ]
        back_N = torch.argsort(torch.cat(places))
        hidden_NH = torch.cat([hidden for hidden, _ in parts])[back_N]
        streams = (torch.cat(kept)[back_N] for kept in zip(*(kept for _, kept in parts), strict=True))
        return hidden_NH, tuple(streams)

    def _rectangle(
        self, token_ids_N: Tensor, lengths: Sequence[int], layers: Sequence[int], routed: list[Sequence[Tensor]]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Documents padded to the longest of them; in ``routed`` go their routers' logits, where they are wanted."""
        lengths_D = torch.tensor(lengths, device=token_ids_N.device)
        mask_DT = torch.arange(max(lengths), device=lengths_D.device) < lengths_D[:, None]
        ids_DT = torch.zeros(mask_DT.shape, dtype=torch.int64, device=lengths_D.device)
        ids_DT[mask_DT] = token_ids_N
        # The mask matters to layers without attention; causality alone hides padding.
        is_balanced = self.balance is not None and self.balance.is_wanted
        more = {"output_router_logits": True} if is_balanced else {}
        with self._kept_layers(layers) as kept:
            output = self.model.get_decoder()(input_ids=ids_DT, attention_mask=mask_DT.long(), use_cache=False, **more)
        if is_balanced:
            mask_P = mask_DT.flatten()  # P places, padding included
            routed.append([logits.reshape(len(mask_P), -1)[mask_P] for logits in output.router_logits])
        hidden_NH: Tensor = output.last_hidden_state[mask_DT]
        return hidden_NH, tuple(kept[layer][mask_DT] for layer in layers)

    @contextmanager
    def _kept_layers(self, layers: Sequence[int]) -> Iterator[dict[int, Tensor]]:
        """Outputs ``[D, T, H]`` of some layers of the forward pass made inside the block; the others are not kept."""
        blocks = getattr(self.model.get_decoder(), "layers", None) if layers else []
        if blocks is None or not all(0 <= layer < len(blocks) for layer in layers):
            raise CompatibilityError(
                f"Layers {list(layers)} of {type(self.model).__name__} cannot be read.",
                hint="Name layers that the model has; models without a plain list of layers cannot be matched.",
            )
        kept: dict[int, Tensor] = {}

        def keeper(layer: int) -> Callable[[nn.Module, object, Any], None]:
            def keep(module: nn.Module, inputs: object, output: Any) -> None:
                kept[layer] = output[0] if isinstance(output, tuple) else output

            return keep

        handles = [blocks[layer].register_forward_hook(keeper(layer)) for layer in layers]
        try:
            yield kept
        finally:
            for handle in handles:
                handle.remove()

    def head(self) -> Head:
        """The head, sharing storage with the parameters."""
        return Head(weight_VH=self._weight(), scale=self._head_scale)

    def dequantise(self) -> None:
        """Hold all layers as the numbers that their codes stand for, in the other weights' type; nothing else to do."""
        if self.weight_format is not None:
            told = get_verbosity()
            set_verbosity_error()  # it warns that it does what it is asked to
            try:
                self.model = self.model.dequantize(dtype=self.dtype)
            finally:
                set_verbosity(told)
            self.weight_format = None

    def save_weights(
        self, directory: Path, *, dtype: torch.dtype | None = None, shard_bytes: int = SHARD_BYTES
    ) -> None:
        """Write ``config.json`` and the weights, under the names that transformers gives them back.

        Only transformers knows these names, so another type is made of the files that it writes, a tensor at a time.

        Raises:
            CompatibilityError: The model has adapters, which such weights leave out.
            StorageError: The directory cannot be written.
        """
        if any(".base_layer." in name for name, _ in self.model.named_parameters()):
            raise CompatibilityError(
                "The model's adapters are not part of its weights.",
                hint="Write them with save_lora, or fold them into the weights with merge_lora first.",
            )
        if dtype is None or dtype == self.dtype:
            with storage_errors(directory):
                self.model.save_pretrained(directory, max_shard_size=shard_bytes)
            return
        with storage_errors(directory), TemporaryDirectory(dir=directory) as place:
            written = Path(place)
            self.save_weights(written, shard_bytes=shard_bytes)
            convert_weights(written, directory, dtype, shard_bytes=shard_bytes)
            for name in (CONFIG_NAME, GENERATION_CONFIG_NAME):
                if (written / name).is_file():
                    said = read_json(written / name)
                    named = {"dtype": str(dtype).removeprefix("torch.")} if name == CONFIG_NAME else {}
                    write_json(directory / name, {**said, **named})
