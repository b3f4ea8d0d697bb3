"""Numbers about models, on problems that nothing learns from."""
