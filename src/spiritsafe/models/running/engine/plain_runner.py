"""Any LanguageModel, slowly and simply: every sequence is computed anew at each step. The measure of other runners."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import final

import torch
from torch import Tensor

from spiritsafe.models.decoder.head_product import head_logits
from spiritsafe.models.interface.batch import Document, pack_documents
from spiritsafe.models.interface.language_model import LanguageModel
from spiritsafe.models.running.engine.decode_state import NO_EXTRAS, Admission, DecodeState, Extras
from spiritsafe.models.running.engine.runner import Runner

LOGIT_ROWS = 256
"""Of a prompt, whose logits are in memory at once."""


def _hidden(model: LanguageModel, sequences: Sequence[tuple[int, ...]]) -> Tensor:
    documents = [Document(token_ids=ids, supervised=(False,) * len(ids)) for ids in sequences]
    hidden_NH: Tensor = model(pack_documents(documents).to(model.head().weight_VH.device))
    return hidden_NH


@final
class PlainRunner(Runner):
    """Keeps tokens only."""

    def __init__(self, model: LanguageModel) -> None:
        self._model = model
        self._device = model.head().weight_VH.device

    def begin(self, num_slots: int, num_positions: int, *, same_weights: bool = False) -> None:
        """Make slots."""
        self._sequences: list[tuple[int, ...]] = [()] * num_slots
        self.state = DecodeState(num_slots, self._model.max_context, self._device)

    def admit(self, admissions: Sequence[Admission]) -> list[int]:
        """Remember the prompts."""
        for admission in admissions:
            self._sequences[admission.slot] = admission.prompt_ids
        self.state.start(admissions)
        return [0] * len(admissions)

    def move(self, source: int, target: int, num_positions: int) -> None:
        """Move tokens and state."""
        self._sequences[target] = self._sequences[source]
        self.state.move(source, target)

    def advance(self, lengths: Sequence[int], num_steps: int, extras: Extras = NO_EXTRAS) -> None:
        """Run whole sequences through the model, once for each step."""
        count = len(lengths)
        how = self.state.sampling(count)
        for _ in range(num_steps):
            sequences = self._sequences[:count]
            ends = torch.tensor([len(ids) for ids in sequences], device=self._device).cumsum(0) - 1
            hidden_NH = _hidden(self._model, sequences)
            self.state.record(head_logits(self._model.head(), hidden_NH[ends]), how, extras)
            drawn = self.state.tokens_B[:count].tolist()
            self._sequences[:count] = [(*ids, token) for ids, token in zip(sequences, drawn, strict=True)]

    def logits(self, prompt_ids: tuple[int, ...]) -> Iterator[Tensor]:
        """Of the whole prompt, cut: nothing is kept that a part could be computed behind."""
        for rows in torch.split(_hidden(self._model, [prompt_ids]), LOGIT_ROWS):
            yield head_logits(self._model.head(), rows)
