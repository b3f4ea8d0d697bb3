"""``spiritsafe exam import|export``: doors to other tools.

What comes in is practice; what goes out is what a certificate says.
"""

from __future__ import annotations

from pathlib import Path

import click

from spiritsafe import exam
from spiritsafe.cli.paths import EXISTING, KEY, GuardedCommand, Kind, OutputFile
from spiritsafe.cli.tables import json_option, print_json
from spiritsafe.cli.terminal import print_note, print_result
from spiritsafe.core.errors import RecipeError
from spiritsafe.core.files.atomic import write_json
from spiritsafe.core.files.reading import parse_json
from spiritsafe.ledger import KeyPair

_PRACTICE = OutputFile(Kind("a practice run", lambda data: data.startswith(b'{"evidence":"practice",')))


def _is_export(data: bytes) -> bool:
    value = parse_json(data, "it")
    return isinstance(value, dict) and not {"_type", "payloadType", "schema_version"}.isdisjoint(value)


_EXPORT = OutputFile(Kind("an export", _is_export))


def _read(
    file: Path, results: Path | None, scorer: str | None, metric: str | None, filter_name: str | None
) -> exam.PracticeRun:
    """The run in a file, by its ending.

    Raises:
        RecipeError: An option is for the other tool's files, or nothing here reads a file of this name.
    """
    theirs = {"--results": results, "--metric": metric, "--filter": filter_name}
    if file.suffix == ".jsonl":
        if scorer is not None:
            raise RecipeError("--scorer is for logs of Inspect AI.", hint="Use --metric for lm-evaluation-harness.")
        return exam.read_lm_eval_samples(file, results=results, metric=metric, filter_name=filter_name)
    if file.suffix in (".eval", ".json"):
        if given := [name for name, value in theirs.items() if value is not None]:
            raise RecipeError(f"{given[0]} is for files of lm-evaluation-harness.", hint="Use --scorer for Inspect AI.")
        return exam.read_inspect_log(file, scorer=scorer)
    raise RecipeError(
        f"Nothing here reads {file.name}.",
        hint="Give a log of Inspect AI (.eval, .json) or samples_<task>_<time>.jsonl of lm-evaluation-harness.",
    )


@click.command(cls=GuardedCommand, name="import")
@click.argument("file", type=EXISTING)
@click.option("--out", type=_PRACTICE, required=True, help="File for the practice run (JSON lines).")
@click.option("--scorer", help="Inspect AI: whose scores count, where several graded.")
@click.option("--results", type=EXISTING, help="lm-evaluation-harness: results_<time>.json, if not beside FILE.")
@click.option("--metric", help="lm-evaluation-harness: what says that an answer is right.")
@click.option("--filter", "filter_name", help="lm-evaluation-harness: whose answers count.")
@click.option("--against", type=EXISTING, help="Another practice run of the task, to compare with.")
@json_option
def import_(
    file: Path,
    out: Path,
    scorer: str | None,
    results: Path | None,
    metric: str | None,
    filter_name: str | None,
    against: Path | None,
    as_json: bool,
) -> None:
    """Read another tool's log as practice: FILE is .eval, .json (Inspect AI) or samples_….jsonl (lm-eval)."""
    run = _read(file, results, scorer, metric, filter_name)
    other = exam.load_practice(against) if against is not None else None
    difference = exam.compare_practice(run, other) if other is not None else None
    exam.write_practice(out, run)
    header, scores = run.header, exam.score_practice(run)
    if as_json:
        print_json([{"header": header, "scores": scores, "against": difference}])
        return
    accuracy, tries = scores.accuracy, f" × {header.num_tries} tries" if header.num_tries > 1 else ""
    print_result(
        f"{header.model} on {header.task}: {header.num_problems} problems{tries}, {header.tool}, {header.scorer}"
    )
    print_result(", ".join(f"{count} {status}" for status, count in scores.counts.items()))
    print_result(f"accuracy {accuracy.value:.1%} [{accuracy.low:.1%}, {accuracy.high:.1%}], all in the denominator")
    for remark in header.remarks:
        print_result(f"- {remark}")
    if other is not None and difference is not None:
        shown = difference.difference
        print_result(
            f"against {other.header.model}: {100 * shown.value:+.1f} points [{100 * shown.low:+.1f}, "
            f"{100 * shown.high:+.1f}], p = {difference.p_value:.2g} ({difference.test})"
        )
    print_result(exam.PRACTICE_STATEMENT)


@click.command(cls=GuardedCommand, name="export")
@click.argument("certificate", type=EXISTING)
@click.option("--format", "kind", type=click.Choice(list(exam.EXPORT_FORMATS)), required=True, help="Whose schema.")
@click.option("--key", type=KEY, help="in-toto: sign the statement with this key file, in a DSSE envelope.")
@click.option("--out", type=_EXPORT, required=True, help="File for the export (JSON).")
def export_(certificate: Path, kind: str, key: Path | None, out: Path) -> None:
    """Say what CERTIFICATE says in another schema. `exam verify` it first: only its signatures are checked here."""
    record = exam.load_certificate(certificate)
    document, words = exam.export_certificate(record, kind, KeyPair.load(key) if key is not None else None)
    write_json(out, document)
    if words:
        print_note(words)
