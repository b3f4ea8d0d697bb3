from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from spiritsafe.ledger import (
    consistency_proof,
    inclusion_path,
    leaf_hash,
    root_hash,
    verify_consistency,
    verify_inclusion,
)

LEAVES = st.lists(st.binary(max_size=8), min_size=1, max_size=40).map(lambda items: [leaf_hash(x) for x in items])


@settings(max_examples=60, deadline=None)
@given(LEAVES, st.data())
def test_a_leaf_is_proved_and_a_changed_one_is_not(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    root, path = root_hash(leaves), inclusion_path(index, leaves)
    assert verify_inclusion(leaves[index], index, len(leaves), path, root)
    assert len(path) <= (len(leaves) - 1).bit_length()
    assert not verify_inclusion(leaf_hash(b"another leaf"), index, len(leaves), path, root)
    if path:
        position, bit = data.draw(st.integers(0, len(path) - 1)), data.draw(st.integers(0, 255))
        step = bytearray(path[position])
        step[bit // 8] ^= 1 << (bit % 8)
        assert not verify_inclusion(
            leaves[index], index, len(leaves), [*path[:position], bytes(step), *path[position + 1 :]], root
        )


@settings(max_examples=60, deadline=None)
@given(LEAVES, st.data())
def test_growing_is_proved_and_rewriting_is_not(leaves, data):
    first = data.draw(st.integers(1, len(leaves)))
    proof = consistency_proof(first, leaves)
    old, new = root_hash(leaves[:first]), root_hash(leaves)
    assert verify_consistency(first, len(leaves), old, new, proof)
    changed = data.draw(st.integers(0, first - 1))
    rewritten = root_hash([*leaves[:changed], leaf_hash(b"rewritten"), *leaves[changed + 1 : first]])
    assert not verify_consistency(first, len(leaves), rewritten, new, proof)
