"""General text for the recipe beside it: paragraphs of Python's own language reference, as answers to questions.

In: the topics that this Python's ``help()`` knows. Out: ``general.jsonl`` beside this file, whole prose paragraphs of 160
to 420 characters; nothing in them resembles the task that the model was taught.

    python experiments/quantise-q4/general_text.py
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from pydoc_data.topics import topics

_SHORTEST, _LONGEST = 160, 420
_NO_PROSE = ("::=", ">>>", "|", "=====")


def paragraphs(text: str) -> Iterator[str]:
    """Those of a topic that are sentences."""
    for part in re.split(r"\n\s*\n", text):
        said = re.sub(r"\s+", " ", part).strip()
        is_prose = said[:1].isupper() and said.endswith(".") and not any(mark in said for mark in _NO_PROSE)
        if _SHORTEST <= len(said) <= _LONGEST and is_prose:
            yield said


def main() -> None:
    """Write the file."""
    rows = []
    for topic, text in sorted(topics.items()):
        for number, said in enumerate(paragraphs(text), start=1):
            asked = f"Note {number} on “{topic}” in Python's reference: what does it say?"
            rows.append(json.dumps({"prompt": asked, "completion": said}, ensure_ascii=False))
    target = Path(__file__).with_name("general.jsonl")
    target.write_text("\n".join(rows) + "\n", "utf-8")
    print(f"{len(rows)} paragraphs in {target}")


if __name__ == "__main__":
    main()
