"""Experiment trackers of others: one file a tracker."""
