"""GGUF files run by llama.cpp, in processes of its own."""
