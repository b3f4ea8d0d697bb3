"""Which code runs a model: the Decoder, transformers' own, llama.cpp. One answer for loading, plans and the user.

In: a model directory. Out: a :class:`CodeChoice` with sentences for the user: what is slower or impossible, and which
keys of ``config.json`` nobody reads.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import final

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.core.files.digests import file_model
from spiritsafe.models.decoder.config import DecoderConfig, unread_keys
from spiritsafe.models.transformers_backend.balance import router_loss_of
from spiritsafe.models.transformers_backend.model import check_foreign
from spiritsafe.models.transformers_backend.sizes import read_config

_FILE = "It is a GGUF file: llama.cpp answers from it as it is, on the CPU; nothing can learn from it."
_SLOWER = (
    "It runs through transformers' own code: sampling, training and exams work and take longer; memory is predicted "
    "without activations; nothing can be cut from it."
)


@final
@dataclass(frozen=True, kw_only=True)
class CodeChoice:
    """What runs a model.

    Attributes:
        decoder: Its configuration for the Decoder; None: transformers runs it, or llama.cpp, where it is a GGUF file.
        notes: What a user should know; empty where there is nothing to be said.
    """

    decoder: DecoderConfig | None
    notes: tuple[str, ...]


def choose_code(directory: Path) -> CodeChoice:
    """The Decoder for what it implements, transformers for the rest; llama.cpp for files.

    Raises:
        SourceError: There is no ``config.json``, or transformers does not know the architecture either.
        CompatibilityError: No code here can train or score it.
    """
    if file_model(directory) is not None:
        return CodeChoice(decoder=None, notes=(_FILE,))
    config = read_config(directory)
    try:
        decoder = DecoderConfig.from_hf(config)
    except CompatibilityError as error:
        _, balance = router_loss_of(check_foreign(directory))
        return CodeChoice(decoder=None, notes=(f"{error.message} {_SLOWER}", *filter(None, [balance])))
    notes = []
    if unread := unread_keys(config):
        notes.append(
            f"config.json holds {', '.join(unread)}, which neither the Decoder nor transformers reads for a "
            f"{decoder.family} model: left out. If other code gives it a meaning, this model will not behave as there."
        )
    own = config.get("auto_map")
    if isinstance(own, dict) and "AutoModelForCausalLM" in own:
        notes.append(
            f"config.json names code of its publisher ({own['AutoModelForCausalLM']}), which is not run: the model "
            f"runs as the plain {decoder.family} that it says it is."
        )
    return CodeChoice(decoder=decoder, notes=tuple(notes))
