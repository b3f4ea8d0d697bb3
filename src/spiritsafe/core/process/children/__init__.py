"""Code in child processes that may hang, crash or lie; what holds them is no sandbox."""
