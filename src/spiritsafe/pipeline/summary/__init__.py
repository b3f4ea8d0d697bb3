"""A run directory becomes a report."""
