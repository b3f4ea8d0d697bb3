"""Models that run on this machine: sessions of sequences, generators of attempts, workers of a server."""
