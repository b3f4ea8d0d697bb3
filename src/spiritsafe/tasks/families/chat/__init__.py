"""Conversations of your own, without a verifier."""
