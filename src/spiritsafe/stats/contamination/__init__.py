"""What studying leaves in the answers: gaps, shares, reference models."""
