"""Calls of tools: how a model spells them, how a conversation with tools is asked, and how an answer is read."""
