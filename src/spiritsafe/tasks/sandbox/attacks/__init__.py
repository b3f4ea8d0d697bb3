"""Attacks on the sandbox, and the table of what this machine denies."""
