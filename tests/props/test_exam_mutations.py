"""No mutation of a certificate passes: of its bytes, or of its JSON with the examiner's own signature made again.

``SPIRITSAFE_MUTATIONS=2000 pytest tests/props/test_exam_mutations.py`` makes so many of each kind; the seed of a
failure stands in its message.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dispute_parts import make_case
from exam_parts import ToyModel, make_stage

from spiritsafe.core.canonical import canonical_json
from spiritsafe.core.errors import SpiritsafeError
from spiritsafe.exam import verify
from spiritsafe.exam.records.registration import Claim
from spiritsafe.ledger import KeyPair

NUM = int(os.environ.get("SPIRITSAFE_MUTATIONS", "40"))
KINDS = ("claimed", "amended")


@dataclass
class Exam:
    """A certificate with its files, and the key that signs whatever becomes of it."""

    data: bytes
    value: dict[str, Any]
    files: dict[str, Path]
    examiner: KeyPair
    path: Path

    def steps(self, data: bytes) -> list[Any]:
        self.path.write_bytes(data)
        return verify(self.path, **self.files)  # type: ignore[arg-type]

    def is_accepted(self, data: bytes) -> bool:
        return all(step.ok for step in self.steps(data))


@pytest.fixture(scope="module")
def exams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exam]:
    made = {}
    root = tmp_path_factory.mktemp("claimed")
    stage = make_stage(root, count=8)
    stage.certificate(ToyModel(name="other"), name="other", claim=Claim(kind="score at least", score=0.4))
    claim = Claim(kind="score at least", score=0.2)
    certificate = stage.certificate(ToyModel(kind="remote", skill=0.9), num_probes=2, claim=claim)
    made["claimed"] = (stage, certificate)
    case = make_case(tmp_path_factory.mktemp("amended"))
    case.edit(case.places("wrong")[0])
    made["amended"] = (case.stage, case.reissue())
    return {
        kind: Exam(
            data=certificate.canonical(),
            value=certificate.to_json(),
            files={"paper": stage.papers, "ledger": stage.ledger.path},
            examiner=stage.examiner,
            path=stage.root / "mutated.json",
        )
        for kind, (stage, certificate) in made.items()
    }


def test_unchanged_they_are_accepted(exams: dict[str, Exam]) -> None:
    for exam in exams.values():
        assert exam.is_accepted(exam.data)


def mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    at, end = rng.randrange(len(data)), rng.randrange(len(data))
    piece = data[min(at, end) : min(at, end) + rng.randrange(1, 40)]
    ways: tuple[Callable[[], bytes], ...] = (
        lambda: data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :],
        lambda: data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :],
        lambda: data[:at] + data[at + rng.randrange(1, 30) :],
        lambda: data[:at] + piece + data[at:],
        lambda: data[:at],
        lambda: data + rng.choice((b" ", b"\n", b"\0", b"{}", data)),
        lambda: data.replace(b"0", rng.choice((b"1", b"-0", b"0.0")), rng.randrange(1, 3)),
    )
    return rng.choice(ways)()


def places(value: Any) -> list[tuple[Any, Any]]:
    """Each container of a JSON value with each of its keys."""
    if not isinstance(value, dict | list):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    return [(value, key) for key in keys] + [found for key in keys for found in places(value[key])]


JUNK: tuple[Any, ...] = (None, True, False, 0, 1, -1, 0.5, "", "x", "\u202e", [], {}, [0], "sha256:" + "0" * 64)


def changed(old: Any, rng: random.Random) -> Any:
    """Another value of the same kind, or of another."""
    if isinstance(old, bool):
        return not old
    if isinstance(old, float):
        return rng.choice((old + 1e-10, old - 1e-12, math.nextafter(old, 2), math.nextafter(old, -2), 1 - old))
    if isinstance(old, int):
        return old + rng.choice((-1, 1, 2**20))
    if isinstance(old, str) and old:
        at = rng.randrange(len(old))
        return rng.choice((old[:at] + rng.choice("0aA ~") + old[at + 1 :], old + " ", old[:at], old.swapcase()))
    if isinstance(old, list) and len(old) > 1:
        return rng.choice((old[:-1], old[1:], old[::-1], [*old, old[0]]))
    return rng.choice(JUNK)


def mutated_value(value: dict[str, Any], rng: random.Random) -> dict[str, Any]:
    value = deepcopy(value)
    for _ in range(rng.choice((1, 1, 1, 2))):
        top = rng.choice(sorted(value))  # else a thousand hashes of evidence get all of it
        container, key = rng.choice([(value, top), *places(value[top])])
        what = rng.random()
        if what < 0.1:
            del container[key]
        elif what < 0.2 and isinstance(container, dict):
            container[rng.choice(("extra", "note", "lost", "cost"))] = rng.choice(JUNK)
        elif what < 0.3:
            container[key] = rng.choice(JUNK)
        else:
            container[key] = changed(container[key], rng)
    return value


@pytest.mark.parametrize("kind", KINDS)
def test_no_mutated_file_is_accepted(exams: dict[str, Exam], kind: str) -> None:
    exam = exams[kind]
    for seed in range(NUM):
        data = mutated_bytes(exam.data, random.Random(f"bytes/{kind}/{seed}"))
        if data != exam.data:
            assert not exam.is_accepted(data), f"seed {seed}"


@pytest.mark.parametrize("kind", KINDS)
def test_no_mutation_that_the_examiner_signed_is_accepted(exams: dict[str, Exam], kind: str) -> None:
    """Who holds the examiner's key still cannot say otherwise than ledger and answers."""
    exam, failed = exams[kind], set()
    for seed in range(NUM):
        value = mutated_value(exam.value, random.Random(f"signed/{kind}/{seed}"))
        value.pop("signatures", None)
        try:
            signature = exam.examiner.sign("certificate", canonical_json(value)).to_json()
            data = canonical_json({**value, "signatures": [signature]})
        except (SpiritsafeError, ValueError):  # no JSON
            continue
        if data == exam.data:
            continue
        steps = exam.steps(data)
        assert not all(step.ok for step in steps), f"seed {seed}"
        failed.add(next(step.number for step in steps if not step.ok))
    assert len(failed) > 3  # the mutations reach far: not all end at the first step
