"""Verdicts from worker processes."""
