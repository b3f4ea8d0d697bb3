"""Model directories and tensors on disk."""
