"""Models that answer: a task's problems, or whoever asks a server."""
