"""Data sets: where rows come from, which files a split is made of, the benchmarks that go by a name."""
