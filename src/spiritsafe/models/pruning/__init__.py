"""A smaller model out of a larger one."""
