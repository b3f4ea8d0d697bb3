"""A model's architecture alone: what a plan of its training needs where neither weights nor tokenizer are wanted.

In: a directory with ``config.json``, such a file, ``hf:org/name`` (of which that file is fetched), or any other source.
Out: its name and its configuration, with parameters counted where the Decoder does not implement it. They are counted
from the tensors that transformers would make, without making them.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.models.checkpoints.tensors import TensorInfo
from spiritsafe.models.sources.config import source_config
from spiritsafe.models.sources.hub import fetch_config
from spiritsafe.models.sources.spec import repository_of
from spiritsafe.models.transformers_backend.model import check_foreign
from spiritsafe.models.transformers_backend.sizes import decoder_config, measured_config, read_config

_CONFIG = "config.json"


def architecture_config(spec: str, *, cache: Path | None = None) -> tuple[str, Mapping[str, Any]]:
    """Name and ``config.json`` of a model, as :func:`~spiritsafe.models.read_model_config` gives it.

    Args:
        spec: A source, a directory that need hold no more than ``config.json``, or such a file by any name.
        cache: Where small files go that are made here; default :func:`~spiritsafe.models.default_cache`.

    Raises:
        SourceError: There is none, it is damaged or out of reach, or no code here knows the architecture.
        CompatibilityError: No code here can train it.
    """
    kind, _, rest = spec.partition(":")
    if kind == "hf":
        name, revision = repository_of(rest)
        return name, _counted(read_config(fetch_config(name, revision)), name)
    path = Path(os.path.expanduser(spec))
    if os.path.isfile(path) and path.suffix == ".json":
        with _under_its_usual_name(path.read_bytes(), str(path)) as folder:
            config = read_config(folder)
        return (path.stem if path.name != _CONFIG else path.absolute().parent.name), _counted(config, str(path))
    if os.path.isdir(path):
        if not (path / _CONFIG).is_file():
            raise SourceError(f"There is no {_CONFIG} in {path}.", hint="Give a model's folder, or such a file itself.")
        return path.absolute().name, _counted(read_config(path), str(path))
    found = source_config(spec, cache=cache)
    return found.name, found.config


@contextmanager
def _under_its_usual_name(config: bytes, shown: str) -> Iterator[Path]:
    """A folder that holds a configuration, as readers want it; what goes wrong is said of what the user gave."""
    with TemporaryDirectory() as folder:
        (Path(folder) / _CONFIG).write_bytes(config)
        try:
            yield Path(folder)
        except (SourceError, CompatibilityError) as error:
            message = error.message.replace(str(Path(folder) / _CONFIG), shown).replace(folder, shown)
            raise type(error)(message, hint=error.hint) from error


def _counted(config: Mapping[str, Any], shown: str) -> Mapping[str, Any]:
    """A configuration with its size where the Decoder does not implement it."""
    if decoder_config(config) is not None:
        return config
    with _under_its_usual_name(json.dumps(dict(config)).encode(), shown) as folder:
        known = check_foreign(folder)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(known)
    table = {
        name: TensorInfo(dtype="F32", shape=tuple(parameter.shape), num_bytes=4 * parameter.numel(), file="")
        for name, parameter in model.named_parameters()  # tied ones once
    }
    return measured_config(config, table)
