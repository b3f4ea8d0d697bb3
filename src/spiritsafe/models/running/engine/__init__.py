"""Sequences of tokens, drawn together: sessions, what runs models for them, and how tokens are drawn."""
