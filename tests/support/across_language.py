"""A language with a known joint probability, and models of it that are exact under any tokenization.

A text is two words with a space between; words are strings over ``a`` and ``b`` of at most three letters, drawn by a
Markov chain with an end. A model's next-token distribution after some tokens is the share of the texts that go on so:
it puts all mass on the tokenizer's own way of cutting a text, as a trained model all but does.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from spiritsafe.distil.cross_tokenizer.pairing import PairedDocument, pair_documents
from spiritsafe.distil.cross_tokenizer.spans import END_ROLE, TokenBytes
from spiritsafe.models.interface.batch import Document, PackedBatch
from spiritsafe.models.interface.language_model import Head, LanguageModel

_START = {"a": 0.6, "b": 0.4}
_NEXT = {"a": {"a": 0.2, "b": 0.5, "": 0.3}, "b": {"a": 0.45, "b": 0.15, "": 0.4}}


def _word_probability(word: str) -> float:
    chance = _START[word[0]]
    for before, after in itertools.pairwise(word):
        chance *= _NEXT[before][after]
    return chance * (1.0 if len(word) == 3 else _NEXT[word[-1]][""])


WORDS = {word: _word_probability(word) for n in (1, 2, 3) for word in map("".join, itertools.product("ab", repeat=n))}
TEXTS = {f"{one} {two}": p * q for one, p in WORDS.items() for two, q in WORDS.items()}
"""Every text and its probability; they add up to 1."""


class Cutter:
    """A tokenizer: each word with the space before it is cut greedily into the longest pieces it knows."""

    def __init__(self, *pieces: str) -> None:
        self.pieces = sorted(pieces, key=lambda piece: (-len(piece), piece))
        roles = {len(pieces): "special:bos", len(pieces) + 1: END_ROLE}
        self.vocabulary = TokenBytes(spellings=(*(p.encode() for p in self.pieces), b"", b""), roles=roles)
        self.bos, self.end = len(pieces), len(pieces) + 1

    def encode(self, text: str) -> tuple[int, ...]:
        """Tokens of a whole text, with start and end."""
        ids = [self.bos]
        for unit in re.findall(r" ?\w+", text):
            at = 0
            while at < len(unit):
                ids.append(next(n for n, piece in enumerate(self.pieces) if unit.startswith(piece, at)))
                at += len(self.pieces[ids[-1]])
        return (*ids, self.end)

    def document(self, text: str) -> Document:
        ids = self.encode(text)
        return Document(token_ids=ids, supervised=(False, *(True for _ in ids[1:])))

    def boundary_ids(self) -> tuple[int, ...]:
        return (*(n for n, piece in enumerate(self.pieces) if piece.startswith(" ")), self.end)


LETTERS = Cutter("a", "b", " ")
MERGES = Cutter("a", "b", " ", "ab", "ba", "aba", " a", " ab", " bb")


def pair_of(student: Cutter, teacher: Cutter, text: str) -> PairedDocument:
    return pair_documents(student.document(text), student.vocabulary, teacher.document(text), teacher.vocabulary)


class ExactModel(LanguageModel):
    """The language under a tokenization: the hidden state is the prefix (one-hot), the head its log-probabilities."""

    def __init__(self, cutter: Cutter) -> None:
        super().__init__()
        self.mass: dict[tuple[int, ...], float] = defaultdict(float)
        for text, chance in TEXTS.items():
            ids = cutter.encode(text)
            for length in range(1, len(ids) + 1):
                self.mass[ids[:length]] += chance
        self._place = {prefix: n for n, prefix in enumerate(self.mass)}
        self.vocab_size = len(cutter.vocabulary.spellings)
        self.hidden_size = len(self._place)
        self.num_layers, self.max_context = 1, 64
        weight = torch.full((self.vocab_size, self.hidden_size), -80.0, dtype=torch.float64)
        for prefix, mass in self.mass.items():
            if len(prefix) > 1:
                before = prefix[:-1]
                weight[prefix[-1], self._place[before]] = math.log(mass / self.mass[before])
        self.weight_VH = nn.Parameter(weight)

    def forward(self, batch: PackedBatch) -> Tensor:
        hidden = torch.zeros(batch.num_tokens, self.hidden_size, dtype=torch.float64)
        at = 0
        for length in batch.lengths:
            ids = tuple(batch.token_ids_N[at : at + length].tolist())
            for n in range(length):
                hidden[at + n, self._place[ids[: n + 1]]] = 1.0
            at += length
        return hidden.requires_grad_()

    def forward_with_layers(self, batch: PackedBatch, layers: Sequence[int]) -> tuple[Tensor, tuple[Tensor, ...]]:
        return self(batch), ()

    def head(self) -> Head:
        return Head(weight_VH=self.weight_VH, scale=1.0)

    def save_weights(self, directory: Path) -> None:
        raise NotImplementedError(str(directory))
