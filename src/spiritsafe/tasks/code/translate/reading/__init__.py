"""Reads gold code: Python in, typed trees out."""
