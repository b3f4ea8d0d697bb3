"""Questions with answers, compared as values."""
