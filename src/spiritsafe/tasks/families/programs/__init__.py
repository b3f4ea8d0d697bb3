"""The ``programs`` family: published problems of programming."""
