"""Side by side with lm-eval's IFEval, where it can be imported: each instruction, many texts, the same yes or no.

``SPIRITSAFE_IFEVAL=input_data.jsonl`` has the published prompts take part. lm-eval needs NLTK's data ``punkt_tab``.
"""

from __future__ import annotations

import json
import os
import random
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ifeval_rows import ROWS

from spiritsafe.tasks.families.ifeval.instructions import INSTRUCTIONS, followed

_TEXTS = (
    "", "[" * 50 + "]", "<<>>", "<< >> <<a>>", "*\n* a\n- b\n---", "***a***", "a\n\n\n\nelm", "x******y", "{}", '"a"',
    "```json\n{}\n```", "P.S. P.P.S p. s.", "Day 1 Day2\nDay 3", "**a** *b* ** **", "My answer is maybe.", "I CAN'T",
    "Dr. No said hi! Really?! Yes... e.g. this", "Ich gehe heute in die Stadt.", "I GO TO TOWN TODAY.", "123, !!",
)  # fmt: skip


@pytest.fixture(scope="module")
def reference() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from langdetect import DetectorFactory
            from lm_eval.tasks.ifeval import instructions_registry, instructions_util

            DetectorFactory.seed = 0  # it draws at random
            instructions_util.count_sentences("NLTK's data must be there. Is it?")
    except (ImportError, LookupError, OSError) as error:
        pytest.skip(f"lm-eval's IFEval cannot be run here: {type(error).__name__}: {str(error).strip()[:200]}")
    return instructions_registry.INSTRUCTION_DICT


def _changed(text: str, rng: random.Random) -> str:
    place = rng.randrange(len(text)) if text else 0
    cuts = [text[:place] + text[place + 1 :], text.split("\n", 1)[-1], text.rsplit("\n", 1)[0], text[:place]]
    added = rng.choice([",", ".", "\n\n", "***", " A ", "[x]", "!"])
    return rng.choice([*cuts, text.upper(), text.lower(), text[:place] + added + text[place:], text.replace("*", "")])


def _rows() -> Iterator[dict[str, Any]]:
    yield from ROWS
    if file := os.environ.get("SPIRITSAFE_IFEVAL"):
        yield from map(json.loads, Path(file).read_text("utf-8").splitlines())


def test_the_same_yes_or_no(reference: Any) -> None:
    pytest.importorskip("punkt", reason="the extra ifeval is not installed")
    from spiritsafe.tasks.families.ifeval.compose import composed
    from spiritsafe.tasks.families.ifeval.reading import Reader

    reader, rng = Reader(), random.Random(0)
    asked, differing = Counter[str](), []
    for row in _rows():
        pairs = zip(row["instruction_id_list"], row["kwargs"], strict=True)
        given = [{"id": name, "arguments": {k: v for k, v in one.items() if v is not None}} for name, one in pairs]
        good = composed(given, reader) or ""
        for text in (good, *(_changed(good, rng) for _ in range(8)), *rng.sample(_TEXTS, 8), row["prompt"]):
            mine = followed(given, text, reader, loose=False)
            for one, found in zip(given, mine, strict=True):
                if one["arguments"].get("letter") in ("#", "!"):
                    continue  # the reference draws a random letter in place of a sign
                check = reference[one["id"]](one["id"])
                check.build_description(**one["arguments"])
                wanted = bool(text.strip() and check.check_following(text))
                asked[one["id"]] += 1
                if found is not wanted:
                    differing.append((one, text, wanted))
    assert differing == []
    assert asked.keys() == INSTRUCTIONS.keys()
