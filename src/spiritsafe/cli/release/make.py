"""``spiritsafe release RUN``: files of a finished run's model, their sittings, and one signed directory."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from spiritsafe import models, pipeline, release
from spiritsafe.cli.paths import EXISTING, FOLDER, GuardedCommand, OutputFolder
from spiritsafe.cli.stopping import term_as_interrupt
from spiritsafe.cli.tables import json_option, print_json
from spiritsafe.cli.terminal import TerminalSink, print_note, print_result


@click.command(cls=GuardedCommand, name="make")
@click.argument("run", metavar="RUN", type=FOLDER)
@click.option("--model", metavar="NAME", help="Of the run; what its recipe releases, or the last one, when left out.")
@click.option("--files", metavar="TYPES", default="", help="GGUF files to make of it: q8_0,q4_0.")
@click.option("--no-weights", is_flag=True, help="Without the Hugging Face directory: the files alone.")
@click.option("--title", help="What the release is called.")
@click.option("--version", default=None, help="Of the release.")
@click.option("--about", default=None, help="What the model is for, in a sentence.")
@click.option("--text", "texts", multiple=True, type=EXISTING, help="A licence's text, named by its id: llama3.1.txt.")
@click.option("--out", type=OutputFolder(), help="A new directory for the release; else it lies in the run's.")
@json_option
def release_make(
    run: Path, model: str | None, files: str, no_weights: bool, out: Path | None, as_json: bool, **told: Any
) -> None:
    """Release a model of the finished RUN: files that sat its exams themselves, certificates, card, duties, signature.

    RUN is the folder that `spiritsafe run` printed; `spiritsafe release RUN` is the same. Each file is registered and
    sits the papers that its model sat, before the release is written.
    """
    texts = [str(path.resolve()) for path in told.pop("texts")]
    given = {name: value for name, value in told.items() if value is not None}
    wish = pipeline.LateRelease(
        model=model,
        files=tuple(kind.strip().lower() for kind in files.split(",") if kind.strip()),
        settings={**given, "texts": texts, "weights": not no_weights},
    )
    with term_as_interrupt():
        place = pipeline.release_run(run, wish, cache=models.default_cache(), watcher=TerminalSink())
    if out is not None:
        release.copy_release(place, out)
        place = out
    if as_json:
        print_json([{"release": str(place)}])
        return
    print_note(f"Check it: spiritsafe release verify {shlex.quote(str(place))}")
    print_result(str(place))
