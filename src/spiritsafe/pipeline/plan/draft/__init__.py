"""A first recipe for what somebody brings: their data, a teacher, a student."""
