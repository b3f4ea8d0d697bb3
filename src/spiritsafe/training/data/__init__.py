"""Documents, packing, feeds."""
