"""What is done with certificates that pass: compare, re-run, re-issue, learn difficulties."""
