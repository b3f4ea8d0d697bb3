"""Several teachers for one student: each document is read by the teacher it belongs to, and by no other.

In: teacher signals by name, and the name for each document, or for each prompt: documents that a student will write
during the run are known by the prompts that they answer. Out: one signal whose parts come from these teachers. A live
teacher runs forward only on its own documents, cut out of the packed batch with the prefix they share; cached and live
teachers may be mixed. Shapes: N tokens of the batch, M of one teacher's documents, R supervised rows, S rows of one
teacher.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import final

import torch
from torch import Tensor

from spiritsafe.core.canonical import JSON, digest
from spiritsafe.core.errors import CompatibilityError, RecipeError
from spiritsafe.distil.signal import Signal, SignalPart, TeacherSignal, document_key, document_keys
from spiritsafe.models import IGNORED, PackedBatch


def _spans(batch: PackedBatch) -> list[tuple[int, int]]:
    """Where each document stands, a shared prefix not counted."""
    prefix = batch.prefix_length
    lengths = batch.lengths[1:] if prefix else batch.lengths
    stops = [prefix + stop for stop in accumulate(lengths)]
    return [(stop - length, stop) for stop, length in zip(stops, lengths, strict=True)]


def prompt_keys(batch: PackedBatch) -> list[str]:
    """The :func:`~.signal.document_key` of each document's prompt: what comes before its first supervised token."""
    tokens, supervised = batch.token_ids_N.tolist(), (batch.targets_N != IGNORED).tolist()
    prefix = tokens[: batch.prefix_length]
    keys = []
    for start, stop in _spans(batch):
        last = next((place for place in range(start, stop) if supervised[place]), stop - 1)
        keys.append(document_key([*prefix, *tokens[start : last + 1]]))
    return keys


def select_documents(batch: PackedBatch, chosen: Sequence[int]) -> tuple[PackedBatch, Tensor]:
    """The batch with some of its documents only; a shared prefix stays.

    Args:
        chosen: Documents, ascending; the prefix is not counted.

    Returns:
        The smaller batch, and for each of its M positions where it was in the whole.
    """
    all_spans, prefix = _spans(batch), batch.prefix_length
    spans = [(0, prefix)] if prefix else []
    spans += [all_spans[document] for document in chosen]
    device = batch.token_ids_N.device
    places_M = torch.cat([torch.arange(start, stop, device=device) for start, stop in spans])
    smaller = PackedBatch(
        token_ids_N=batch.token_ids_N[places_M],
        position_ids_N=batch.position_ids_N[places_M],
        targets_N=batch.targets_N[places_M],
        weights_N=batch.weights_N[places_M],
        lengths=tuple(stop - start for start, stop in spans),
        prefix_length=prefix,
    )
    return smaller, places_M


@final
class TeachersByDocument:
    """A :class:`~spiritsafe.distil.signal.TeacherSignal` made of several.

    Args:
        signals: The teachers by name; all of one vocabulary.
        documents: The name for documents that are known before the run, by :func:`~.signal.document_key`.
        prompts: The name for all other documents that answer a prompt, by the ``document_key`` of the prompt's tokens.
        default: For documents that have neither; None refuses them.
        same_tokenizer: The caller has checked that all teachers' tokenizers agree token for token; only then may
            their vocabularies differ in size, by padding.

    Attributes:
        shares_prefixes: Whether all of them do.

    Raises:
        RecipeError: There is no teacher, or a name is not that of one.
        CompatibilityError: Vocabularies differ in size without ``same_tokenizer``.
    """

    def __init__(
        self,
        signals: Mapping[str, TeacherSignal],
        documents: Mapping[str, str] | None = None,
        *,
        prompts: Mapping[str, str] | None = None,
        default: str | None = None,
        same_tokenizer: bool = False,
    ) -> None:
        if not signals:
            raise RecipeError("There is no teacher.", hint="Give at least one signal.")
        self._signals = dict(signals)
        self._documents, self._prompts, self._default = dict(documents or {}), dict(prompts or {}), default
        named = {*self._documents.values(), *self._prompts.values(), *([] if default is None else [default])}
        if strangers := named - self._signals.keys():
            raise RecipeError(
                f"There is no teacher {min(strangers)!r}.", hint=f"Name one of: {', '.join(sorted(self._signals))}."
            )
        sizes = {name: signal.vocab_size for name, signal in self._signals.items()}
        if len(set(sizes.values())) > 1 and not same_tokenizer:
            raise CompatibilityError(
                f"The teachers' vocabularies differ in size: {sizes}.",
                hint="Use teachers of one tokenizer; if they are and differ by padding only, say same_tokenizer=True.",
            )
        self.shares_prefixes = all(signal.shares_prefixes for signal in self._signals.values())
        self.vocab_size = max(sizes.values())

    def describe(self) -> dict[str, JSON]:
        """All teachers, and which documents and prompts are whose."""
        return {
            "signal": "by_document",
            "teachers": {name: signal.describe() for name, signal in self._signals.items()},
            "documents": digest(self._documents),
            "prompts": digest(self._prompts),
            "default": self._default,
        }

    def _owners(self, batch: PackedBatch) -> list[str]:
        owners = []
        for document, prompt in zip(document_keys(batch), prompt_keys(batch), strict=True):
            name = self._documents.get(document, self._prompts.get(prompt, self._default))
            if name is None:
                raise CompatibilityError(
                    f"Document {document[:12]} has no teacher.",
                    hint="Name one for it or for its prompt, or give a default teacher.",
                )
            owners.append(name)
        return owners

    def read(self, batch: PackedBatch, rows_R: Tensor, *, layers: Sequence[int] = ()) -> Signal:
        """Each teacher's view of the supervised rows of its own documents, one part or more a teacher.

        Raises:
            CompatibilityError: A document has no teacher; layers are asked of more than one teacher; or a teacher
                refuses its documents.
        """
        if layers and len(self._signals) > 1:
            raise CompatibilityError(
                f"Layers {list(layers)} were asked of {len(self._signals)} teachers, which have no common width.",
                hint="Match hidden states with one teacher, or leave hidden matching out.",
            )
        names = self._owners(batch)
        if len(set(names)) == 1:
            return self._signals[names[0]].read(batch, rows_R, layers=layers)
        parts: list[SignalPart] = []
        for name in dict.fromkeys(names):
            chosen = [document for document, owner in enumerate(names) if owner == name]
            parts.extend(self._read_some(self._signals[name], batch, rows_R, chosen))
        return Signal(parts=tuple(parts))

    def _read_some(
        self, signal: TeacherSignal, batch: PackedBatch, rows_R: Tensor, chosen: Sequence[int]
    ) -> list[SignalPart]:
        smaller, places_M = select_documents(batch, chosen)
        new_place_N = torch.full_like(batch.token_ids_N, -1)
        new_place_N[places_M] = torch.arange(places_M.numel(), device=places_M.device)
        mine_R = new_place_N[rows_R]
        index_S = torch.nonzero(mine_R >= 0).squeeze(1)
        if not index_S.numel():
            return []
        found = signal.read(smaller, mine_R[index_S])
        return [
            replace(part, index_S=index_S if part.index_S is None else index_S[part.index_S]) for part in found.parts
        ]
