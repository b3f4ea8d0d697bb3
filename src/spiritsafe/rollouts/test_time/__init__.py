"""Test-time compute: what many attempts are worth."""
