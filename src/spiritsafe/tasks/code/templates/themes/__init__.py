"""Themes of templates: each module says all of its own; a new one is found by the catalogue."""
