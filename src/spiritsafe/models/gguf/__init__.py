"""GGUF files: read, written, and what is in them."""
