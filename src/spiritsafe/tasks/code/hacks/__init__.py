"""Answers that try to be rewarded without doing what was asked, in every language. Each must score nothing.

They are what models were seen to find under reinforcement, and what people thought of since; the audit and the attacks
among the tests run them all.
"""
