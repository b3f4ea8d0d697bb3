"""``spiritsafe exam seal|register|sit|verify|rerun``: the safe. Needs the light install only.

What concerns keys, ledgers and single problems is in :mod:`spiritsafe.cli.exam.ledger`, looking for leaks in
:mod:`spiritsafe.cli.exam.contamination`, what comes after the certificate in :mod:`spiritsafe.cli.exam.review`, other
tools in :mod:`spiritsafe.cli.exam.interop`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from spiritsafe import exam, report
from spiritsafe.cli.exam.items import read_shorter
from spiritsafe.cli.exam.options import (
    host_key_option,
    key_option,
    own_ledger_option,
    paper_option,
    parse_budget,
    parse_claim,
    parse_stop,
    read_public_key,
    registration_option,
)
from spiritsafe.cli.exam.trust import show_trust, trust_of
from spiritsafe.cli.model_options import (
    Patience,
    checkpoint_of,
    generator_options,
    local_model,
    open_any_generator,
    patience_options,
)
from spiritsafe.cli.paths import EXISTING, KEY, NAMES_FILES, PAGE, GuardedCommand, OutputFile, OutputFolder, record_kind
from spiritsafe.cli.stopping import let_arrive
from spiritsafe.cli.tables import json_option, print_json, step_line, step_records
from spiritsafe.cli.terminal import open_sink, print_note
from spiritsafe.core.errors import EndpointError, ProcedureError, RecipeError
from spiritsafe.core.files.atomic import read_json, write_bytes
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Sampling
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam import records
from spiritsafe.ledger import KeyPair, Ledger
from spiritsafe.tasks import Task, build_task

_MOST_TRIES = 10_000
_REGISTRATION = OutputFile(record_kind("a registration", lambda: records.Registration))
_CERTIFICATE = record_kind("a certificate", lambda: records.Certificate)
_RERUN = OutputFile(record_kind("a report of a re-run", lambda: records.CounterSignedRerun))
_PUBLIC = record_kind("a paper", lambda: records.PublicPaper)
_PAPER = OutputFolder(lambda: {exam.PAPER_FILE: _PUBLIC, exam.SEALED_FILE: None})
_SITTING = OutputFolder(lambda: {exam.ANSWERS_FILE: None, exam.RESULT_FILE: None, exam.CERTIFICATE_FILE: _CERTIFICATE})


def _task(spec: str, file: Path | None) -> Task:
    family, _, name = spec.partition(":")
    if (family == "private") != (file is not None):
        raise RecipeError(
            "A private bank needs a name and a file.", hint="Write `spiritsafe exam seal private:NAME --file FILE …`."
        )
    return build_task(spec) if file is None else exam.load_private(file, name=name)


@click.command(cls=GuardedCommand, name="seal")
@click.argument("task", type=NAMES_FILES)
@click.option(
    "--count",
    type=click.IntRange(2, records.MOST_PROBLEMS),
    default=400,
    show_default=True,
    help="Problems in the bank; half become public.",
)
@click.option("--out", type=_PAPER, required=True, help="Folder for paper.json and sealed.age.")
@own_ledger_option
@key_option()
@click.option("--file", type=EXISTING, help="Private file of problems; TASK is then private:NAME.")
@click.option("--protocol", type=EXISTING, help="JSON file: sampling, num_tries, preamble that everybody sits with.")
@click.option("--twins", is_flag=True, help="Add a sealed twin of each problem: new numbers and names.")
@click.option("--recipient", multiple=True, type=EXISTING, help="Public key of another who can open the sealed half.")
@click.option("--reviewer", multiple=True, type=EXISTING, help="Public key of a reviewer whose sign-offs count.")
@click.option(
    "--signoffs",
    type=click.IntRange(0, 100),
    default=0,
    show_default=True,
    help="Sign-offs that each problem of a private file needs.",
)
def seal_(
    task: str,
    count: int,
    out: Path,
    ledger: Path,
    key: Path,
    file: Path | None,
    protocol: Path | None,
    twins: bool,
    recipient: tuple[Path, ...],
    reviewer: tuple[Path, ...],
    signoffs: int,
) -> None:
    """Draw a bank of TASK from the exam bucket, commit to it, publish one half, seal the other."""
    terms = exam.PaperTerms(
        protocol=records.PaperProtocol.from_json(read_json(protocol)) if protocol else None,
        twins=twins,
        recipients=[read_public_key(path) for path in recipient],
        reviewers=[read_public_key(path) for path in reviewer],
        num_signoffs=signoffs,
    )
    paper = exam.seal(
        _task(task, file),
        count=count,
        ledger=Ledger(ledger),
        directory=out,
        examiner=KeyPair.load(key),
        terms=terms,
        events=open_sink(),
    )
    header = paper.header
    twin_text = f", {header.num_twins} twins" if header.num_twins else ""
    print_note(f"paper {header.paper_id}")
    print_note(f"{header.num_public} problems public, {header.num_sealed} sealed{twin_text}, in {out}")


def _digest(directory: Path | None, generator: Generator) -> str:
    return checkpoint_of(directory).digest if directory is not None else generator.describe().digest


@click.command(cls=GuardedCommand, name="register")
@click.argument("paper", type=EXISTING)
@generator_options
@click.option("--name", required=True, help="The model's name on the certificate.")
@own_ledger_option
@key_option("The maker's key file.")
@click.option("--temperature", type=float, help="As the paper's protocol says, or 0.")
@click.option("--max-tokens", type=click.IntRange(min=1), help="As the paper's protocol says, or 256.")
@click.option(
    "--tries", type=click.IntRange(1, _MOST_TRIES), help="Answers asked for each problem; as the protocol says, or 1."
)
@click.option("--hypothesis", required=True, help="What the maker expects, in words.")
@click.option(
    "--claim",
    type=NAMES_FILES,
    help='The same, to be decided: "score >= 0.6", "better than FILE by 5", "no worse than FILE by 2".',
)
@click.option("--level", default=0.025, show_default=True, help="One-sided level of the claim's test; 0.05 at most.")
@click.option("--stop", default="fixed", show_default=True, help="fixed, looks[:N], frequent, or betting[:N].")
@click.option("--budget", help="tokens=N,seconds=N,cost=X,prices=IN/OUT (for a million tokens),currency=EUR.")
@click.option(
    "--probes", type=click.IntRange(0, 100), help="Rounds of identity probes; 4 for an endpoint, 0 for local weights."
)
@click.option("--deviate", is_flag=True, help="Deviate from the paper's protocol; the certificate will say so.")
@click.option("--shorter", type=EXISTING, help="Ask only problems chosen by this file of `exam items`.")
@click.option(
    "--as-precise-as",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --shorter: as N sealed problems drawn at random.",
)
@click.option("--adaptive", is_flag=True, help="With --shorter: choose each problem by the answers to those before it.")
@click.option("--out", type=_REGISTRATION, required=True, help="File for the signed registration.")
def register_(
    paper: Path,
    model: str | None,
    endpoint: str | None,
    endpoint_model: str | None,
    api_key_env: str | None,
    name: str,
    ledger: Path,
    key: Path,
    temperature: float | None,
    max_tokens: int | None,
    tries: int | None,
    hypothesis: str,
    claim: str | None,
    level: float,
    stop: str,
    budget: str | None,
    probes: int | None,
    deviate: bool,
    shorter: Path | None,
    as_precise_as: int | None,
    adaptive: bool,
    out: Path,
) -> None:
    """Sign what will be sat, before the sitting: model, sampling, tries, claim, budget, stop rule."""
    loaded = exam.load_paper(paper)
    terms = exam.RegistrationTerms(
        claim=parse_claim(claim, level=level) if claim else None,
        budget=parse_budget(budget) if budget else None,
        stop=parse_stop(stop, loaded.header, level=level),
        num_probes=(4 if endpoint else 0) if probes is None else probes,
        deviate=deviate,
        shorter=read_shorter(shorter, as_precise_as, adaptive=adaptive),
    )
    directory = local_model(model, endpoint, open_sink(), check=False)
    generator = open_any_generator(directory, endpoint, endpoint_model, api_key_env)
    try:
        model_digest = _digest(directory, generator)
    finally:
        generator.close()
    registration = exam.register(
        ledger=Ledger(ledger),
        paper=loaded,
        maker=KeyPair.load(key),
        model_name=name,
        model_digest=model_digest,
        sampling=_sampling(loaded, temperature, max_tokens),
        hypothesis=hypothesis,
        num_tries=tries,
        terms=terms,
    )
    write_bytes(out, registration.canonical())
    print_note(f"registration {registration.content_digest}")
    if registration.claim is not None:
        print_note(f"claim: {registration.claim.words}")
    for sentence in exam.outlook(loaded.header, registration):
        print_note(sentence)


def _sampling(paper: records.PublicPaper, temperature: float | None, max_tokens: int | None) -> Sampling:
    """The protocol's, with what was given put in its place."""
    protocol = paper.header.protocol
    base = protocol.sampling if protocol else Sampling(temperature=0.0)
    given = {"temperature": temperature, "max_tokens": max_tokens}
    return Sampling.from_json({**base.to_json(), **{name: value for name, value in given.items() if value is not None}})


@click.command(cls=GuardedCommand, name="sit")
@click.argument("paper", type=EXISTING)
@registration_option
@generator_options
@patience_options
@own_ledger_option
@key_option("The examiner's key file: opens the sealed half.")
@host_key_option
@click.option("--work", type=_SITTING, required=True, help="Folder of this sitting; the same folder resumes it.")
@click.option(
    "--max-batch",
    type=click.IntRange(1, 4096),
    default=64,
    show_default=True,
    help="Sequences decoded together (local weights).",
)
@click.option("--reference", type=EXISTING, help="Certificate of the model that the claim compares with.")
@click.option("--out", type=OutputFile(_CERTIFICATE), required=True, help="File for the certificate.")
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
    reference: Path | None,
    out: Path,
    patience: Patience,
) -> None:
    """Hold a registered sitting and write the certificate. Killed, the same command goes on."""
    book = Ledger(ledger)
    registered = exam.find_registration(book, records.Registration.from_json(read_json(registration)).content_digest)
    loaded = exam.load_paper(paper)
    sink = open_sink()
    generator = open_any_generator(
        local_model(model, endpoint, sink, patience=patience),
        endpoint,
        endpoint_model,
        api_key_env,
        max_batch=max_batch,
        patience=patience,
        num_questions=(loaded.header.num_problems + loaded.header.num_twins) * registered.num_tries,
        events=sink,
        registered=registered.model_digest,
    )
    try:
        with let_arrive(generator):
            certificate = exam.sit(
                paper=paper,
                registration=registered,
                generator=generator,
                task=exam.task_of_paper(loaded),
                ledger=book,
                examiner=KeyPair.load(key),
                host=KeyPair.load(host_key) if host_key else None,
                reference=exam.load_certificate(reference) if reference else None,
                directory=work,
                events=sink,
            )
    finally:
        generator.close()
    write_bytes(out, certificate.canonical())
    sealed, predicted = certificate.result.sealed.accuracy, certificate.result.predicted
    score = f"sealed {sealed.value:.1%} [{sealed.low:.1%}, {sealed.high:.1%}]"
    print_note(f"{quoted_name(registered.model_name)}: {score if predicted is None else predicted.statement}")
    _print_decision(certificate)
    _print_failures(certificate, out)


def _print_failures(certificate: records.Certificate, out: Path) -> None:
    """How many tries brought no answer.

    Raises:
        EndpointError: Too many; the certificate stands.
    """
    reach = exam.Reach.of(outcome.status for outcome in certificate.result.outcomes)
    if certificate.result.generator.kind != "local" and not reach.is_enough:
        raise EndpointError(
            f"{reach}: this is no score of {quoted_name(certificate.result.model_name)}. "
            f"The certificate {out} is issued, and says so.",
            hint="What failed counts as wrong. Find out why, and register again for another sitting.",
        )
    if reach.failed:
        print_note(f"{reach}; they count as wrong")


def _print_decision(certificate: records.Certificate) -> None:
    if certificate.result.decision is not None:
        print_note(certificate.result.decision.statement)
    if certificate.correction is not None:
        print_note(certificate.correction.statement)


@click.command(cls=GuardedCommand, name="verify")
@click.argument("certificate", type=EXISTING)
@paper_option
@click.option("--ledger", type=EXISTING, help="The ledger: then completeness is checked as well.")
@click.option("--sealed", type=EXISTING, help="sealed.age, if you have it (nothing is decrypted).")
@click.option("--reference", type=EXISTING, help="Certificate of the model that the claim compares with.")
@click.option("--revealed", multiple=True, type=EXISTING, help="An answer that was opened in a dispute.")
@click.option("--overlap", "overlaps", multiple=True, type=EXISTING, help="A report of what stands in training files.")
@click.option("--memory", "memories", multiple=True, type=EXISTING, help="A report of signs of memory.")
@click.option("--opened", type=EXISTING, help="The opened paper; answers beside it are graded again.")
@click.option("--items", type=EXISTING, help="What chose the problems of a shorter sitting (`exam items`).")
@click.option(
    "--witness", "witnesses", multiple=True, type=EXISTING, help="A witness's ledger, or a checkpoint it cosigned."
)
@click.option(
    "--witness-key",
    "witness_keys",
    multiple=True,
    metavar="VKEY",
    help="Verifier key of a witness whose checkpoints count.",
)
@click.option("--rerun", "reruns", multiple=True, type=EXISTING, help="A signed report of somebody who asked again.")
@click.option(
    "--trust", "trusted_keys", multiple=True, metavar="KEY_ID", help="Id of an examiner's key that you trust."
)
@click.option("--long", is_flag=True, help="Say of each promise what was found, and what is left to a cheater.")
@click.option("--trust-page", type=OutputFile(PAGE), help="Write the promises as one HTML page to this file.")
@json_option
def verify_(long: bool, trust_page: Path | None, as_json: bool, **given: Any) -> None:
    """Recompute everything that CERTIFICATE claims, offline, step by step."""
    verified = exam.verification_of(exam.Materials(**given))
    for step in verified.steps:
        print_note(step_line(step))
    page = None if verified.certificate is None else trust_of(verified, verified.certificate)
    if page is not None and verified.certificate is not None:
        show_trust(page, verified, verified.certificate, long=long)
        if trust_page is not None:
            report.write_trust_page(trust_page, page)
    if as_json:
        print_json([{"steps": step_records(verified.steps), "trust": page, "computed": verified.computed}])
    record = verified.require()
    if given["reruns"]:
        print_note(f"Separation: {exam.separation_words(record, [signed.report for signed in verified.reruns])}.")


@click.command(cls=GuardedCommand, name="rerun")
@click.argument("certificate", type=EXISTING)
@click.option("--paper", type=EXISTING, required=True, help="paper.json, or its folder (for the sealed half).")
@generator_options
@patience_options
@click.option("--ledger", type=EXISTING, help="Gets the access entry and the finding; needed with --sealed-key.")
@click.option("--sealed-key", type=KEY, help="A key that opens the sealed half: re-runs all of it.")
@click.option("--opened", type=EXISTING, help="The opened paper of a retired one: re-runs all of it without a key.")
@key_option("Your own key file, to sign with.")
@click.option("--out", type=_RERUN, required=True, help="File for the counter-signed report.")
def rerun_(
    certificate: Path,
    paper: Path,
    model: str | None,
    endpoint: str | None,
    endpoint_model: str | None,
    api_key_env: str | None,
    ledger: Path | None,
    sealed_key: Path | None,
    opened: Path | None,
    key: Path,
    out: Path,
    patience: Patience,
) -> None:
    """Ask the problems of CERTIFICATE again, with its sampling and seed, and sign what comes out."""
    task = exam.task_of_paper(exam.load_paper(paper))  # before anything else is opened
    registered = exam.load_certificate(certificate).registration.model_digest
    sink = open_sink()
    generator = open_any_generator(
        local_model(model, endpoint, sink, patience=patience),
        endpoint,
        endpoint_model,
        api_key_env,
        registered=registered,
        patience=patience,
        events=sink,
    )
    try:
        signed: Any = exam.rerun(
            certificate,
            paper=paper,
            generator=generator,
            task=task,
            runner=KeyPair.load(key),
            output=out,
            examiner=KeyPair.load(sealed_key) if sealed_key else None,
            ledger=Ledger(ledger) if ledger else None,
            opened=opened,
            events=sink,
        )
    finally:
        generator.close()
    report = signed.report
    print_note(report.statement)
    reach = exam.Reach.of(item.status for item in report.items)
    if reach.failed:
        print_note(f"{reach}; they count as wrong")
    if not report.agrees:
        raise ProcedureError(
            "The re-run does not agree with the certificate.", hint=f"Send {out} to the examiner and the maker."
        )
    sys.stderr.flush()
