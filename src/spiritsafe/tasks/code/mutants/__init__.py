"""Mutants: copies of a program with one small fault each, by which tests are judged."""
