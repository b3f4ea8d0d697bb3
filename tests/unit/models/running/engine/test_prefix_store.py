from __future__ import annotations

import random

import torch
from torch import Tensor

from spiritsafe.models.running.engine.prefix_store import BLOCK_TOKENS, PrefixStore


def reader(ids: tuple[int, ...], asked: list[tuple[int, int]] | None = None):  # type: ignore[no-untyped-def]  # a closure
    """Keys and values that are the tokens themselves, so that a test sees whose they are."""

    def read(start: int, end: int) -> Tensor:
        if asked is not None:
            asked.append((start, end))
        return torch.tensor(ids[start:end], dtype=torch.float32).view(1, 1, 1, -1, 1)

    return read


def found(store: PrefixStore, key: str, ids: tuple[int, ...]) -> list[int]:
    return [int(x) for block in store.find(key, ids) for x in block.flatten().tolist()]


def test_the_longest_known_beginning_is_given() -> None:
    store, rng, kept = PrefixStore(1 << 30), random.Random(1), []
    for _ in range(60):
        base = rng.choice(kept)[: rng.randrange(60)] if kept and rng.random() < 0.7 else ()
        ids = (*base, *(rng.randrange(3) for _ in range(rng.randrange(1, 50))))
        store.keep("a", ids, reader(ids))
        kept.append(ids)
        asked = rng.choice(kept)[: rng.randrange(80)] + tuple(rng.randrange(3) for _ in range(rng.randrange(3)))
        got = found(store, "a", asked)
        assert got == list(asked[: len(got)])
        assert len(got) == store.count("a", asked)
        common = max(next((i for i, (a, b) in enumerate(zip(one, asked, strict=False)) if a != b), 99) for one in kept)
        assert len(got) >= min(common, len(asked)) // BLOCK_TOKENS * BLOCK_TOKENS or common == 99
        if asked in kept:
            assert len(got) == len(asked)


def test_nobody_finds_what_others_asked() -> None:
    store, ids = PrefixStore(1 << 30), tuple(range(40))
    store.keep("hers", ids, reader(ids))
    assert store.count("his", ids) == 0
    assert store.find("his", ids) == []
    assert found(store, "hers", ids) == list(ids)


def test_only_unknown_blocks_are_read_and_the_oldest_go_first() -> None:
    block_bytes = BLOCK_TOKENS * 4
    store = PrefixStore(4 * block_bytes)
    first = tuple(range(2 * BLOCK_TOKENS))
    store.keep("a", first, reader(first))
    asked: list[tuple[int, int]] = []
    longer = (*first, *range(100, 100 + BLOCK_TOKENS))
    store.keep("a", longer, reader(longer, asked))
    assert asked == [(2 * BLOCK_TOKENS, 3 * BLOCK_TOKENS)]
    other = tuple(range(500, 500 + 2 * BLOCK_TOKENS))
    store.find("a", first)
    store.keep("a", other, reader(other))
    assert store.num_bytes == 4 * block_bytes
    assert store.count("a", longer) == 2 * BLOCK_TOKENS, "its end was used longest ago"
    assert store.count("a", other) == 2 * BLOCK_TOKENS
    store.clear()
    assert (store.num_bytes, store.count("a", other)) == (0, 0)
