"""What the commands for somebody's code share: which model, where to, and what came of it in one word.

In: options. Out: a model that is open, files that nobody misses, an exit code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from spiritsafe import tasks
from spiritsafe.cli.model_options import (
    MODEL_HELP,
    Patience,
    endpoint_options,
    local_model,
    open_any_generator,
    patience_options,
)
from spiritsafe.cli.paths import MODEL
from spiritsafe.cli.terminal import TerminalSink
from spiritsafe.core.errors import RecipeError, SpiritsafeError, TaskError
from spiritsafe.core.generator import Generator

TESTS_FOLDER = "spiritsafe-tests"
"""Where tests are written, and looked for, unless somebody says otherwise."""


def asking_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say which model is asked, and how."""
    for option in (
        click.option("--seed", type=click.IntRange(0, 2**52 - 1), default=0, show_default=True),
        click.option("--max-tokens", type=click.IntRange(min=1), default=4096, show_default=True, help="Of an answer."),
        patience_options,
        endpoint_options,
        click.option("--model", type=MODEL, help=MODEL_HELP),
    ):
        function = option(function)
    return function


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
        yield generator
    except tasks.SandboxFailure as error:
        raise TaskError(
            f"The sandbox failed: {error}.", hint="Run it again; `spiritsafe doctor` shows what this machine can hold."
        ) from error
    finally:
        generator.close()


def refuse_to_replace(files: Sequence[Path], *, overwrite: bool) -> None:
    """Keep what is there, unless it may be replaced.

    Raises:
        RecipeError: One of the files is there.
    """
    there = [path for path in files if path.exists()]
    if there and not overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise RecipeError(
            f"{there[0]}{more} is there already.",
            hint="Nothing was done. Give another --out, or add --overwrite to replace it.",
        )


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
