"""Sampling from weights in this process."""
