"""``kill -9`` at random moments, over a real connection: no question twice, no verdict lost, the ledger verifies."""

from __future__ import annotations

import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from exam_parts import Stage, make_stage
from fake_endpoint import FakeEndpoint, HttpReply, chat_body
from places import SUPPORT
from sit_program import CONCURRENCY

from spiritsafe.core.canonical import digest
from spiritsafe.core.files.atomic import write_bytes
from spiritsafe.core.records import Sampling
from spiritsafe.exam import RegistrationTerms, load_certificate, register
from spiritsafe.exam.paper.files import open_sealed
from spiritsafe.exam.paper.split import halves
from spiritsafe.exam.records.registration import Registration
from spiritsafe.exam.records.result import Outcome
from spiritsafe.exam.sitting.answers import outcome_of
from spiritsafe.exam.sitting.journal import Journal
from spiritsafe.ledger import Ledger
from spiritsafe.tasks import load_task

PROGRAM = SUPPORT / "sit_program.py"


class CountingEndpoint:
    """Counts each question of each model by its seed, which no two tries share; probes are not questions."""

    def __init__(self, delay_s: float) -> None:
        self.questions: dict[str, Counter[int]] = {}
        self._delay_s = delay_s
        self._lock = threading.Lock()
        self._endpoint = FakeEndpoint(self._answer, keep_requests=False)
        self.url = self._endpoint.url

    def _answer(self, body: dict[str, Any]) -> HttpReply:
        text = body["messages"][-1]["content"]
        if text.endswith("= ?"):
            with self._lock:
                self.questions.setdefault(body["model"], Counter())[body["seed"]] += 1
        return HttpReply(body=chat_body("#### 12" if text.endswith("= ?") else "A grey cat."), delay_s=self._delay_s)

    def asked(self, name: str) -> int:
        with self._lock:
            return sum(self.questions.get(name, Counter()).values())

    def close(self) -> None:
        self._endpoint.close()


@pytest.fixture
def endpoint() -> Iterator[Callable[[float], CountingEndpoint]]:
    started: list[CountingEndpoint] = []

    def start(delay_s: float) -> CountingEndpoint:
        started.append(CountingEndpoint(delay_s))
        return started[-1]

    yield start
    for one in started:
        one.close()


def register_endpoint(stage: Stage, url: str, name: str) -> Registration:
    registration = register(
        ledger=stage.ledger,
        paper=stage.paper,
        maker=stage.maker,
        model_name=name,
        model_digest=digest({"url": url, "model": name}),
        sampling=Sampling(temperature=0.5, max_tokens=16),
        num_tries=2,
        hypothesis="answers",
        terms=RegistrationTerms(num_probes=2),
    )
    write_bytes(stage.root / f"{name}.registration.json", registration.canonical())
    return registration


def start(stage: Stage, url: str, name: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, str(PROGRAM), str(stage.root), url, name], stderr=subprocess.PIPE)


def recorded(stage: Stage, registration: Registration, name: str) -> dict[tuple[int, int], Outcome]:
    """The verdicts that are on disk now."""
    sealed = open_sealed(stage.papers, stage.paper, stage.examiner)
    path, digest_ = stage.root / name / "answers.jsonl", registration.content_digest
    if not path.exists():
        return {}
    copy = stage.root / f"{name}.copy.jsonl"
    copy.write_bytes(path.read_bytes())
    kinds = halves(stage.paper.header)
    with Journal(copy, key=stage.examiner, secret=sealed.secret, registration=digest_) as journal:
        return {
            place: outcome_of(answer, kinds[place[0]], secret=sealed.secret, registration=digest_)
            for place, answer in journal.answers.items()
        }


def check_all(
    stage: Stage, endpoint: CountingEndpoint, name: str, seen: dict[tuple[int, int], Outcome], kills: int
) -> None:
    counts = endpoint.questions[name]
    assert max(counts.values()) == 1, "a question was asked twice"
    outcomes = {
        (o.index, o.sample_index): o for o in load_certificate(stage.root / name / "certificate.json").result.outcomes
    }
    assert len(outcomes) == 2 * stage.paper.header.num_problems
    assert all(outcomes[place] == outcome for place, outcome in seen.items()), "a verdict was lost"
    lost = sum(outcome.lost for outcome in outcomes.values())
    assert lost <= kills * 2 * CONCURRENCY  # what was on its way when the process died, and as much again in its memory
    assert len(outcomes) - lost <= len(counts) <= len(outcomes)
    assert all(outcome.status == ("error" if outcome.lost else "wrong") or outcome.status == "correct"
               for outcome in outcomes.values())  # fmt: skip
    stage.check(name)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_twenty_kills(tmp_path, endpoint):
    server = endpoint(0.01)
    stage = make_stage(tmp_path, count=1200, task=load_task("arith:sums?terms=2-4&digits=1-3"))
    stage.examiner.save(tmp_path / "examiner.json")
    registration = register_endpoint(stage, server.url, "one")
    rng, kills = random.Random(8), 0
    seen: dict[tuple[int, int], Outcome] = {}
    while kills < 20:
        before, process = server.asked("one"), start(stage, server.url, "one")
        while server.asked("one") == before and process.poll() is None:
            time.sleep(0.002)
        time.sleep(rng.uniform(0.0, 0.2))
        process.kill()
        _, errors = process.communicate()
        assert process.returncode == -9, errors.decode()  # it was still at it
        kills += 1
        found = recorded(stage, registration, "one")
        assert all(found[place] == outcome for place, outcome in seen.items()), "a verdict was lost"
        seen = found
        assert Ledger(stage.ledger.path).verify().ok
    assert 100 < len(seen) < 2400
    process = start(stage, server.url, "one")
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()
    check_all(stage, server, "one", seen, kills)
    assert load_certificate(stage.root / "one" / "certificate.json").result.openings == 21


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_eight_sittings_on_one_ledger_killed_now_and_then(tmp_path, endpoint):
    server = endpoint(0.05)
    stage = make_stage(tmp_path, count=120, task=load_task("arith:sums?terms=2-4&digits=1-3"))
    stage.examiner.save(tmp_path / "examiner.json")
    names = [f"m{number}" for number in range(8)]
    registrations = {name: register_endpoint(stage, server.url, name) for name in names}
    rng, kills, seen = random.Random(9), Counter[str](), {name: {} for name in names}
    running = {name: start(stage, server.url, name) for name in names}
    deadline = time.monotonic() + 500
    while running and time.monotonic() < deadline:
        time.sleep(0.02)
        for name, process in list(running.items()):
            if process.poll() is not None:
                _, errors = process.communicate()
                assert process.returncode == 0, errors.decode()
                del running[name]
            elif kills[name] < 3 and server.asked(name) > 40 * (kills[name] + 1) + rng.randrange(40):
                process.kill()
                process.communicate()
                kills[name] += 1
                found = recorded(stage, registrations[name], name)
                assert all(found[place] == outcome for place, outcome in seen[name].items())
                seen[name] = found
                running[name] = start(stage, server.url, name)
    assert not running
    assert sum(kills.values()) >= 20
    assert Ledger(stage.ledger.path).verify().ok
    for name in names:
        check_all(stage, server, name, seen[name], kills[name])
    assert len(stage.ledger.find("result")) == 8
