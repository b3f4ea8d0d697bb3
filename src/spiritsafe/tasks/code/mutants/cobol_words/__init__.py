"""COBOL programs: the words of their procedures, and the statements they make."""
