"""RFC 6962 Merkle trees: one hash for a list, short proofs that an entry is in it and that a list only grew.

In: leaf data (bytes). Out: 32-byte hashes and proofs. Leaves and inner nodes are hashed with different prefixes, so
that neither can pass for the other. Tests hold it to the known vectors of
Certificate Transparency.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from spiritsafe.core.errors import IntegrityError


def leaf_hash(data: bytes) -> bytes:
    """Hash of a leaf: SHA-256(0x00 ‖ data) (RFC 6962 §2.1)."""
    return hashlib.sha256(b"\x00" + data).digest()


def _node(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _split(size: int) -> int:
    """Largest power of two below ``size``."""
    return 1 << ((size - 1).bit_length() - 1)


def root_hash(leaves: Sequence[bytes]) -> bytes:
    """Root over leaf hashes; SHA-256 of nothing for an empty list (RFC 6962 §2.1)."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    # One stack of perfect subtrees: the recursive definition without slicing.
    stack: list[tuple[int, bytes]] = []
    for leaf in leaves:
        height, value = 0, leaf
        while stack and stack[-1][0] == height:
            value = _node(stack.pop()[1], value)
            height += 1
        stack.append((height, value))
    value = stack.pop()[1]
    while stack:
        value = _node(stack.pop()[1], value)
    return value


def root_of_leaves(data: Sequence[bytes]) -> bytes:
    """Root over leaf data."""
    return root_hash([leaf_hash(item) for item in data])


def _refuse(message: str) -> IntegrityError:
    return IntegrityError(message, hint="Ask for an entry and a size that the ledger has.")


def inclusion_path(index: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Hashes that lead from leaf ``index`` to the root, nearest first (RFC 6962 §2.1.1).

    Raises:
        IntegrityError: There is no such leaf.
    """
    if not 0 <= index < len(leaves):
        raise _refuse(f"There is no leaf {index} among {len(leaves)}.")
    if len(leaves) == 1:
        return []
    k = _split(len(leaves))
    if index < k:
        return [*inclusion_path(index, leaves[:k]), root_hash(leaves[k:])]
    return [*inclusion_path(index - k, leaves[k:]), root_hash(leaves[:k])]


def verify_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether ``path`` proves that ``leaf`` (a leaf hash) is at ``index`` of the tree (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    node, last, value = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if node & 1 or node == last:
            value = _node(sibling, value)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            value = _node(value, sibling)
        node >>= 1
        last >>= 1
    return last == 0 and value == root


def consistency_proof(first: int, leaves: Sequence[bytes]) -> list[bytes]:
    """Hashes that show the tree of the first ``first`` leaves to be the beginning of this one (RFC 6962 §2.1.2).

    Raises:
        IntegrityError: ``first`` is not in 1..len(leaves).
    """
    if not 1 <= first <= len(leaves):
        raise _refuse(f"There is no tree of {first} leaves inside one of {len(leaves)}.")

    def subproof(m: int, part: Sequence[bytes], whole: bool) -> list[bytes]:
        if m == len(part):
            return [] if whole else [root_hash(part)]
        k = _split(len(part))
        if m <= k:
            return [*subproof(m, part[:k], whole), root_hash(part[k:])]
        return [*subproof(m - k, part[k:], False), root_hash(part[:k])]

    return subproof(first, leaves, True)


def verify_consistency(first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether ``proof`` shows the tree of ``second`` leaves to extend that of ``first`` (RFC 9162 §2.1.4.2)."""
    if not 1 <= first <= second:
        return False
    if first == second:
        return not proof and first_root == second_root
    steps = list(proof) if first & (first - 1) else [first_root, *proof]
    if not steps:
        return False
    node, last = first - 1, second - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old = new = steps[0]
    for sibling in steps[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            old, new = _node(sibling, old), _node(sibling, new)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            new = _node(new, sibling)
        node >>= 1
        last >>= 1
    return last == 0 and old == first_root and new == second_root
