"""Languages of code: what a prompt shows of each, how a solution in it is run, and what it gave."""
