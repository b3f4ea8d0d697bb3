"""GPT-2's alphabet, in which vocabularies of byte-level tokenizers spell bytes."""

from __future__ import annotations


def _byte_of_character() -> dict[str, int]:
    """Printable bytes stand for themselves, the others for characters from 256 on, in order."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in set(printable)]
    return {chr(b): b for b in printable} | {chr(256 + n): b for n, b in enumerate(others)}


BYTE_OF_CHARACTER = _byte_of_character()
"""Which byte each character of the alphabet stands for."""
