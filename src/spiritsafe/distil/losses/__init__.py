"""Divergences and the heads that compute them."""
