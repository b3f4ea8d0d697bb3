"""Code as a task: its languages, how tests meet code, mutants, and problems made from templates."""
