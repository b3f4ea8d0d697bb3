"""Hidden-state matching."""
