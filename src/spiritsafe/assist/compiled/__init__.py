"""Code that is compiled, and tests of it in the same language."""
