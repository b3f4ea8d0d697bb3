"""What a language model is, whoever computes it, and the batches that it takes."""
