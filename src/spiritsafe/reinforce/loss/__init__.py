"""Advantages, policy losses, their head."""
