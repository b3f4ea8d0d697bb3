from spiritsafe.core.seeds import SEED_BITS, derive_seed


def test_seeds_are_pinned() -> None:
    """These numbers are part of every published run: do not change the test, change the code back."""
    assert derive_seed() == 1395541612741306
    assert derive_seed(0) == 3672137195816488
    assert derive_seed(7, "rollouts", "p", 3) == 1750944288087185


def test_each_part_counts_and_so_does_its_type() -> None:
    seeds = [derive_seed(*parts) for parts in [(1,), (2,), ("1",), (1, 1), ([1, 1],), ("a", "b"), ("ab",), (None,)]]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**SEED_BITS for seed in seeds)


def test_seeds_spread_evenly() -> None:
    tops = [derive_seed("spread", i) >> (SEED_BITS - 3) for i in range(4000)]
    assert all(400 < tops.count(bucket) < 600 for bucket in range(8))
