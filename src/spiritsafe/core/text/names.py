"""Names that others chose, of key holders and models: what looks the same is the same, and none forges a sentence.

In: a name. Out: its skeleton, for comparing; a form to print, in which everything that nobody could see stands by its
code point; whether a new record may carry it. Letters of other scripts that look like Latin ones, and letters that NFKC
folds, count as those.
"""

from __future__ import annotations

import unicodedata

from spiritsafe.core.text.safe_text import is_hidden, visible

LONGEST_NAME = 80
"""Characters of a model's name in new registrations, and of any name in print."""

_TWINS = {
    # Cyrillic
    **dict(zip("АВЕЅІЈКМНОРСТУХҺԌԚԜаеѕіјорсухһԁԛԝӏ", "ABESIJKMHOPCTYXHGQWaesijopcyxhdqwl", strict=True)),
    # Greek
    **dict(zip("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧαικνορυγ", "ABEZHIKMNOPTYXaiknopuy", strict=True)),
    # Armenian, Latin letters of other alphabets
    **dict(zip("օսհցոɑɡɩı", "ouhgnagii", strict=True)),
}
_SKELETON = str.maketrans({**_TWINS, **dict.fromkeys("iIl1|", "l"), "0": "o"})
_ALIKE = frozenset({"LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "FULLWIDTH", "MATHEMATICAL"})
_ABOVE_OR_BELOW = (220, 230)
"""Combining classes of accents with which letters are spelled that have no code point of their own (Yoruba: ọ̀)."""
_QUOTES = str.maketrans(dict.fromkeys('"“”„‟″«»＂', "'"))


def _is_mark(char: str) -> bool:
    """An accent that fits on every letter; signs of one script (Devanagari, Thai) are part of its spelling."""
    return unicodedata.category(char) in ("Mn", "Me") and unicodedata.name(char, "").startswith("COMBINING")


def name_skeleton(name: str) -> str:
    """The same for names that look the same: NFKC, no hidden characters and loose accents, one space, one case."""
    text = unicodedata.normalize("NFKC", name)
    kept = (
        " " if char.isspace() else char for char in text if char.isspace() or not (is_hidden(char) or _is_mark(char))
    )
    return " ".join("".join(kept).translate(_SKELETON).casefold().translate(_SKELETON).split())


def same_name(first: str, second: str) -> bool:
    """Whether people would take the two for one."""
    return first.strip().casefold() == second.strip().casefold() or name_skeleton(first) == name_skeleton(second)


def _script(char: str) -> str:
    return unicodedata.name(char, "").partition(" ")[0] if char.isalpha() else ""


def _shown(text: str) -> str:
    parts, before = [], ""
    for char in text:
        script_of_its_own = before not in _ALIKE and before != ""
        sits_on_letter = before != "" and unicodedata.combining(char) in _ABOVE_OR_BELOW
        unseen = (
            (_is_mark(char) and not sits_on_letter)
            or (is_hidden(char) and not script_of_its_own)
            or (char.isspace() and char != " ")
        )
        parts.append(f"⟨U+{ord(char):04X}⟩" if unseen else visible(char))
        before = _script(char) or (before if is_hidden(char) else "")
    return "".join(parts)


def shown_name(name: str) -> str:
    """A name for print, on one line: cut after 80 characters, hidden ones by code point, mixed alphabets said."""
    text = " ".join(unicodedata.normalize("NFC", name).split(" ")).strip()
    text = " ".join(part for part in text.split(" ") if part)
    if len(text) > LONGEST_NAME:
        text = text[: LONGEST_NAME - 1] + "…"
    scripts = sorted({_script(char) for char in text} & _ALIKE)
    mixed = f" [letters of {' and '.join(script.title() for script in scripts)}]" if len(scripts) > 1 else ""
    return _shown(text) + mixed


def quoted_name(name: str) -> str:
    """The same in quotes that the name itself cannot close: it can end no sentence and begin another."""
    return f'"{shown_name(name).translate(_QUOTES)}"'


def is_plain(name: str) -> bool:
    """Whether a new record may carry this name: short, on one line, nothing hidden, single spaces, none at its ends."""
    text = unicodedata.normalize("NFC", name)  # some keyboards and file systems give letters and accents apart
    return 0 < len(name) <= LONGEST_NAME and _shown(text) == text and name.split(" ") == name.split()
