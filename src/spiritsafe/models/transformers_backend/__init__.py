"""Models that transformers' own code runs, and the choice between it and the Decoder."""
