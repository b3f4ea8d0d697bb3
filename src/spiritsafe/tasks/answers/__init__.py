"""What a completion claims: its final part, numbers, formulas."""
