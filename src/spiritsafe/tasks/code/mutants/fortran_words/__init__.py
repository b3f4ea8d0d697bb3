"""Fortran programs: their statements, and the words of each."""
