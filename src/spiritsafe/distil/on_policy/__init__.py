"""The student learns from its own answers."""
