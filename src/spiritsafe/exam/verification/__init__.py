"""A stranger recomputes everything, and what may then be relied on."""
