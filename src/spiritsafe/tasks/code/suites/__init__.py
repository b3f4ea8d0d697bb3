"""Tests as answers: run against the right program and against programs with a fault, in every language."""
