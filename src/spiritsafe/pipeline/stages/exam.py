"""Stages "seal" and "exam": a paper nobody has seen, then every model sits it.

All of it runs in a process of its own (``spiritsafe exam …``): this one starts it, and reads public files only. One
person on one machine holds all keys here, and the certificates say so: "self-examined".
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from spiritsafe.core.canonical import JSON
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.process.own_command import call_command
from spiritsafe.exam.records import Certificate, PublicPaper
from spiritsafe.pipeline.context import RunContext
from spiritsafe.pipeline.recipe.schema import ExamRecipe
from spiritsafe.pipeline.run_directory import StageDirectory
from spiritsafe.pipeline.stages.source import given_of, model_directory
from spiritsafe.pipeline.step import step_of

_VERIFIERS = 2
"""Certificates that are verified at a time, each in a process of its own."""


def key_path(context: RunContext) -> Path:
    """The one key of a self-examined run, mode 0600."""
    return context.run.path / "keys" / "self.json"


def ledger_path(context: RunContext) -> Path:
    """The run's ledger."""
    return context.run.path / "ledger.jsonl"


def paper_path(context: RunContext, exam: ExamRecipe) -> Path:
    """Folder of the sealed paper."""
    return context.stage(exam.seal_stage).path / "paper"


def seal_paper(exam: ExamRecipe, context: RunContext, stage: StageDirectory, events: EventSink) -> dict[str, JSON]:
    """Draw, commit, split and encrypt the paper, before anything is trained."""
    folder = stage.path / "paper"
    call_exam(["key", str(key_path(context))], events=events)
    call_exam(
        [
            *("seal", exam.task, "--count", str(exam.problems)),
            *("--out", str(folder), "--ledger", str(ledger_path(context)), "--key", str(key_path(context))),
        ],
        events=events,
    )
    paper = PublicPaper.from_json(read_json(folder / "paper.json"))
    return {
        "paper": paper.header.paper_id,
        "summary": f"{paper.header.num_sealed} problems sealed, {paper.header.num_public} public",
    }


def sit_exam(
    exam: ExamRecipe, names: Sequence[str], context: RunContext, stage: StageDirectory, events: EventSink
) -> dict[str, JSON]:
    """Register every model named, let each sit, and verify each certificate as a stranger would."""
    shared = ["--ledger", str(ledger_path(context)), "--key", str(key_path(context))]
    paper = paper_path(context, exam)
    accuracies: dict[str, list[float]] = {}
    for name in names:  # all are registered before the first one sits: nobody can look and then choose
        call_exam(
            [
                *("register", str(paper), *_who(context, name), "--name", name, *shared),
                *("--temperature", str(exam.sampling.temperature), "--max-tokens", str(exam.sampling.max_tokens)),
                *("--hypothesis", _hypothesis(context, name), "--out", str(stage.path / f"{name}.registration.json")),
            ],
            events=events,
        )
    for name in names:
        certificate = stage.path / f"{name}.certificate.json"
        batch = [] if "--endpoint" in _who(context, name) else ["--max-batch", str(context.recipe.engine.max_batch)]
        call_exam(
            [
                *("sit", str(paper), "--registration", str(stage.path / f"{name}.registration.json")),
                *(*_who(context, name), *shared, "--work", str(stage.path / "sittings" / name)),
                *(*batch, "--out", str(certificate)),
            ],
            events=events,
        )
        sealed = Certificate.from_json(read_json(certificate)).result.sealed.accuracy
        accuracies[name] = [sealed.value, sealed.low, sealed.high]
    with ThreadPoolExecutor(max_workers=_VERIFIERS) as pool:  # nothing is appended to the ledger any more
        checks = [pool.submit(_verify, exam, context, stage.path / f"{name}.certificate.json") for name in names]
        for check in checks:
            check.result()
    summary = ", ".join(f"{name} {value:.0%}" for name, (value, _, _) in accuracies.items())
    return {"accuracies": dict(accuracies), "summary": summary}


def _who(context: RunContext, name: str) -> list[str]:
    """An examinee, as the exam's commands are told of it."""
    given = given_of(context, name)
    if given is None or given.endpoint is None or given.source is not None:
        return ["--model", str(model_directory(context, name))]
    key = [] if given.api_key_env is None else ["--api-key-env", given.api_key_env]
    return ["--endpoint", given.endpoint, "--endpoint-model", str(given.model), *key]


def _verify(exam: ExamRecipe, context: RunContext, certificate: Path) -> None:
    paper = paper_path(context, exam) / "paper.json"
    call_exam(
        ["verify", str(certificate), "--paper", str(paper), "--ledger", str(ledger_path(context))], events=NullSink()
    )


def late_stage(exam: ExamRecipe, name: str) -> str:
    """The stage in which one model sits an exam after all others had sat it."""
    return f"{exam.stage}-{name}"


def certificate_path(context: RunContext, exam: ExamRecipe, name: str) -> Path:
    """Where the certificate of one examinee lies."""
    stage = context.done.get(late_stage(exam, name)) or context.stage(exam.stage)
    return stage.path / f"{name}.certificate.json"


def certificate_of(context: RunContext, exam: ExamRecipe, name: str) -> Certificate:
    """The certificate of one examinee."""
    return Certificate.from_json(read_json(certificate_path(context, exam, name)))


def _hypothesis(context: RunContext, name: str) -> str:
    node = context.recipe.node(name)
    return step_of(node).words(node).hypothesis


def call_exam(arguments: list[str], *, events: EventSink) -> None:
    """Run ``spiritsafe exam ARGUMENTS`` to its end.

    Raises:
        SpiritsafeError: It failed; the class and the text are those of the process's own error.
    """
    call_command(["exam", *arguments], events=events)
