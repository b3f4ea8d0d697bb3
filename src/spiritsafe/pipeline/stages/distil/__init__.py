"""Distillation: what goes in, what is followed, and the stage that does it."""
