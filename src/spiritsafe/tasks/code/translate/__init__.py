"""Gold code is written once, in a small subset of Python, and translated to the other languages."""
