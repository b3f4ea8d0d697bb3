"""Generators: models on this machine that answer prompts with attempts."""
