"""The routines of a file: what can be explained, shown or rebuilt by itself."""
