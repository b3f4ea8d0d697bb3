"""Graded attempts on disk: drawn, stored, read."""
