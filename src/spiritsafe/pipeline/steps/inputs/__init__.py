"""What goes into a run: models and data that are given."""
