"""One module a language; each has ``open_subjects``."""
