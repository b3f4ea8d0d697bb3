"""Grammars as masks over tokens: the form of an answer that was asked for, and calls of tools."""
