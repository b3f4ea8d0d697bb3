"""Sums, products, countdown, equations, word problems."""
