"""Numbers in blocks, as GGUF stores them: their bytes, and what these give back."""
