"""This process and its children: environment, memory, what computes here."""
