"""The sitting: questions leave, answers are graded and journalled."""
