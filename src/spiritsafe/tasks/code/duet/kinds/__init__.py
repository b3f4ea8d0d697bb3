"""Kinds of arguments, told from those that were seen: which others are allowed, and how to make some."""
