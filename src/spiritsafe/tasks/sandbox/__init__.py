"""Foreign code behind walls: namespaces or Landlock, a filter of system calls, limits."""
