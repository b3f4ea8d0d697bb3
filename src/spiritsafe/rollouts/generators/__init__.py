"""Generators that are not weights in this process: endpoints, pipes, fakes."""
