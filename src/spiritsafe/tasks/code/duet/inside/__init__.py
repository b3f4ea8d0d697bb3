"""What runs inside; it stands on Python's own library alone, since it is handed in as files."""
