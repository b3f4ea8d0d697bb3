"""Python files under real pytest: where they belong, their faults, and how tests go with each of them."""
