"""What the commands for somebody's code share: which model, where to, and what came of it in one word.

In: options. Out: a model that is open, an exit code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from spiritsafe import assist, tasks
from spiritsafe.cli.model_options import (
    MODEL_HELP,
    Patience,
    endpoint_options,
    local_model,
    open_any_generator,
    patience_options,
)
from spiritsafe.cli.paths import EXISTING, MODEL, OutputFolder
from spiritsafe.cli.tables import json_option
from spiritsafe.cli.terminal import TerminalSink
from spiritsafe.core.canonical import JSON
from spiritsafe.core.errors import SpiritsafeError, TaskError
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Sampling

TESTS_FOLDER = "spiritsafe-tests"
"""Where tests are written, and looked for, unless somebody says otherwise."""


def code_options(*, out: str, temperature: float, gate: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add the options that both commands have: which model is asked and how, what runs the code, what is written.

    Args:
        out: Where, unless somebody says otherwise.
        temperature: Likewise.
        gate: What ``--fail-under`` counts.
    """
    options = (
        click.argument("path", type=EXISTING),
        click.option("--model", type=MODEL, help=MODEL_HELP),
        endpoint_options,
        patience_options,
        click.option("--max-tokens", type=click.IntRange(min=1), default=4096, show_default=True, help="Of an answer."),
        click.option("--seed", type=click.IntRange(0, 2**52 - 1), default=0, show_default=True),
        click.option("--temperature", type=click.FloatRange(0.0, 10.0), default=temperature, show_default=True),
        click.option("--python", type=EXISTING, help="What runs Python code, such as .venv/bin/python; it has pytest."),
        json_option,
        click.option("--out", type=OutputFolder(), default=out, show_default=True, help="The only folder written to."),
        click.option(
            "--fail-under", type=click.FloatRange(0.0, 1.0), metavar="SHARE", help=f"Exit code 1 where fewer {gate}."
        ),
        click.option(
            "--overwrite", is_flag=True, help="Replace files in --out that are not as earlier calls left them."
        ),
    )

    def add(function: Callable[..., Any]) -> Callable[..., Any]:
        for option in reversed(options):
            function = option(function)
        return function

    return add


@contextmanager
def opened_model(
    model: str | None, endpoint: str | None, endpoint_model: str | None, api_key_env: str | None, patience: Patience
) -> Iterator[Generator]:
    """The model that was named, until the block ends.

    Raises:
        RecipeError: There is not one model that was named.
        TaskError: The sandbox failed in the block.
    """
    watcher = TerminalSink()
    directory = local_model(model, endpoint, watcher, patience=patience, check=False)
    generator = open_any_generator(
        directory, endpoint, endpoint_model, api_key_env, patience=patience, num_questions=1, events=watcher
    )
    try:
        with sandbox_failures():
            yield generator
    finally:
        generator.close()


@contextmanager
def sandbox_failures() -> Iterator[None]:
    """Tell of a sandbox that failed in the block.

    Raises:
        TaskError: It did.
    """
    try:
        yield
    except tasks.SandboxFailure as error:
        raise TaskError(
            f"The sandbox failed: {error}.",
            hint=error.hint or "Run it again; `spiritsafe doctor` shows what this machine can hold.",
        ) from error


def environment_named(python: Path | None) -> assist.PythonEnvironment | None:
    """That of ``--python``, if it was given.

    Raises:
        TaskError: It is no Python in which tests can be run.
    """
    return None if python is None else assist.environment_of(python)


def sampling_inputs(sampling: Sampling, patience: Patience) -> dict[str, JSON]:
    """What answers hang on beside the model and the seed."""
    return {"temperature": sampling.temperature, "max_tokens": sampling.max_tokens, "thinks": patience.thinks}


def refuse_trouble(subject: assist.Subject) -> None:
    """Have the file run before anything is asked.

    Raises:
        TaskError: It cannot be run.
    """
    with sandbox_failures():
        trouble = subject.trouble()
    if trouble is not None:
        raise TaskError(trouble.reason, hint=trouble.hint)


def refuse_below(share: float, least: float | None, what: str) -> None:
    """End with exit code 1 where too little was reached.

    Raises:
        SpiritsafeError: It is less than what was asked for.
    """
    if least is not None and share < least:
        raise SpiritsafeError(
            f"{what} is {share:.1%}, below {least:.1%}.",
            hint="Everything is written; ask a better model or give more --budget, or lower --fail-under.",
        )
