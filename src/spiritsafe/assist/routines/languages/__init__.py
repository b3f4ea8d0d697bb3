"""One file a language: where its routines are."""
