"""Holding a sitting: which questions leave the host, in which order, and when no more do.

In: a paper with its problems in the clear, a registration, a Generator, the journal. Out: :class:`SessionEnd`: what was
asked and why it ended. Problems are asked in the paper's own random order, in parts that end where the registered rule
looks, where a round of probes is due, or where the budget has no room; each part is in the ledger before its first
question leaves. An adaptive sitting asks one problem at a time, each chosen by the answers so far. Killed and repeated,
a sitting goes on: what was answered is not asked again, and what was asked of a remote model without an answer on
record is lost, never asked again. A question that was refused, or never arrived, was not asked: it is asked again, and
nobody is graded who was not reached.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import final

from spiritsafe.core.errors import EndpointError, ProcedureError, SpiritsafeError
from spiritsafe.core.events import EventSink
from spiritsafe.core.generator import Generator, GeneratorInfo
from spiritsafe.core.records import instant
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam.designs.design import Design, Unit
from spiritsafe.exam.designs.registered import design_of
from spiritsafe.exam.entries.accesses import AccessEntry, enter_access, opening_entries
from spiritsafe.exam.entries.asked_once import journal_mark
from spiritsafe.exam.entries.paper_log import PaperLog
from spiritsafe.exam.entries.registrations import sitting_end
from spiritsafe.exam.entries.retirement import check_in_force
from spiritsafe.exam.records.paper import PaperHeader, PaperProblem
from spiritsafe.exam.records.registration import Registration
from spiritsafe.exam.records.result import Ending
from spiritsafe.exam.results.reach import Reach
from spiritsafe.exam.sitting.answers import Answer, Try, ask, conversation, lost_answer, preamble_of, status_of
from spiritsafe.exam.sitting.budget import SessionBudget, most_prompt_tokens
from spiritsafe.exam.sitting.identity_probes import ask_probes, probe_places
from spiritsafe.exam.sitting.journal import Journal
from spiritsafe.ledger import KeyPair, Ledger
from spiritsafe.tasks import Task

_PROGRESS_EVERY_S = 0.1
_PASSES = 2  # so often a question is sent in vain to an endpoint that answers others, before that counts as its answer


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPlan:
    """What a sitting is held with.

    Attributes:
        problems: All of the bank, by place.
        is_over: Whether the claim's test is over at the look of this number (from 1), given right answers by place.
    """

    header: PaperHeader
    registration: Registration
    info: GeneratorInfo
    ledger: Ledger
    examiner: KeyPair
    problems: Mapping[int, PaperProblem]
    secret: str
    is_over: Callable[[int, Mapping[int, int]], bool]

    @property
    def remote(self) -> bool:
        """Whether questions leave the host."""
        return self.info.kind != "local"

    @property
    def design(self) -> Design:
        """What is asked when."""
        return design_of(self.registration, self.header)

    def tries(self, unit: Unit) -> list[Try]:
        """All tries of a unit."""
        return [(place, sample) for place in unit for sample in range(self.registration.num_tries)]


@final
@dataclass(frozen=True, slots=True)
class SessionEnd:
    """How a sitting ended.

    Attributes:
        asked: Places of all that was asked, twins too, in asking order.
    """

    ending: Ending
    asked: tuple[int, ...]


def hold_session(
    plan: SessionPlan, journal: Journal, generator: Generator, task: Task, events: EventSink
) -> SessionEnd:
    """Ask until the paper, the rule or the budget ends it.

    Raises:
        EndpointError: The Generator is unusable or broke its protocol; answers so far are kept.
        ProcedureError: The budget has no room for one question, or the paper was retired.
        StorageError: Journal or ledger cannot be written.
    """
    asking = _Asking(plan, journal, generator, task, events)
    for place in sorted(journal.lost):
        journal.record(lost_answer(place, plan.problems[place[0]], plan.registration))
    ended = _hold_in_order(plan, journal, asking)
    if not journal.answers:
        raise ProcedureError(
            "The registered budget has no room for the first question.",
            hint="Withdraw the registration, and register with a larger budget.",
        )
    asking.last_probes()
    return ended


def _hold_in_order(plan: SessionPlan, journal: Journal, asking: _Asking) -> SessionEnd:
    design, asked = plan.design, list[int]()
    if not design.order():  # chosen while it sits: the journal has the places in the order in which they were asked
        asked = list(dict.fromkeys(place for place, _ in journal.answers))
        asking.ask_until_exhausted([(place,) for place in asked[-1:]])  # some of its tries may have been left open
    while True:
        following = design.following(asked, _right(journal), lambda look: plan.is_over(look, _right(journal)))
        if isinstance(following, str):
            return SessionEnd(following, tuple(asked))
        done = asking.ask_until_exhausted(following)
        asked += [place for unit in following[:done] for place in unit]
        if done < len(following):
            return SessionEnd("budget exhausted", tuple(asked))


def _right(journal: Journal) -> dict[int, int]:
    """Right answers so far, by place."""
    right: dict[int, int] = {}
    for (place, _), answer in journal.answers.items():
        right[place] = right.get(place, 0) + (status_of(answer) == "correct")
    return right


@final
class _Asking:
    """Asks part after part; keeps spending, probes and the ledger's access entries."""

    def __init__(
        self, plan: SessionPlan, journal: Journal, generator: Generator, task: Task, events: EventSink
    ) -> None:
        self._plan = plan
        self._journal = journal
        self._generator = generator
        self._task = task
        self._events = events
        self._preamble = preamble_of(plan.header, plan.registration)
        openings = self._own_openings(PaperLog(plan.ledger.entries(), plan.header))
        self._spending = SessionBudget(
            plan.registration.budget,
            max_tokens=plan.registration.sampling.max_tokens,
            started=next((moment for entry in openings if (moment := instant(entry.time))), None),
        )
        for answer in journal.answers.values():
            self._spending.pay(answer.attempt)
        self._tries_a_unit = plan.registration.num_tries * plan.design.unit_size
        self._total = len(plan.design.order()) * plan.registration.num_tries or None
        after = probe_places(
            plan.secret,
            plan.registration.content_digest,
            num_rounds=plan.registration.num_probes,
            num_units=plan.design.num_expected,
        )
        self._probes_due = [num_units * self._tries_a_unit for num_units in after]
        self._told = 0.0
        self._is_open = False  # nothing was asked by this process yet

    def _own_openings(self, log: PaperLog) -> list[AccessEntry]:
        """The sitting's openings so far; the journal must hold what the last one says."""
        openings = opening_entries(log, self._plan.registration.content_digest)
        if openings and (mark := journal_mark(openings[-1])) is not None:
            self._journal.check_holds(mark, f"ledger entry {openings[-1].index}")
        return openings

    def _may_go_on(self, log: PaperLog) -> None:
        """Called while the ledger is locked: another process may have ended the sitting, or hold it from elsewhere."""
        check_in_force(log)
        if (end := sitting_end(log, self._plan.registration)) is not None:
            raise ProcedureError(
                f"This registration has ended (ledger entry {end.index}, {end.kind}) while it was sat.",
                hint="Nothing more is asked. Register again for another sitting; both will be on record.",
            )
        self._own_openings(log)

    def ask_until_exhausted(self, units: Sequence[Unit]) -> int:
        """Ask these problems in order; return how many are done, all of them unless the budget is exhausted."""
        done = 0
        while done < len(units):
            part = self._next_part(units[done:])
            if not part:
                return done
            self._ask(part)
            done += len(part)
        return done

    def _next_part(self, units: Sequence[Unit]) -> Sequence[Unit]:
        """The next problems that go together; those that were begun are finished whatever is left."""
        begun = 0  # all up to the last one with an answer were booked before one of them was asked
        for number, unit in enumerate(units, start=1):
            if any(place in self._journal.answers for place in self._plan.tries(unit)):
                begun = number
        part = units
        if self._plan.registration.budget is not None:
            part = units[: begun + self._spending.room(map(self._booking, units[begun:]))]
        while self._probes_due and self._probes_due[0] <= len(self._journal.answers):
            self._probes_due.pop(0)
        if self._probes_due and part:  # end the part where the next round of probes is due
            wanted = -(-(self._probes_due[0] - len(self._journal.answers)) // self._tries_a_unit)
            part = part[: max(begun, wanted, 1)]
        return part

    def _booking(self, unit: Unit) -> tuple[int, int]:
        tries = self._plan.registration.num_tries
        prompts = (most_prompt_tokens(conversation(self._preamble, self._plan.problems[p].problem)) for p in unit)
        return tries * sum(prompts), tries * len(unit)

    def _ask(self, units: Sequence[Unit]) -> None:
        plan, journal = self._plan, self._journal
        wanted = [place for unit in units for place in plan.tries(unit) if place not in journal.answers]
        if wanted:
            self._open(wanted)
        self._tell(always=True)
        times_missed: Counter[Try] = Counter()
        while wanted:
            missed = self._pass(wanted)
            times_missed.update(missed.keys())
            if missed:
                self._give_up([answer for place, answer in missed.items() if times_missed[place] >= _PASSES])
            wanted = [place for place in wanted if place not in journal.answers]
        if self._probes_due and self._probes_due[0] <= len(journal.answers):
            self._probe()

    def _pass(self, wanted: Sequence[Try]) -> dict[Try, Answer]:
        """Ask these; return the failures of those that turned out not to have been asked, by a live endpoint.

        Raises:
            EndpointError: It is not alive.
        """
        plan, journal = self._plan, self._journal
        missed: dict[Try, Answer] = {}
        gone: EndpointError | None = None
        try:
            for answer in ask(
                plan.problems,
                plan.registration,
                wanted,
                self._generator,
                self._task,
                preamble=self._preamble,
                announce=self._announce if plan.remote else None,
                release=journal.take_back,
            ):
                place = answer.index, answer.sample_index
                if plan.remote and place not in journal.asked:
                    missed[place] = answer
                    continue
                journal.record(answer)
                self._spending.pay(answer.attempt)
                self._tell()
        except EndpointError as error:
            gone = error
        except SpiritsafeError as error:
            raise self._and_losses(error) from error
        except KeyboardInterrupt as error:
            raise KeyboardInterrupt(f"Stopped at once.{self._losses()}") from error
        if gone is not None and (journal.lost or not missed):
            raise self._and_losses(gone) from gone
        if missed:  # is it the endpoint, or these questions?
            try:
                ask_probes(self._generator, num_answers=len(journal.answers), count=1)
            except EndpointError as error:
                raise self._and_losses(gone or error) from error
        return missed

    def _give_up(self, failed: Sequence[Answer]) -> None:
        """What a live endpoint cannot be made to answer counts as its failure, as long as it answers most questions.

        One problem alone is never held against the endpoint: nothing might be asked before it that could be answered.

        Raises:
            EndpointError: It does not.
        """
        journal = self._journal
        errors = [*failed, *(answer for answer in journal.answers.values() if answer.attempt.finish_reason == "error")]
        problems = {answer.index % self._plan.header.num_problems for answer in errors}  # a twin is its original
        if failed and len(problems) > 1 and 2 * len(errors) > len(failed) + len(journal.answers):
            raise EndpointError(
                f"{quoted_name(self._plan.registration.model_name)} answers harmless questions, and not the paper's "
                f"({failed[0].attempt.error}).",
                hint="Find out why, then run the same command again: what was answered is kept.",
            )
        for answer in failed:
            journal.announce([(answer.index, answer.sample_index)])
            journal.record(answer)
            self._spending.pay(answer.attempt)
            self._tell()

    def _losses(self) -> str:
        """What an end in the middle cost, as a sentence."""
        num_lost = len(self._journal.lost)
        reach = Reach.of(map(status_of, self._journal.answers.values()))
        kept = f" {reach.tries - reach.failed} answers are kept"
        what = (
            "1 try failed before, and counts" if reach.failed == 1 else f"{reach.failed} tries failed before, and count"
        )
        failed = f" {what} as wrong." if reach.failed else ""
        if not num_lost:
            return f"{kept}, and none was lost now.{failed}" if failed else f"{kept}, and none was lost."
        return f"{kept}. {num_lost} were under way: they are lost, and count as wrong.{failed}"

    def _and_losses(self, error: SpiritsafeError) -> SpiritsafeError:
        return type(error)(f"{error.message}{self._losses() if self._plan.remote else ''}", hint=error.hint)

    def _tell(self, *, always: bool = False) -> None:
        now = time.monotonic()
        if always or now - self._told > _PROGRESS_EVERY_S or len(self._journal.answers) == self._total:
            self._told = now
            self._events.progress(len(self._journal.answers), self._total, "answers")

    def _announce(self, place: Try) -> None:
        self._journal.announce([place])

    def _open(self, wanted: Sequence[Try]) -> None:
        plan = self._plan
        if not self._is_open and plan.registration.num_probes:
            self._probe()
        elif not self._is_open and plan.remote:
            ask_probes(self._generator, num_answers=0, count=1)  # that it answers at all, before a question is asked
        self._journal.make_room()
        enter_access(
            plan.ledger,
            plan.header,
            sorted({place for place, _ in wanted}),
            plan.info,
            plan.examiner,
            purpose=f"sitting of {plan.registration.model_name}",
            registration=plan.registration.content_digest,
            continues=self._is_open,
            journal=self._journal.mark(),
            guard=self._may_go_on,
        )
        self._is_open = True

    def last_probes(self) -> None:
        """The round behind the last answer, unless an interrupted process had it already."""
        rounds, num_answers = self._journal.rounds, len(self._journal.answers)
        if self._plan.registration.num_probes and not (rounds and rounds[-1].num_answers == num_answers > 0):
            self._probe()

    def _probe(self) -> None:
        self._journal.record_round(ask_probes(self._generator, num_answers=len(self._journal.answers)))
