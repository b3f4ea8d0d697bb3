"""The language of a text and its sentences, by langdetect and by NLTK's English Punkt model (extra ``ifeval``).

In: a text. Out: a language code; a number of sentences. These are the libraries of IFEval's reference, or in Punkt's
case the same model without its downloads. langdetect draws at random, so it is seeded, and its profiles are loaded in
one order: the same text has the same language everywhere. Only child processes import this module.
"""

from __future__ import annotations

import itertools
from functools import cache
from importlib import resources
from typing import Any, final

import punkt
from langdetect.detector_factory import DetectorFactory
from langdetect.lang_detect_exception import LangDetectException

_MOST_CHARACTERS = 100_000
"""langdetect looks at 10,000 characters, after addresses were taken out."""
_FIRST = 10_000
"""Characters in which enough sentences are looked for before all are read."""


@final
class Reader:
    """Reads texts; see :class:`spiritsafe.tasks.families.ifeval.instructions.TextReading`."""

    def language(self, text: str) -> str | None:
        """ISO 639-1 code as langdetect writes it ("zh-cn" for Chinese); None where no letter tells."""
        detector = _languages().create()
        detector.append(text[:_MOST_CHARACTERS])
        try:
            return str(detector.detect())
        except LangDetectException:
            return None

    def num_sentences(self, text: str, most: int) -> int:
        """How many, or ``most`` if there are more."""
        for part in (text[:_FIRST], text):
            found = sum(1 for _ in itertools.islice(_sentences().span_tokenize(part), most + 1))
            if found > most:  # the last of a part may not end there
                break
        return min(found, most)


@cache
def _languages() -> Any:
    factory = DetectorFactory()
    factory.seed = 0
    folder = resources.files("langdetect") / "profiles"
    profiles = sorted(folder.iterdir(), key=lambda entry: entry.name)
    factory.load_json_profile([profile.read_text("utf-8") for profile in profiles])
    return factory


@cache
def _sentences() -> Any:
    return punkt.tokenizer_for("english")
