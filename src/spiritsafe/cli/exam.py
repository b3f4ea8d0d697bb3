"""``spiritsafe exam seal|register|sit|verify|rerun``: the safe. Needs the light install only."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from spiritsafe.cli.generators import generator_options, open_any_generator
from spiritsafe.cli.progress import open_sink
from spiritsafe.core.canonical import digest_directory
from spiritsafe.core.certificates import Registration
from spiritsafe.core.errors import IntegrityError, ProcedureError
from spiritsafe.core.files import read_json, write_bytes
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Checkpoint, Sampling
from spiritsafe.exam import (
    StepResult,
    find_registration,
    load_certificate,
    load_paper,
    register,
    require_verified,
    rerun,
    seal,
    sit,
    verify,
)
from spiritsafe.ledger import KeyPair, Ledger
from spiritsafe.tasks import load_task

__all__ = ["command"]

_LINEAGE = "lineage.json"
_EXISTING = click.Path(exists=True, path_type=Path)
_PATH = click.Path(path_type=Path)


@click.group(name="exam")
def command() -> None:
    """Seal, register, sit, verify and re-run exams."""


def _key(path: Path, holder: str) -> KeyPair:
    return KeyPair.load_or_create(path, holder=holder)


_ledger = click.option("--ledger", type=_PATH, required=True, help="The ledger file (JSON lines).")
_holder = click.option("--holder", default="self", show_default=True, help="Name for a new key.")


@command.command(name="seal")
@click.argument("task")
@click.option("--count", default=400, show_default=True, help="Problems in the bank; half become public.")
@click.option("--out", type=_PATH, required=True, help="Folder for paper.json and sealed.age.")
@_ledger
@click.option("--key", type=_PATH, required=True, help="The examiner's key file; made if missing.")
@_holder
def seal_(task: str, count: int, out: Path, ledger: Path, key: Path, holder: str) -> None:
    """Draw a bank of TASK from the exam bucket, commit to it, publish one half, seal the other."""
    paper = seal(
        load_task(task),
        count=count,
        ledger=Ledger(ledger),
        directory=out,
        examiner=_key(key, holder),
        events=open_sink(),
    )
    click.echo(f"paper {paper.header.paper_id}", err=True)
    click.echo(f"{paper.header.num_public} problems public, {paper.header.num_sealed} sealed, in {out}", err=True)


def _checkpoint_of(directory: Path) -> Checkpoint:
    """A local model's lineage, its digest recomputed: the weights that sit are the weights that were registered."""
    checkpoint = Checkpoint.from_json(read_json(directory / _LINEAGE))
    found = digest_directory(directory, exclude=[_LINEAGE])
    if found != checkpoint.digest:
        raise IntegrityError(
            f"{directory} is not what its {_LINEAGE} describes: {found} instead of {checkpoint.digest}.",
            hint="Restore the model directory; changed weights need their own registration.",
        )
    return checkpoint


def _describe(model: str | None, generator: Generator) -> str:
    return _checkpoint_of(Path(model)).digest if model is not None else generator.describe().digest


@command.command(name="register")
@click.argument("paper", type=_EXISTING)
@generator_options
@click.option("--name", required=True, help="The model's name on the certificate.")
@_ledger
@click.option("--key", type=_PATH, required=True, help="The maker's key file; made if missing.")
@_holder
@click.option("--temperature", default=0.0, show_default=True)
@click.option("--max-tokens", default=256, show_default=True)
@click.option("--tries", default=1, show_default=True, help="Answers asked for each problem.")
@click.option("--hypothesis", required=True, help="What the maker expects, in words.")
@click.option("--out", type=_PATH, required=True, help="File for the signed registration.")
def register_(
    paper: Path,
    model: str | None,
    endpoint: str | None,
    endpoint_model: str | None,
    api_key_env: str | None,
    name: str,
    ledger: Path,
    key: Path,
    holder: str,
    temperature: float,
    max_tokens: int,
    tries: int,
    hypothesis: str,
    out: Path,
) -> None:
    """Sign what will be sat, before the sitting: model, sampling, tries, hypothesis."""
    generator = open_any_generator(model, endpoint, endpoint_model, api_key_env)
    try:
        model_digest = _describe(model, generator)
    finally:
        generator.close()
    registration = register(
        ledger=Ledger(ledger),
        paper=load_paper(paper),
        maker=_key(key, holder),
        model_name=name,
        model_digest=model_digest,
        sampling=Sampling(temperature=temperature, max_tokens=max_tokens),
        hypothesis=hypothesis,
        num_tries=tries,
    )
    write_bytes(out, registration.canonical())
    click.echo(f"registration {registration.content_digest}", err=True)


@command.command(name="sit")
@click.argument("paper", type=_EXISTING)
@click.option("--registration", type=_EXISTING, required=True, help="The file that `register` wrote.")
@generator_options
@_ledger
@click.option("--key", type=_EXISTING, required=True, help="The examiner's key file: opens the sealed half.")
@click.option("--host-key", type=_EXISTING, help="The host's key file, when host and examiner differ.")
@click.option("--work", type=_PATH, required=True, help="Folder of this sitting; the same folder resumes it.")
@click.option("--max-batch", default=64, show_default=True, help="Sequences decoded together (local weights).")
@click.option("--out", type=_PATH, required=True, help="File for the certificate.")
def sit_(
    paper: Path,
    registration: Path,
    model: str | None,
    endpoint: str | None,
    endpoint_model: str | None,
    api_key_env: str | None,
    ledger: Path,
    key: Path,
    host_key: Path | None,
    work: Path,
    max_batch: int,
    out: Path,
) -> None:
    """Hold a registered sitting and write the certificate. Killed, the same command goes on."""
    book = Ledger(ledger)
    registered = find_registration(book, Registration.from_json(read_json(registration)).content_digest)
    if model is not None:
        _checkpoint_of(Path(model))
    loaded = load_paper(paper)
    generator = open_any_generator(model, endpoint, endpoint_model, api_key_env, max_batch=max_batch)
    try:
        certificate = sit(
            paper=paper,
            registration=registered,
            generator=generator,
            task=load_task(loaded.header.task),
            ledger=book,
            examiner=KeyPair.load(key),
            host=KeyPair.load(host_key) if host_key else None,
            directory=work,
            events=open_sink(),
        )
    finally:
        generator.close()
    write_bytes(out, certificate.canonical())
    sealed = certificate.result.sealed.accuracy
    click.echo(f"{registered.model_name}: sealed {sealed.value:.1%} [{sealed.low:.1%}, {sealed.high:.1%}]", err=True)


@command.command(name="verify")
@click.argument("certificate", type=_EXISTING)
@click.option("--paper", type=_EXISTING, required=True, help="paper.json, or its folder.")
@click.option("--ledger", type=_EXISTING, help="The ledger: then completeness is checked as well.")
@click.option("--sealed", type=_EXISTING, help="sealed.age, if you have it (nothing is decrypted).")
@click.option("--trust", multiple=True, metavar="KEY_ID", help="Id of an examiner's key that you trust.")
def verify_(certificate: Path, paper: Path, ledger: Path | None, sealed: Path | None, trust: tuple[str, ...]) -> None:
    """Recompute everything that CERTIFICATE claims, offline, step by step."""
    steps = verify(certificate, paper=paper, ledger=ledger, sealed=sealed, trusted_keys=trust)
    for step in steps:
        click.echo(_step_line(step), err=True)
    require_verified(steps)
    record = load_certificate(certificate)
    score = record.result.sealed.accuracy
    click.echo(
        f"\nVerified: {record.registration.model_name} scored {score.value:.1%} [{score.low:.1%}, {score.high:.1%}] "
        f"on {score.n} sealed problems of {record.paper.task}.",
        err=True,
    )
    for statement in record.statements:
        click.echo(f"- {statement}", err=True)


def _step_line(step: StepResult) -> str:
    mark = ("ok     " if step.checked else "skipped") if step.ok else "FAILED "
    return f"{step.number:2d}. {mark} {step.name}: {step.detail}"


@command.command(name="rerun")
@click.argument("certificate", type=_EXISTING)
@click.option("--paper", type=_EXISTING, required=True, help="paper.json, or its folder (for the sealed half).")
@generator_options
@click.option("--ledger", type=_EXISTING, help="Gets the access entry and the finding; needed with --sealed-key.")
@click.option("--sealed-key", type=_EXISTING, help="The examiner's key, if you were given it: re-runs both halves.")
@click.option("--key", type=_PATH, required=True, help="Your own key file, to sign with; made if missing.")
@_holder
@click.option("--out", type=_PATH, required=True, help="File for the counter-signed report.")
def rerun_(
    certificate: Path,
    paper: Path,
    model: str | None,
    endpoint: str | None,
    endpoint_model: str | None,
    api_key_env: str | None,
    ledger: Path | None,
    sealed_key: Path | None,
    key: Path,
    holder: str,
    out: Path,
) -> None:
    """Ask the problems of CERTIFICATE again, with its sampling and seed, and sign what comes out."""
    loaded = load_paper(paper)
    generator = open_any_generator(model, endpoint, endpoint_model, api_key_env)
    try:
        signed: Any = rerun(
            certificate,
            paper=paper,
            generator=generator,
            task=load_task(loaded.header.task),
            runner=_key(key, holder),
            output=out,
            examiner=KeyPair.load(sealed_key) if sealed_key else None,
            ledger=Ledger(ledger) if ledger else None,
            events=open_sink(),
        )
    finally:
        generator.close()
    report = signed.report
    click.echo(report.statement, err=True)
    if not report.agrees:
        raise ProcedureError(
            "The re-run does not agree with the certificate.", hint=f"Send {out} to the examiner and the maker."
        )
    sys.stderr.flush()
