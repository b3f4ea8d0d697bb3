from __future__ import annotations

import hashlib

import pytest

from spiritsafe.core.errors import IntegrityError
from spiritsafe.ledger.merkle import (
    consistency_proof,
    inclusion_path,
    leaf_hash,
    root_hash,
    root_of_leaves,
    verify_consistency,
    verify_inclusion,
)

# The reference leaves and hashes of Certificate Transparency's own test suites.
LEAVES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(1, 9))
def test_known_roots(size):
    assert root_of_leaves(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_empty_root():
    assert root_of_leaves([]) == hashlib.sha256(b"").digest()


def test_known_inclusion_path():
    leaves = [leaf_hash(leaf) for leaf in LEAVES]
    assert [step.hex() for step in inclusion_path(5, leaves)] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def test_known_consistency_proof():
    leaves = [leaf_hash(leaf) for leaf in LEAVES]
    assert [step.hex() for step in consistency_proof(6, leaves)] == [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


def recursive_root(leaves):
    """RFC 6962 §2.1, word for word."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + recursive_root(leaves[:k]) + recursive_root(leaves[k:])).digest()


def test_root_equals_the_recursive_definition():
    leaves = [leaf_hash(bytes([number])) for number in range(70)]
    for size in range(1, 71):
        assert root_hash(leaves[:size]) == recursive_root(leaves[:size])


def test_every_inclusion_proof_and_no_other():
    leaves = [leaf_hash(bytes([number])) for number in range(20)]
    for size in range(1, 21):
        root = root_hash(leaves[:size])
        for index in range(size):
            path = inclusion_path(index, leaves[:size])
            assert verify_inclusion(leaves[index], index, size, path, root)
            for other in range(size):
                if other != index:
                    assert not verify_inclusion(leaves[other], index, size, path, root)
                    assert not verify_inclusion(leaves[index], other, size, path, root)
            assert not verify_inclusion(leaves[index], index, size, [*path, root], root)
            assert not (path and verify_inclusion(leaves[index], index, size, path[:-1], root))
            assert not verify_inclusion(leaves[index], size, size, path, root)


def test_every_consistency_proof_and_no_forked_one():
    leaves = [leaf_hash(bytes([number])) for number in range(20)]
    for second in range(1, 21):
        new = root_hash(leaves[:second])
        for first in range(1, second + 1):
            old = root_hash(leaves[:first])
            proof = consistency_proof(first, leaves[:second])
            assert verify_consistency(first, second, old, new, proof)
            forked = root_hash([*leaves[: first - 1], leaf_hash(b"rewritten")])
            assert not verify_consistency(first, second, forked, new, proof)
            assert not verify_consistency(first, second, old, new, [*proof, old])
            if proof:
                broken = [*proof[:-1], bytes(32)]
                assert not verify_consistency(first, second, old, new, broken)
                assert not verify_consistency(first, second, old, new, proof[:-1])
    assert not verify_consistency(0, 5, root_hash([]), root_hash(leaves[:5]), [])
    assert not verify_consistency(6, 5, root_hash(leaves[:6]), root_hash(leaves[:5]), [])


def test_leaf_and_node_cannot_be_confused():
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert leaf_hash(left + right) != root_hash([left, right])


def test_out_of_range_is_refused():
    leaves = [leaf_hash(b"x")]
    for call in (
        lambda: inclusion_path(1, leaves),
        lambda: inclusion_path(-1, leaves),
        lambda: consistency_proof(0, leaves),
        lambda: consistency_proof(2, leaves),
    ):
        with pytest.raises(IntegrityError):
            call()
