"""Interfaces, one a file: each holds an ``INTERFACE`` (:class:`spiritsafe.serve.interface.Interface`)."""
