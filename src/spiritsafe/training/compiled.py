"""Compiled blocks while gradients are made, and products in TF32.

In: a model in training, what the recipe wishes. Out: a context for a step's forward and backward passes. Outside it the
model is as it was: draws and evaluations, whose log-probabilities are kept or compared, stay uncompiled and in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, final

import torch
from torch import nn

from spiritsafe.core.errors import CompatibilityError
from spiritsafe.models import Decoder, Document, LanguageModel
from spiritsafe.training.config import CompileWish, ComputeDtype
from spiritsafe.training.data.packing import pack_micro_batch

_TRIALS = ((8,), (13, 21))
"""Lengths of the trial's documents: of two sizes, for the second one is compiled for any."""


@contextmanager
def fast_products(wish: ComputeDtype, device: torch.device) -> Iterator[None]:
    """Let a GPU's float32 products round their inputs to TF32 (10 bits of mantissa; bfloat16 has 7) in the block.

    Not where float32 was asked for by name.
    """
    if device.type != "cuda" or wish == "float32":
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@final
class StepCompiler:
    """Puts compiled halves of a Decoder's blocks into place for as long as a step takes, where that is wished.

    A trial says whether the compiler works here: gradients of small batches, which the caller must clear.

    Args:
        model: What is trained.
        wish: "auto": for a Decoder on a GPU that is not spread; true: on a CPU as well.
        is_sharded: Whether it is spread over processes.
        warn: Told why the model stays uncompiled, where the compiler fails.
        backend: Of ``torch.compile``.

    Raises:
        CompatibilityError: It is wished by name, and the model is of another kind, or spread.
    """

    def __init__(
        self,
        model: LanguageModel,
        wish: CompileWish,
        *,
        is_sharded: bool,
        warn: Callable[[str], None],
        backend: str = "inductor",
    ) -> None:
        self._halves: list[tuple[nn.Module, str, Callable[..., Any]]] = []
        is_fit = isinstance(model, Decoder) and not is_sharded
        if wish is True and not is_fit:
            what = "that is spread over processes" if is_sharded else f"of the kind {type(model).__name__}"
            raise CompatibilityError(
                f"The layers of a model {what} are not compiled.", hint='Set compile to "auto" or false.'
            )
        if isinstance(model, Decoder) and is_fit and (wish is True or (wish == "auto" and model.device.type == "cuda")):
            self._try(model, backend, warn)

    def _try(self, model: Decoder, backend: str, warn: Callable[[str], None]) -> None:
        try:
            self._halves = model.compiled_halves(backend=backend)
            for lengths in _TRIALS:
                ids = [torch.arange(min(length, model.max_context)) % model.vocab_size for length in lengths]
                documents = [Document(token_ids=tuple(one.tolist()), supervised=(True,) * len(one)) for one in ids]
                with self.in_place():
                    model(pack_micro_batch(documents, share_prefix=False).to(model.device)).float().sum().backward()
        except Exception as error:  # noqa: BLE001  the boundary to a compiler and its tools
            self._halves = []
            first = (str(error).strip() or type(error).__name__).splitlines()[0]
            warn(f"The model's layers stay uncompiled, for torch.compile fails here: {type(error).__name__}: {first}")

    @property
    def is_compiled(self) -> bool:
        """Whether there is anything to put into place."""
        return bool(self._halves)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """In the block the layers compute by their compiled halves."""
        for block, half, compiled in self._halves:
            setattr(block, half, compiled)
        try:
            yield
        finally:
            for block, half, _ in self._halves:
                delattr(block, half)
