"""Adapters on disk, in the layout of the peft library.

In: a model with adapters and the checkpoint they were trained on. Out: a directory with ``adapter_config.json``,
``adapter_model.safetensors`` and our ``lineage.json``, which names the base by its digest; and back, from ours or from
peft's own. What adapters do not do here is refused: other projections, ranks or scales of their own, DoRA,
rsLoRA, biases.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.core.files.atomic import atomic_path, read_json, write_json, write_text
from spiritsafe.core.files.digests import LINEAGE, digest_model
from spiritsafe.core.records import Checkpoint, Parent
from spiritsafe.models.checkpoints.directory import new_directory
from spiritsafe.models.checkpoints.lineage import parent_of, verify_checkpoint
from spiritsafe.models.interface.language_model import LanguageModel
from spiritsafe.models.lora.adapters import adapter_carrier, add_lora, lora_config, lora_state
from spiritsafe.models.lora.config import LoraConfig
from spiritsafe.models.transformers_backend.projections import may_be_transposed, projections_of, targets_of

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
README = "README.md"

_ELSEWHERE = "Merge it into its base with peft (`merge_and_unload`) and load the merged model."

# Keys of peft's configuration that do not change the function of a trained adapter. Dropout acts in training only.
_METADATA = {
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "lora_dropout",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "task_type",
}
_READ = {"peft_type", "r", "lora_alpha", "target_modules", "init_lora_weights", "bias"}
_PLAIN_STARTS = (True, False, "gaussian")
"""Ways to start that leave the base as it is; others (PiSSA, OLoRA, LoftQ) belong to a changed base."""


def save_lora(
    directory: Path,
    model: LanguageModel,
    *,
    base: Checkpoint,
    name: str,
    license: str,
    parents: tuple[Parent, ...] = (),
    recipe: str | None = None,
) -> Checkpoint:
    """Write the adapters, in the type the model holds them in; the directory appears when all is there.

    Beside those of a quantised base lies a ``README.md`` that says how it was held.

    Args:
        model: With adapters.
        base: The model that the adapters were trained on; it becomes the first parent, by its weights.
        parents: What else they were made from.

    Raises:
        CompatibilityError: The model has no adapters.
        SourceError: The directory exists and is no adapter.
        StorageError: It cannot be written; what was there before is untouched.
    """
    config = lora_config(model)
    if config is None:
        raise CompatibilityError(
            "The model has no adapters to save.", hint="Save the whole model with save_checkpoint, or call add_lora."
        )
    if directory.exists() and not (directory / ADAPTER_CONFIG).is_file() and any(directory.iterdir()):
        raise SourceError(
            f"{directory} exists and is not an adapter.", hint="Choose another directory; nothing was overwritten."
        )
    state = {key: tensor.to("cpu").contiguous() for key, tensor in lora_state(model).items()}
    with new_directory(directory) as temporary:
        with atomic_path(temporary / ADAPTER_WEIGHTS) as path:
            save_file(state, path, metadata={"format": "pt"})
        carrier = adapter_carrier(model)
        settings = _to_peft(config, base.name, carrier.module_names())
        if carrier.is_transposed:
            settings["fan_in_fan_out"] = True
        write_json(temporary / ADAPTER_CONFIG, settings)
        if carrier.base_format is not None:
            write_text(temporary / README, _readme(name, base, carrier.base_format))
        checkpoint = Checkpoint(
            name=name,
            digest=digest_model(temporary),
            license=license,
            num_parameters=sum(tensor.numel() for tensor in state.values()),
            weight_bytes=sum(tensor.nbytes for tensor in state.values()),
            parents=(parent_of(base, "weights"), *parents),
            recipe=recipe,
        )
        write_json(temporary / LINEAGE, checkpoint.to_json())
    return checkpoint


_HELD = {
    "4bit": """\
The following `bitsandbytes` quantization config was used during training:
- quant_method: bitsandbytes
- load_in_4bit: True
- bnb_4bit_quant_type: nf4
- bnb_4bit_use_double_quant: False

Load the base with it (`BitsAndBytesConfig`) for the model that was trained.""",
    "8bit": """\
The base was held in 8 bits by bitsandbytes' `quantize_blockwise` (blocks of 64) during training. `load_in_8bit` rounds
in another way, about as finely.""",
    "llm.int8": """\
The following `bitsandbytes` quantization config was used during training:
- quant_method: bitsandbytes
- load_in_8bit: True

Load the base with it (`BitsAndBytesConfig`) for the model that was trained.""",
}
"""What peft's users look for in a model card; peft's configuration has no place for it."""


def _readme(name: str, base: Checkpoint, weights: str) -> str:
    hub = _hub_name(base.name)
    return f"---\nbase_model: {hub}\nlibrary_name: peft\n---\n\n# {name}\n\n## Training procedure\n\n{_HELD[weights]}\n"


def _hub_name(name: str) -> str:
    """Hubs know no org/name@revision."""
    return name.partition("@")[0] if "/" in name else name


def _to_peft(config: LoraConfig, base: str, modules: tuple[str, ...]) -> dict[str, JSON]:
    """Only what differs from peft's defaults or decides the function, so that old and new versions read it."""
    alpha: JSON = int(config.alpha) if config.alpha.is_integer() else config.alpha
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": _hub_name(base),
        "inference_mode": True,
        "r": config.rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "target_modules": modules,
        "bias": "none",
        "init_lora_weights": True,
        "use_dora": False,
        "use_rslora": False,
    }


def load_lora(model: LanguageModel, directory: Path, *, base: Checkpoint) -> LoraConfig:
    """Freeze a model's weights and give it the adapters of a directory, in the weights' type.

    Adapters that we wrote know their base by its digest. Of one that peft wrote only the sizes tell whether it fits.

    Args:
        model: The base; it is as it was when an error is raised.
        directory: In peft's layout.
        base: What ``model`` was loaded from.

    Returns:
        Rank, scale and targets; further training goes on from the loaded adapters.

    Raises:
        SourceError: A file is missing or damaged.
        IntegrityError: A file was changed since we wrote it.
        CompatibilityError: The adapters belong to another base, do more than adapters here can, or the model takes
            none or has some already.
    """
    carrier = adapter_carrier(model)
    if (directory / LINEAGE).is_file():
        check_base(verify_checkpoint(directory), base)
    config, tensors = read_lora(directory, transposed=carrier.is_transposed)
    check_shapes(directory, tensors, carrier.shapes(config))
    add_lora(model, config)
    with torch.no_grad():
        for name, target in lora_state(model).items():
            target.copy_(tensors[name])
    return config


def read_lora(directory: Path, *, transposed: bool | None = None) -> tuple[LoraConfig, dict[str, Tensor]]:
    """Rank, scale and targets of a directory's adapters, and their tensors under peft's names.

    Args:
        transposed: Whether the base holds matrices as [input, output]; None: it is not known, so adapters of matrices
            that may be held so are refused.

    Raises:
        SourceError: A file is missing or damaged.
        CompatibilityError: They do more than adapters here can.
    """
    settings, tensors = _read_settings(directory), _read_tensors(directory)
    return _from_peft(settings, tensors, transposed=transposed), tensors


def check_shapes(directory: Path, tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int, int]]) -> None:
    """Refuse adapters that do not fit a model.

    Args:
        expected: Names and shapes of the model's own.

    Raises:
        CompatibilityError: A tensor is missing, is one too many, or has another shape.
    """
    for what, names in (("lack", set(expected) - set(tensors)), ("hold the unknown", set(tensors) - set(expected))):
        if names:
            raise CompatibilityError(
                f"The adapters of {directory} {what} tensor {min(names)!r} ({len(names)} in all).",
                hint="Adapters must be on the same projections of all layers, and nowhere else. " + _ELSEWHERE,
            )
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape:
            raise CompatibilityError(
                f"Tensor {name!r} of {directory} has shape {tuple(tensors[name].shape)}, this base needs {shape}.",
                hint="The adapter was made for another model.",
            )


def check_base(adapter: Checkpoint, base: Checkpoint, *others: str) -> None:
    """Refuse adapters that say that they were trained on another base.

    Args:
        others: Digests under which the base is known too.

    Raises:
        CompatibilityError: They do.
    """
    parent = next((parent for parent in adapter.parents if "weights" in parent.used_as), None)
    if parent is not None and parent.digest not in (base.digest, *others):
        raise CompatibilityError(
            f"The adapters {adapter.name} were trained on {parent.name} ({parent.digest}), not on {base.name} "
            f"({base.digest}).",
            hint=f"Load that base. Only if both hold the same weights, delete the adapter's {LINEAGE}.",
        )


def _read_settings(directory: Path) -> dict[str, Any]:
    settings = read_json(directory / ADAPTER_CONFIG)
    if not isinstance(settings, dict):
        raise SourceError(f"{directory / ADAPTER_CONFIG} is not a table.", hint="Restore the file.")
    return settings


def _read_tensors(directory: Path) -> dict[str, Tensor]:
    path = directory / ADAPTER_WEIGHTS
    if not path.is_file():
        raise SourceError(
            f"{directory} holds no {ADAPTER_WEIGHTS}.",
            hint="Give a directory in peft's layout with safetensors weights; pickled weights are not read.",
        )
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except SafetensorError as error:
        raise SourceError(
            f"{path} is not a whole safetensors file: {error}.", hint="Restore it from a good copy."
        ) from error
    return tensors


def _from_peft(settings: Mapping[str, Any], tensors: Mapping[str, Tensor], *, transposed: bool | None) -> LoraConfig:
    """Rank and scale as configured, targets as the tensors have them.

    Raises:
        CompatibilityError: Something is set that adapters here do not do.
    """
    known = _READ | _METADATA | ({"fan_in_fan_out"} if transposed else set())
    for key, value in settings.items():
        if key not in known and value not in (None, False, {}, []):
            raise CompatibilityError(f"Adapters with {key}={value!r} are not implemented.", hint=_ELSEWHERE)
    rank, alpha, modules = settings.get("r"), settings.get("lora_alpha"), settings.get("target_modules")
    expected = (("peft_type", ("LORA",)), ("bias", ("none", None)), ("init_lora_weights", (*_PLAIN_STARTS, None)))
    for key, values in expected:
        if settings.get(key) not in values:
            raise CompatibilityError(f"Adapters with {key}={settings.get(key)!r} are not implemented.", hint=_ELSEWHERE)
    if not isinstance(rank, int) or rank < 1 or not isinstance(alpha, int | float) or not alpha > 0:
        raise CompatibilityError(
            f"{ADAPTER_CONFIG} has no usable r and lora_alpha (found {rank!r} and {alpha!r}).", hint="Restore the file."
        )
    paths = {name.rsplit(".", 2)[0] for name in tensors if name.count(".") > 1}
    found = {path.rpartition(".")[2] for path in paths}
    named = {str(module).rpartition(".")[2] for module in modules} if isinstance(modules, list) else found
    unknown = any(not projections_of(path) or (may_be_transposed(path) and transposed is None) for path in paths)
    if unknown or found != named or not found:
        raise CompatibilityError(
            f"The adapters are on {sorted(found)}, their configuration names {sorted(named)}; adapters are read here "
            "on the projections of attention and feed-forward layers.",
            hint=_ELSEWHERE,
        )
    return LoraConfig(rank=rank, alpha=float(alpha), targets=targets_of(paths))
