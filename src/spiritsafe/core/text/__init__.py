"""Text that others wrote: printable, comparable, cut to length, thoughts put aside."""
