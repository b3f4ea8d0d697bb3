"""Explanations that are tried: a model explains each routine, another writes it anew, and tests decide.

In: a subject, tests of it, two models. Out: of each routine an explanation, and whether it suffices. It is the command
``spiritsafe code explain``.

1. Take each routine away: the tests that fail then are those that tell of it.
2. Ask for an explanation of each; one that spells out code is none.
3. Have it written anew from the heading and the explanation, and once from the heading alone.
4. Put what came in the routine's place, and run the tests.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import final

from spiritsafe.assist.asker import Asker, AskingCost
from spiritsafe.assist.explaining.report import ExplainedRoutine, ExplanationsReport, ExplanationVerdict
from spiritsafe.assist.routines.routine import Routine, rebuilt_in, routines_of
from spiritsafe.assist.subject import Subject
from spiritsafe.assist.writing.joining import in_short
from spiritsafe.assist.writing.questions import shown_source
from spiritsafe.core.canonical import digest_bytes
from spiritsafe.core.errors import TaskError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Sampling
from spiritsafe.tasks import leak_in
from spiritsafe.tasks.code import Kills, code_in, fenced, language_named

_MOST_EXPLANATION = 20_000


@final
@dataclass(slots=True)
class _Trial:
    """A routine on its way.

    Attributes:
        routine: It.
        tests: Those that tell of it.
        explanation: What the model said.
        verdict: As soon as there is one.
        reason: What else is to be said.
        failed: Tests that failed on what was written anew.
        programs: The file with the routine written anew, with and without the explanation; None: no such code came.
    """

    routine: Routine
    tests: tuple[str, ...]
    explanation: str = ""
    verdict: ExplanationVerdict | None = None
    reason: str = ""
    failed: tuple[str, ...] = ()
    programs: list[str | None] = field(default_factory=list)


def explain_code(
    subject: Subject,
    tests: str,
    generator: Generator,
    rebuilder: Generator,
    *,
    tests_file: str,
    sampling: Sampling,
    seed: int = 0,
    events: EventSink | None = None,
) -> ExplanationsReport:
    """Explain the routines of one file.

    Args:
        subject: The file.
        tests: Tests of it.
        generator: Explains.
        rebuilder: Writes anew, greedily.
        tests_file: What the tests are called, for readers.
        sampling: How explanations are drawn.
        seed: Of the draws.
        events: Hears how far it is.

    Raises:
        TaskError: There is no routine, or no test that holds.
        EndpointError: A model cannot be asked at all.
        SandboxFailure: The sandbox failed.
    """
    sink, began = events or NullSink(), time.monotonic()
    routines = [one for one in routines_of(subject.source, subject.language) if one.is_whole]
    if not routines:
        raise TaskError(f"{subject.path} has no routine that can be explained by itself.", hint="Name another file.")
    gone = subject.judge(tests, [one.exchanged(subject.source, one.gone) for one in routines])  # 1
    if not gone.valid:
        reason = gone.broken or in_short("; ".join(f"{name}: {why}" for name, why in gone.invalid.items()))
        raise TaskError(f"No test of {tests_file} holds for {subject.path}: {reason}.", hint="Give other --tests.")
    trials = [_Trial(one, gone.killed_by.get(place, ())) for place, one in enumerate(routines)]
    for place in gone.not_run:
        trials[place].verdict, trials[place].reason = "not known", "the file could not be run without it"
    explaining = Asker(generator, sampling, seed=seed)
    rebuilding = Asker(rebuilder, Sampling(temperature=0.0, max_tokens=sampling.max_tokens))
    cost, rebuilding_cost = AskingCost(), AskingCost()
    for done, trial in enumerate(trials):
        sink.progress(done, len(trials), "routines")
        cost += _explain(subject, trial, explaining)  # 2
        if trial.verdict is None:
            rebuilding_cost += _rebuild(subject, trial, rebuilding)  # 3
    _judge(subject, tests, [trial for trial in trials if trial.verdict is None])  # 4
    info, other = generator.describe(), rebuilder.describe()
    return ExplanationsReport(
        path=str(subject.path),
        language=subject.language,
        source_digest=digest_bytes(subject.source.encode("utf-8")),
        tests_file=tests_file,
        model=info.name,
        model_digest=info.digest,
        rebuilder=other.name,
        rebuilder_digest=other.digest,
        sandbox=gone.layer,
        routines=tuple(_explained(subject, trial) for trial in trials),
        ignored={name: in_short(why) for name, why in gone.invalid.items()},
        cost=cost,
        rebuilding_cost=rebuilding_cost,
        seconds=round(time.monotonic() - began, 3),
    )


def _explain(subject: Subject, trial: _Trial, asker: Asker) -> AskingCost:
    """Ask for an explanation, and refuse one that is none."""
    routine = trial.routine
    answer = asker.ask(f"{subject.path.name}:{routine.name}", explaining_question(subject, routine))
    trial.explanation = answer.text.strip()[:_MOST_EXPLANATION]
    if trial.verdict is not None:
        return answer.cost
    if not trial.explanation or answer.is_cut:
        trial.verdict = "no explanation"
        trial.reason = in_short(answer.error) or ("its answer was cut off" if answer.is_cut else "")
    elif leak := leak_in(trial.explanation, subject.source[routine.start : routine.end]):
        trial.verdict, trial.reason = "leaks code", leak
    elif not trial.tests:
        trial.verdict = "not shown"
    return answer.cost


def explaining_question(subject: Subject, routine: Routine) -> str:
    """What the model that explains is asked."""
    language = language_named(subject.language)
    source, fence = subject.source, language.fences[0]
    return (
        f"This is {subject.path.name}, in {language.title}.\n\n"
        f"{fenced(shown_source(source, routines_of(source, subject.language), []), fence)}\n\n"
        f"Explain this part of it:\n\n{fenced(source[routine.start : routine.end], fence)}\n\n"
        "Say in plain words what it does, with all special cases and what it relies on elsewhere in the file, so that "
        "a programmer who sees nothing but its heading and your words can write it again. Do not quote code."
    )


def rewriting_question(subject: Subject, routine: Routine, explanation: str) -> str:
    """What the model that writes anew is asked; without an explanation it has the heading alone."""
    language = language_named(subject.language)
    about = f"\n\nThis is what it does:\n\n{explanation}" if explanation else ""
    return (
        f"Write this part of a file in {language.title}.\n\n{fenced(routine.heading, language.fences[0])}{about}\n\n"
        "Answer with its whole code in one block, and nothing else of the file."
    )


def _rebuild(subject: Subject, trial: _Trial, asker: Asker) -> AskingCost:
    """Have the routine written anew, with the explanation and without."""
    cost = AskingCost()
    routine, language = trial.routine, language_named(subject.language)
    for explanation in (trial.explanation, ""):
        name = f"{subject.path.name}:{routine.name}:{'with' if explanation else 'without'}"
        answer = asker.ask(name, rewriting_question(subject, routine, explanation))
        cost += answer.cost
        code = code_in(answer.text, language)
        new = None if code is None else rebuilt_in(subject.source, code, subject.language, routine.name)
        trial.programs.append(None if new is None else routine.exchanged(subject.source, new))
        if answer.error:
            trial.verdict, trial.reason = "not known", in_short(answer.error)
            break
    return cost


def _judge(subject: Subject, tests: str, trials: Sequence[_Trial]) -> None:
    """Run the tests on what was written anew; where no code came, all tests of the routine fail."""
    programs = [program for trial in trials for program in trial.programs if program is not None]
    kills = subject.judge(tests, programs) if programs else Kills(layer="")
    place = 0
    for trial in trials:
        failed: list[tuple[str, ...] | None] = []
        for program in trial.programs:
            if program is None:
                failed.append(trial.tests)
                continue
            failed.append(None if place in kills.not_run or kills.broken else kills.killed_by.get(place, ()))
            place += 1
        with_it, without = failed
        if with_it is None or (not with_it and without is None):
            trial.verdict, trial.reason = "not known", "what was written anew could not be run"
        elif with_it:
            trial.verdict, trial.failed = "does not suffice", with_it
        else:
            trial.verdict = "suffices" if without else "told by its name alone"


def _explained(subject: Subject, trial: _Trial) -> ExplainedRoutine:
    assert trial.verdict is not None
    return ExplainedRoutine(
        name=trial.routine.name,
        line=subject.source.count("\n", 0, trial.routine.start) + 1,
        verdict=trial.verdict,
        explanation=trial.explanation,
        reason=trial.reason,
        tests=trial.tests,
        failed=trial.failed,
    )
