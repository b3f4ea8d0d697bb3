"""Tests and code in two sandboxes that talk: neither sees the other's source, memory or files."""
