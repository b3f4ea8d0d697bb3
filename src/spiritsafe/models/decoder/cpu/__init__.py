"""The Decoder on CPUs: weights laid out for few rows, compiled loops, and steps that are made of them."""
