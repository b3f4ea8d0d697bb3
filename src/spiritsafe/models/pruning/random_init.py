"""The control of every cut: a student of the same shape and tokenizer whose weights were drawn at random.

In: a model directory and a seed. Out: the same directory with fresh weights; nothing of the teacher is in them, so its
lineage names no parent.
"""

from __future__ import annotations

from pathlib import Path

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.records import Checkpoint
from spiritsafe.core.seeds import derive_seed
from spiritsafe.models.chat.format import TOKENIZER_FILES
from spiritsafe.models.checkpoints.directory import new_directory, write_lineage
from spiritsafe.models.checkpoints.lineage import read_checkpoint
from spiritsafe.models.checkpoints.tensors import read_tensor_table, torch_dtype, write_weights
from spiritsafe.models.decoder.config import DecoderConfig
from spiritsafe.models.decoder.module import Decoder


def randomise(source: Path, target: Path, seed: int, *, name: str, recipe: str | None = None) -> Checkpoint:
    """Write a model with another's configuration and tokenizer and weights of its own.

    Matrices are drawn from a normal distribution of width ``initializer_range`` (0.02 if the configuration names
    none), norms are 1, biases 0: what transformers does for these families.

    Args:
        source: A directory of the Decoder's family, with its lineage.
        target: The new directory; it appears when it is whole.
        seed: The weights are a function of it and of their shapes.
        recipe: Digest of the recipe that asked for it.

    Raises:
        CompatibilityError: Another architecture.
    """
    config = DecoderConfig.from_hf(read_json(source / "config.json"))
    dtypes = {info.dtype for info in read_tensor_table(source).values()}
    if len(dtypes) != 1:
        raise CompatibilityError(
            f"{source} holds tensors of {len(dtypes)} types: {', '.join(sorted(dtypes))}.",
            hint="Take a directory whose weights are all of one type.",
        )
    dtype = torch_dtype(dtypes.pop())
    tensors = Decoder(config, seed=derive_seed("random weights", seed)).hf_state_dict()
    parent = read_checkpoint(source)
    with new_directory(target) as temporary:
        layout = [(key, dtype, tuple(tensors[key].shape)) for key in sorted(tensors)]
        write_weights(temporary, layout, lambda key: tensors[key].to(dtype))
        for file in ("config.json", *TOKENIZER_FILES):
            if (source / file).is_file():
                (temporary / file).write_bytes((source / file).read_bytes())
        # The tokenizer is the source's, so its licence goes on.
        return write_lineage(temporary, name=name, license=parent.license, recipe=recipe)
