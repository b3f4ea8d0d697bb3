"""From outcomes to a signed certificate."""
