"""What is on record of published sets."""

from __future__ import annotations

import re

from spiritsafe.tasks.data.published import PUBLISHED, published_as, published_file


def test_digests_and_commits_have_their_form() -> None:
    for name, known in PUBLISHED.items():
        assert re.fullmatch(r"[\w.-]+/[\w.-]+", name)
        assert re.fullmatch(r"[0-9a-f]{40}", known.revision)
        assert known.licence
        for file in (*known.files.values(), *known.originals.values()):
            assert file.rows > 0
            assert re.fullmatch(r"(?:[0-9a-f]{64})?", file.sha256)


def test_a_digest_stands_for_one_file() -> None:
    digests = [
        file.sha256
        for known in PUBLISHED.values()
        for file in (*known.files.values(), *known.originals.values())
        if file.sha256
    ]
    assert len(digests) == len(set(digests)) == 21


def test_a_file_is_known_at_its_commit_only() -> None:
    gsm8k = PUBLISHED["openai/gsm8k"]
    found = published_file("openai/gsm8k", gsm8k.revision, "main/test-00000-of-00001.parquet")
    assert found is not None
    assert found.rows == 1319
    assert published_file("openai/gsm8k", "0" * 40, "main/test-00000-of-00001.parquet") is None
    assert published_file("openai/gsm8k", gsm8k.revision, "other.parquet") is None
    assert published_file("org/set", gsm8k.revision, "main/test-00000-of-00001.parquet") is None


def test_originals_are_recognised() -> None:
    """OpenAI's own file of GSM8K's test questions."""
    found = published_as("3730d312f6e3440559ace48831e51066")
    assert found == ("openai/gsm8k", "openai/grade-school-math/grade_school_math/data/test.jsonl")
    assert published_as("") is None
    assert published_as("0" * 32) is None
