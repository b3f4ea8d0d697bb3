"""Operation: who may ask how much, who comes next, what was used, and how a server ends in good order."""
