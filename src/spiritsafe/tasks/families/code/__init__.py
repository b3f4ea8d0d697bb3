"""The ``code`` family: functions to write, to test and to explain, made from templates with fresh numbers."""
