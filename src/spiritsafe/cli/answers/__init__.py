"""Models that answer: a task's problems, somebody who has code, or whoever asks a server."""
