"""Keys and values of prompts that were computed before, for later prompts that begin alike.

In: a prompt's tokens and their keys and values. Out: those of the longest beginning that is known. Prompts are cut into
blocks; each block is known by all tokens up to its end, so equal beginnings are held once. Whoever asks sees only what
was kept under the same key: that a prompt was fast would tell others what somebody asked before (CVE-2025-46570).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import final

from torch import Tensor

BLOCK_TOKENS = 16

_Path = tuple[str, int, tuple[int, ...]]
"""A key, the number of the block before (0: none), and the block's tokens."""


@final
@dataclass
class _Block:
    number: int
    stored: Tensor

    @property
    def num_bytes(self) -> int:
        return self.stored.numel() * self.stored.element_size()


@final
class PrefixStore:
    """Blocks, of which those used longest ago are forgotten first.

    Args:
        max_bytes: Most memory they take.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._next = 1
        self._blocks: OrderedDict[_Path, _Block] = OrderedDict()
        self._tails: dict[tuple[str, int], dict[int, int]] = {}

    @property
    def num_bytes(self) -> int:
        """What is held now."""
        return self._num_bytes

    def clear(self) -> None:
        """Forget everything."""
        self._blocks.clear()
        self._tails.clear()
        self._num_bytes = 0

    def find(self, key: str, token_ids: tuple[int, ...]) -> list[Tensor]:
        """Blocks ``[layers, 2, K, P, W]`` of the longest known beginning, in order."""
        paths = list(self._known(key, token_ids))
        # the last first, so that a block is never used longer ago than one behind it
        for path in reversed(paths):
            self._blocks.move_to_end(path)
        return [self._blocks[path].stored for path in paths]

    def count(self, key: str, token_ids: tuple[int, ...]) -> int:
        """How many tokens :meth:`find` would give."""
        return sum(len(path[2]) for path in self._known(key, token_ids))

    def keep(self, key: str, token_ids: tuple[int, ...], read: Callable[[int, int], Tensor]) -> None:
        """Hold a prompt.

        Args:
            read: Gives the keys and values of its tokens from a start to an end; asked for unknown blocks only.
        """
        before, used = 0, []
        for start in range(0, len(token_ids), BLOCK_TOKENS):
            path = (key, before, token_ids[start : start + BLOCK_TOKENS])
            block = self._blocks.get(path)
            if block is None:
                block = self._add(path, read(start, start + len(path[2])))
            used.append(path)
            before = block.number
        for path in reversed(used):
            self._blocks.move_to_end(path)
        while self._num_bytes > self._max_bytes:
            self._forget(*self._blocks.popitem(last=False))

    def _add(self, path: _Path, stored: Tensor) -> _Block:
        block = _Block(self._next, stored)
        self._next += 1
        self._blocks[path] = block
        self._num_bytes += block.num_bytes
        if len(path[2]) < BLOCK_TOKENS:
            lengths = self._tails.setdefault(path[:2], {})
            lengths[len(path[2])] = lengths.get(len(path[2]), 0) + 1
        return block

    def _forget(self, path: _Path, block: _Block) -> None:
        self._num_bytes -= block.num_bytes
        length = len(path[2])
        if length < BLOCK_TOKENS:
            lengths = self._tails[path[:2]]
            lengths[length] -= 1
            if not lengths[length]:
                del lengths[length]
            if not lengths:
                del self._tails[path[:2]]

    def _whole(self, key: str, token_ids: tuple[int, ...]) -> Iterator[_Path]:
        """The known whole blocks that a prompt begins with."""
        before = 0
        for start in range(0, len(token_ids) - BLOCK_TOKENS + 1, BLOCK_TOKENS):
            path = (key, before, token_ids[start : start + BLOCK_TOKENS])
            block = self._blocks.get(path)
            if block is None:
                return
            yield path
            before = block.number

    def _known(self, key: str, token_ids: tuple[int, ...]) -> Iterator[_Path]:
        """The same, and behind them the longest known block that is not whole."""
        before, start = 0, 0
        for path in self._whole(key, token_ids):
            yield path
            before, start = self._blocks[path].number, start + BLOCK_TOKENS
        for length in sorted(self._tails.get((key, before), ()), reverse=True):
            path = (key, before, token_ids[start : start + length])
            if len(path[2]) == length and path in self._blocks:
                yield path
                return
