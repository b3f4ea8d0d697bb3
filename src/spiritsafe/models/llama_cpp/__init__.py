"""GGUF files through llama.cpp, in child processes: quantised, run, and held against the model they were made of."""
