"""Before a sitting: what is registered, what it can show, how it lapses."""
