"""Foreign code in processes that may hang, crash or lie."""
