"""Rewards and rows for trainers of others: our verifiers inside TRL and verl."""
