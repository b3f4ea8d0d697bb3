"""From a Hugging Face directory to one GGUF file: weights, configuration, tokenizer, chat template, licence, lineage.

In: a model directory with ``lineage.json`` and a file type. Out: a ``.gguf`` file that llama.cpp runs, the same bytes
for the same directory, whole or absent. :func:`spiritsafe.models.gguf.convert.convert_gguf` is its inverse: of an "f32"
file bit for bit. One tensor is in memory at a time. K- and IQ-types are written by llama.cpp's own quantiser from such
a file.

    spiritsafe release RUN --files f16,q8_0,q4_0 --out DIR
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGMLQuantizationType
from torch import Tensor

from spiritsafe.core.errors import CompatibilityError, SourceError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.records import Checkpoint
from spiritsafe.models.checkpoints.lineage import verify_checkpoint
from spiritsafe.models.checkpoints.tensors import open_shards, read_tensor_table
from spiritsafe.models.decoder.architectures import ARCHITECTURES
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.gguf.blocks.packed import TensorBytes, to_blocks
from spiritsafe.models.gguf.convert import permute
from spiritsafe.models.gguf.facts import FileFacts, file_facts
from spiritsafe.models.gguf.layout import Entry, write_file
from spiritsafe.models.gguf.metadata import gguf_architecture, model_metadata, origin_metadata, rope_factors
from spiritsafe.models.gguf.names import ROPE_FACTORS, gguf_name, hf_name
from spiritsafe.models.gguf.tokenizer.write import tokenizer_metadata
from spiritsafe.models.gguf.types import FILE_TYPES, FileType, file_shapes, find_file_type, tensor_types

_WIDE = (GGMLQuantizationType.F32, GGMLQuantizationType.BF16)


def write_gguf(
    directory: Path, file: Path, file_type: str, *, name: str | None = None, lineage: Checkpoint | None = None
) -> FileFacts:
    """Write a model directory as a GGUF file.

    Args:
        directory: In Hugging Face's layout, of a family of the Decoder, with ``lineage.json``; not changed.
        file: Where the file goes.
        file_type: "f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "q5_0" or "q5_1".
        name: The file's ``general.name``; None: as the lineage has it.
        lineage: What the file says that the model is and which licence it has; None: what the directory says.

    Returns:
        What is in the file.

    Raises:
        SourceError: The directory is no whole model, or a weight is not a number.
        IntegrityError: It is not what its lineage describes.
        CompatibilityError: An unknown file type or one of llama.cpp's own, or a model that GGUF cannot hold.
        StorageError: The file cannot be written.
    """
    kind = _written_here(file_type)
    own = verify_checkpoint(directory)
    checkpoint = own if lineage is None else lineage
    config = DecoderConfig.from_hf(read_json(directory / "config.json"))
    architecture = gguf_architecture(config)
    shapes = file_shapes(config)
    sources = _sources(directory, config)
    types = tensor_types(shapes, kind, architecture=architecture)
    factors = rope_factors(config)
    entries = [Entry(name=target, shape=shapes[target], kind=types[target]) for target in _file_order(shapes)]
    metadata = {
        **model_metadata(config, kind),
        **origin_metadata(checkpoint, checkpoint.name if name is None else name),
        **tokenizer_metadata(directory, num_rows=config.vocab_size),
    }
    handles, table = open_shards(directory), read_tensor_table(directory)

    def produce(entry: Entry) -> TensorBytes:
        if entry.name == ROPE_FACTORS and factors is not None:
            return to_blocks(factors.numpy(), entry.kind)
        source = sources[entry.name]
        tensor = handles[table[source].file].get_tensor(source).to(torch.float32)
        return _stored(_arranged(tensor, source, config), entry, directory)

    write_file(file, metadata, entries, produce)
    return file_facts(file)


def _written_here(file_type: str) -> FileType:
    kind = find_file_type(file_type)
    if not kind.is_written_here:
        own = ", ".join(one.name for one in FILE_TYPES.values() if one.is_written_here)
        raise CompatibilityError(
            f"{kind.name} is written by llama.cpp's quantiser, not from a model directory.",
            hint=f"Quantise an f32 or f16 file, or take one of: {own}.",
        )
    return kind


def _sources(directory: Path, config: DecoderConfig) -> dict[str, str]:
    """The file's name of each tensor → its name in the directory.

    Raises:
        SourceError: Weights and configuration do not belong together.
    """
    expected = {str(hf_name(name)): shape for name, shape in file_shapes(config).items() if name != ROPE_FACTORS}
    table = read_tensor_table(directory)
    unread = {name for name in table if name.endswith("rotary_emb.inv_freq")}  # computed from config.json
    unread |= _repeated_head(directory, config)
    found = {name: info.shape for name, info in table.items() if name not in unread}
    wrong = sorted(name for name in found.keys() | expected.keys() if found.get(name) != expected.get(name))
    if wrong:
        first = wrong[0]
        raise SourceError(
            f"{directory}: {first} has the shape {found.get(first)}, config.json calls for {expected.get(first)}.",
            hint="config.json and the weights do not belong together; fetch the model again.",
        )
    return {str(gguf_name(name)): name for name in expected}


def _repeated_head(directory: Path, config: DecoderConfig) -> set[str]:
    """The head of a tied model whose weights repeat it, if they repeat it truly."""
    table = read_tensor_table(directory)
    if not config.tied or "lm_head.weight" not in table:
        return set()
    handles = open_shards(directory)
    head, embedding = (
        handles[table[name].file].get_tensor(name) for name in ("lm_head.weight", "model.embed_tokens.weight")
    )
    if not torch.equal(head, embedding):
        raise SourceError(
            f"{directory}: config.json ties head and embedding, but the weights hold a different head.",
            hint='Set "tie_word_embeddings": false in config.json.',
        )
    return {"lm_head.weight"}


def _file_order(shapes: Mapping[str, Any]) -> list[str]:
    """Embedding, layers one after the other, norm and head."""
    ends = ("output_norm.weight", "output.weight")

    def place(name: str) -> tuple[int, int, str]:
        match = re.match(r"blk\.(\d+)\.", name)
        if match:
            return 1, int(match[1]), name
        return (2, ends.index(name), name) if name in ends else (0, 0, name)

    return sorted(shapes, key=place)


def _arranged(tensor: Tensor, source: str, config: DecoderConfig) -> Tensor:
    """The tensor with its rows in the file's order."""
    match = re.search(r"self_attn\.([qk])_proj", source)
    if match is None or not ARCHITECTURES[gguf_architecture(config)].gguf_interleaved:
        return tensor
    return permute(tensor, config.num_heads if match[1] == "q" else config.num_kv_heads)


def _stored(tensor: Tensor, entry: Entry, directory: Path) -> TensorBytes:
    values = tensor.contiguous().numpy()
    if not np.isfinite(values).all():
        raise SourceError(
            f"{directory}: {entry.name} holds NaN or infinity.", hint="The model is damaged; train or fetch it again."
        )
    if entry.kind not in _WIDE and np.abs(values).max(initial=0.0) > np.finfo(np.float16).max:
        raise CompatibilityError(
            f"{directory}: {entry.name} holds numbers that float16 cannot, and {entry.kind.name} is made of float16.",
            hint="Choose bf16 or f32.",
        )
    return to_blocks(values, entry.kind)
