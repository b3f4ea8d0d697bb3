"""Whether a paper stands in training files or in a model's memory; benchmarks of others."""
