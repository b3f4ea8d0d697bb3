"""Sitting designs: which problems are asked in which order, when no more are, and what the answers say. One a file."""
