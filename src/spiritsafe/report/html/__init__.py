"""HTML that cannot be broken by what it shows."""
