"""The dense RoPE decoder."""
