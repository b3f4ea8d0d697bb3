"""One file a language: which tricks there are in it."""
