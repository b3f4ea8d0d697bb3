"""Asked once: honest sittings, killed at each moment, are never accused; who asks again contradicts the ledger."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from exam_parts import Remote, Stage, ToyModel, ToyTask, make_stage
from item_parts import able, past_sittings

from spiritsafe.core.errors import EndpointError, IntegrityError, StoppedError
from spiritsafe.core.records import Attempt
from spiritsafe.exam import PaperTerms, ShorterTerms, learn_items, trust_page
from spiritsafe.exam.entries.accesses import AccessEntry, opening_entries
from spiritsafe.exam.entries.asked_once import askings
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.records.certificate import Certificate
from spiritsafe.exam.records.registration import Budget, Claim
from spiritsafe.exam.records.result import JournalMark
from spiritsafe.exam.sitting import sit as sitting
from spiritsafe.exam.sitting.journal import Journal
from spiritsafe.ledger import Ledger
from spiritsafe.stats.sequential.design import BettingRule, StopRule

CLAIM = Claim(kind="score at least", score=0.5)


class Killed(BaseException):
    """The process is gone."""


class Death:
    """Kills the sitting at the n-th thing it writes, before or after it is written."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left: int | None = None
        self.after = False
        self.num_written = 0
        for owner, name in ((Journal, "_write"), (Ledger, "append")):
            monkeypatch.setattr(owner, name, self._deadly(getattr(owner, name)))

    def _deadly(self, write: Callable[..., Any]) -> Callable[..., Any]:
        def deadly(*args: Any, **options: Any) -> Any:
            self.num_written += 1
            dies = self.left == 0
            self.left = None if self.left is None else self.left - 1
            if dies and not self.after:
                raise Killed
            written = write(*args, **options)
            if dies:
                raise Killed
            return written

        return deadly

    def at(self, number: int | None, *, after: bool = False) -> None:
        self.left, self.after, self.num_written = number, after, 0


class TwinTask(ToyTask):
    has_twins = True


PARTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "one part": ({}, {"num_tries": 2}),
    "probes": ({}, {"num_probes": 4, "num_tries": 2}),
    "budget": ({}, {"budget": Budget(max_tokens=700), "num_tries": 2}),
    "budget and probes": ({}, {"budget": Budget(max_tokens=500), "num_probes": 3}),
    "looks": ({}, {"claim": CLAIM, "stop": StopRule(num_problems=6, num_looks=3), "num_probes": 3}),
    "betting": ({}, {"claim": CLAIM, "stop": BettingRule(num_problems=6, num_looks=6)}),
    "twins": ({"task": TwinTask(), "terms": PaperTerms(twins=True)}, {"num_probes": 3}),
}


def sat(stage: Stage, death: Death, model: Callable[[], ToyModel], terms: dict[str, Any], kills: list[Any]) -> str:
    """A sitting that dies as often as there are kills, and goes on each time; returns its folder."""
    name = "-".join(f"{number}{after}" for number, after in kills) or "whole"
    named = model()
    named.name = name
    registration = stage.register(named, **terms)
    for number, after in kills:
        again = model()
        again.name = name
        death.at(number, after=after)
        try:
            stage.sit(again, registration, name)
        except Killed:
            continue
        break
    death.at(None)
    last = model()
    last.name = name
    certificate = stage.sit(last, registration, name)
    stage.check(name)
    page = trust_page(certificate, stage.verify(name))
    assert page.of("asked once").state in ("holds", "cannot be told")
    if certificate.result.openings == 1:
        assert page.of("asked once").state == "holds"
    return name


@pytest.mark.parametrize("kind", [Remote, ToyModel])
@pytest.mark.parametrize("what", PARTS)
def test_an_honest_sitting_killed_at_any_moment_is_never_accused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, kind: type[ToyModel]
) -> None:
    paper, terms = PARTS[what]
    stage = make_stage(tmp_path, count=12 if what != "twins" else 8, **paper)
    death = Death(monkeypatch)

    def model() -> ToyModel:
        return kind(skill=0.9)

    death.at(None)
    sat(stage, death, model, terms, [])
    num_moments = death.num_written
    for number in range(0, num_moments, 5):
        sat(stage, death, model, terms, [(number, number % 2 == 0), (number // 2, True), (3, False)])


def test_an_adaptive_sitting_killed_at_any_moment_is_never_accused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, certificates = past_sittings(tmp_path, count=40)
    terms = {"shorter": ShorterTerms(items=learn_items(certificates), num_fixed=10, adaptive=True), "num_tries": 2}
    death = Death(monkeypatch)

    def model() -> ToyModel:
        return Remote(skill=1.1, reply=able(0.2, "adaptive").reply)

    for number in range(1, 30, 4):
        sat(stage, death, model, terms, [(number, number % 8 == 1), (4, True)])


def test_the_journal_is_on_the_disk_before_the_next_part_is_opened(tmp_path: Path) -> None:
    """What an opening commits to cannot be lost to a power cut: it waits for the disk."""
    stage = make_stage(tmp_path, count=12)
    certificate = stage.certificate(Remote(), num_probes=4)
    marks = [JournalMark.from_json(entry.body["journal"]) for entry in stage.ledger.entries() if entry.kind == "access"]
    assert len(marks) == 3
    assert [mark.answers for mark in marks] == sorted(mark.answers for mark in marks)
    assert certificate.result.journal is not None
    assert certificate.result.journal.answers == 12
    lines = (tmp_path / "sitting" / "answers.jsonl").read_bytes().splitlines()
    assert certificate.result.journal.lines == len(lines)


def openings_of(stage: Stage, certificate: Certificate) -> list[AccessEntry]:
    return opening_entries(
        PaperLog(stage.ledger.entries(), stage.paper.header), certificate.registration.content_digest
    )


def changed(opening: AccessEntry, **changes: Any) -> AccessEntry:
    body = {name: v for name, v in {**opening.entry.body, **changes}.items() if v is not None}
    return AccessEntry(opening.entry.model_copy(update={"body": body}))


def test_what_openings_say_of_the_journal_must_fit_together(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=12)
    certificate = stage.certificate(Remote(), num_probes=4)
    first, second, third = openings_of(stage, certificate)
    result = certificate.result
    assert askings([first, second, third], result, 1).again == ()
    mark = JournalMark.from_json(second.entry.body["journal"])
    for forged, words in (
        ({**mark.to_json(), "answers": 12}, "more answers than questions"),
        ({**mark.to_json(), "lines": 0, "answers": 0}, "thrown away"),
        ({"lines": 1}, "JournalMark"),
        (None, "does not commit"),
    ):
        with pytest.raises(IntegrityError, match=words):
            askings([first, changed(second, journal=forged), third], result, 1)
    with pytest.raises(IntegrityError, match="result does not commit"):
        askings([first, second, third], result.model_copy(update={"journal": None}), 1)
    with pytest.raises(IntegrityError, match="another number"):
        askings([first, second, third], result.model_copy(update={"outcomes": result.outcomes[1:]}), 1)


def test_openings_of_an_older_version_are_told_and_never_fail(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=12)
    certificate = stage.certificate(Remote(), num_probes=4)
    first, second, third = (changed(entry, journal=None) for entry in openings_of(stage, certificate))
    result = certificate.result.model_copy(update={"journal": None})
    found = askings([first, second, third], result, 1)
    assert (found.num_openings, found.is_committed, found.again) == (1, False, ())
    # a second process that opens the first part again, though the second one was begun
    again = askings([first, second, first, second, third], result, 1)
    assert again.again
    assert again.num_openings == 2


def test_a_sitting_does_not_go_on_without_its_journal(tmp_path: Path) -> None:
    stage = make_stage(tmp_path, count=12)
    registration = stage.register(Remote(), num_probes=4)
    with pytest.raises(Exception, match="dead"):
        stage.sit(Remote(dies_at=9), registration)
    (tmp_path / "sitting" / sitting.ANSWERS_FILE).unlink()
    with pytest.raises(IntegrityError, match="not the journal of this sitting"):
        stage.sit(Remote(), registration)


class Unreliable(Remote):
    """Turns questions away now and then, and is stopped now and then, as its dice say."""

    dice: random.Random = random.Random(0)

    def generate_announced(self, *given: Any) -> Iterator[Attempt]:
        for attempt in super().generate_announced(*given):
            yield attempt
            if self.dice.random() < 0.03:
                raise StoppedError("Stopped as asked.", hint="Run the same command again to go on.")


@pytest.mark.parametrize("what", PARTS)
def test_an_honest_sitting_refused_stopped_and_killed_is_never_accused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    paper, terms = PARTS[what]
    stage = make_stage(tmp_path, count=12 if what != "twins" else 8, **paper)
    death = Death(monkeypatch)
    for seed in range(6):
        name, dice = f"m{seed}", random.Random(f"{what}{seed}")
        registration = stage.register(Unreliable(name=name), **terms)
        for _ in range(6):
            model = Unreliable(name=name, skill=0.9)
            model.dice, model.refuses = dice, lambda *_, dice=dice: dice.random() < dice.choice([0.0, 0.2, 0.6])
            death.at(dice.randrange(40), after=dice.random() < 0.5)
            with suppress(Killed, StoppedError, EndpointError):
                stage.sit(model, registration, name)
        death.at(None)
        certificate = stage.sit(Remote(name=name, skill=0.9), registration, name)
        stage.check(name)
        assert trust_page(certificate, stage.verify(name)).of("asked once").state in ("holds", "cannot be told")


def test_questions_that_brought_no_answer_and_stayed_open_are_counted(tmp_path: Path) -> None:
    for number, terms in enumerate(({}, {"num_probes": 4, "num_tries": 2})):
        stage = make_stage(tmp_path / str(number), count=12)
        model = Remote()
        model.refuses = lambda prompt, index, model=model: len(model.sent) <= 5
        certificate = stage.certificate(model, **terms)
        found = askings(openings_of(stage, certificate), certificate.result, certificate.registration.num_tries)
        assert found.num_taken_back == 5
        local = ToyModel(name="local")
        certificate = stage.certificate(local, name="local")
        assert askings(openings_of(stage, certificate), certificate.result, 1).num_taken_back == 0
