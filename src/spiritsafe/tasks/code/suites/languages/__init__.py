"""Languages of tests: a file each."""
