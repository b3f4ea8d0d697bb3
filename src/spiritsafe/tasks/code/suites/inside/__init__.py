"""What runs inside sandboxes, in C: both ends of the way between tests and code."""
