"""Whether a GGUF file is the model it was made of: the same tokens, distributions as near as its type allows."""
