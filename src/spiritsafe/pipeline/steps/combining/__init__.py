"""Steps that combine models: into one set of weights, or behind a router that asks one of them."""
