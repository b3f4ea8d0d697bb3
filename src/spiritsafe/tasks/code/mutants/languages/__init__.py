"""One file a language: which faults can be put where."""
