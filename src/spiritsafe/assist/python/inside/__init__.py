"""What runs in the sandboxes."""
