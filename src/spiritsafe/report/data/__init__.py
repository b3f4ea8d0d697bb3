"""What a report shows, as records."""
