"""One round: drawn, graded, stored, served."""
