"""Tools for code that somebody has: tests that are known to notice faults, explanations that are known to suffice."""
