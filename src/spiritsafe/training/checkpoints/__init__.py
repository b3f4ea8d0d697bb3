"""Saved states of a training: read, written while it goes on."""
