"""What runs inside a sandbox. It is handed in as files and stands on Python's own library alone."""
