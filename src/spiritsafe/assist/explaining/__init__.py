"""Explanations that a model writes, each told whether the code can be written anew from it."""
