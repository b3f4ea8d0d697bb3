"""Bytes, memory and seconds before they are spent."""
