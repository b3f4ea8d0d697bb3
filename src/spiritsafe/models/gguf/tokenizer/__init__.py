"""Tokenizers: as GGUF describes them, and as Hugging Face does."""
