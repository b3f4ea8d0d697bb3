"""Python programs: what can be changed, where it stands, and whether anything came of it."""
