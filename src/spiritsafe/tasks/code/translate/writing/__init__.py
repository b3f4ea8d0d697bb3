"""Writes gold code in other languages, from typed trees."""
