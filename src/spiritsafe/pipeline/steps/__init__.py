"""One file a kind: what a recipe may say of it, what it costs, how it is made, what is told of it."""
