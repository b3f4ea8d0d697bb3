"""Tests that a model writes, kept where each of them is known to notice a fault that no other notices."""
