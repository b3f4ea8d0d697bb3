"""What a router sees: the same numbers everywhere, and something of every language."""

from __future__ import annotations

import json
import subprocess
import sys
import zlib

import numpy as np
import pytest

from spiritsafe.core.records import Message
from spiritsafe.serve.routing.features import MARKERS, NUM_FEATURES, NUM_HASHED, features_of, question_of

FORTRAN = "      PROGRAM MAIN\n      INTEGER I\n      DO 10 I = 1, 10\n   10 CONTINUE\n      CALL SUB(I)\n      END"
COBOL = "IDENTIFICATION DIVISION.\nPROGRAM-ID. HELLO.\nPROCEDURE DIVISION.\n    PERFORM UNTIL A > 3\n    STOP RUN."
TEXTS = ["What is 17 + 25?", FORTRAN, COBOL, "Сколько будет два плюс два?", "二加二等于多少？", "", "\ud800 x", "٣ + ٤"]


def asked(text: str) -> tuple[Message, ...]:
    return (Message(role="user", content=text),)


def marker(text: str, name: str) -> float:
    return float(features_of(asked(text))[MARKERS.index(name)])


def test_they_are_the_same_in_another_process_with_another_hash_seed() -> None:
    code = (
        "import json, sys; from spiritsafe.core.records import Message; "
        "from spiritsafe.serve.routing.features import features_of; "
        "print(json.dumps([features_of((Message(role='user', content=t),)).tolist() for t in json.load(sys.stdin)]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(TEXTS), capture_output=True, text=True, check=True,
        env={"PYTHONPATH": ":".join(sys.path), "PYTHONHASHSEED": "7"},
    )  # fmt: skip
    assert json.loads(done.stdout) == [features_of(asked(text)).tolist() for text in TEXTS]


def test_one_word_falls_where_the_documentation_says() -> None:
    vector = features_of(asked("Ab"))[len(MARKERS) : len(MARKERS) + NUM_HASHED]
    mixed = (zlib.crc32(b"ab", 1) * 0x9E3779B1) % 2**32
    wanted = np.zeros(NUM_HASHED)
    wanted[(mixed >> 8) % NUM_HASHED] = 1.0 if mixed >= 2**31 else -1.0
    assert vector.tolist() == wanted.tolist()


@pytest.mark.parametrize("text", [*TEXTS, "x" * 10_000_000, "7" * 100_000, "\n" * 50_000])
def test_any_text_has_finite_features_of_bounded_size(text: str) -> None:
    vector = features_of(asked(text))
    assert vector.shape == (NUM_FEATURES,)
    assert np.isfinite(vector).all()
    assert np.linalg.norm(vector[len(MARKERS) :]) <= np.sqrt(2) + 1e-9
    assert len(question_of(asked(text))) <= 16_000


def test_languages_and_code_are_told_apart() -> None:
    assert marker("Сколько будет?", "Cyrillic") == pytest.approx(1.0)
    assert marker("二加二等于多少？", "Han") == pytest.approx(1.0)
    assert marker("What is it?", "Latin") == pytest.approx(1.0)
    assert marker("٣ + ٤ مرحبا", "Arabic") == pytest.approx(1.0)
    assert marker("ქართული", "other letters") == pytest.approx(1.0)
    assert marker("二？", "question marks") == marker("two?", "question marks") > 0
    assert min(marker(FORTRAN, "signs of code"), marker(COBOL, "signs of code")) > marker("Add 2.", "signs of code")
    assert marker("add 1234 to 5", "longest number") == pytest.approx(np.log(5))


def test_the_last_user_message_is_the_question() -> None:
    turns = (Message(role="system", content="Be kind."), Message(role="user", content="Old"), *asked("New"))
    assert question_of(turns) == "New"
    assert question_of((Message(role="system", content="Only"),)) == "Only"
    vector = features_of(turns)
    assert vector[MARKERS.index("system")] == 1.0
    assert vector[MARKERS.index("turns")] == pytest.approx(np.log(3))
    tool = (Message(role="user", content="New", tools=('{"type": "function"}',)),)
    assert features_of(tool)[MARKERS.index("tools")] == 1.0
