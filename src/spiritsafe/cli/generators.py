"""The options that say which model answers: local weights in their own process, or an endpoint."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from spiritsafe.cli.paths import MODEL
from spiritsafe.core.canonical import digest_directory
from spiritsafe.core.errors import IntegrityError, RecipeError
from spiritsafe.core.files import read_json
from spiritsafe.core.generator import Generator
from spiritsafe.core.records import Checkpoint
from spiritsafe.rollouts import PipeGenerator, RemoteGenerator

__all__ = ["checkpoint_of", "endpoint_options", "generator_options", "open_any_generator"]

_LINEAGE = "lineage.json"


def checkpoint_of(directory: Path) -> Checkpoint:
    """A local model's lineage, its digest recomputed: the weights that sit are the weights that were registered.

    Raises:
        IntegrityError: The directory is not what its lineage describes.
    """
    checkpoint = Checkpoint.from_json(read_json(directory / _LINEAGE))
    found = digest_directory(directory, exclude=[_LINEAGE])
    if found != checkpoint.digest:
        raise IntegrityError(
            f"{directory} is not what its {_LINEAGE} describes: {found} instead of {checkpoint.digest}.",
            hint="Restore the model directory; changed weights need their own registration.",
        )
    return checkpoint


def endpoint_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--endpoint``, ``--endpoint-model`` and ``--api-key-env``."""
    for option in (
        click.option("--api-key-env", help="Name of the environment variable that holds the endpoint's key."),
        click.option("--endpoint-model", help="Model name to ask the endpoint for."),
        click.option("--endpoint", help="Base URL of an OpenAI-compatible server."),
    ):
        function = option(function)
    return function


def generator_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--model`` and the endpoint's options."""
    return click.option("--model", type=MODEL, help="A local model directory.")(endpoint_options(function))


def open_any_generator(
    model: str | None,
    endpoint: str | None,
    endpoint_model: str | None,
    api_key_env: str | None,
    *,
    max_batch: int = 64,
    registered: str | None = None,
) -> Generator:
    """Local weights in a worker process, or a remote endpoint; ``registered`` is the digest that it is known by.

    Raises:
        RecipeError: Neither or both were given, or the endpoint's model is missing.
    """
    if (model is None) == (endpoint is None):
        raise RecipeError("No single model was named.", hint="Give either --model DIRECTORY or --endpoint URL.")
    if model is not None:
        return PipeGenerator([sys.executable, "-m", "spiritsafe.models.worker", model, "--max-batch", str(max_batch)])
    if endpoint is None or endpoint_model is None:
        raise RecipeError("The endpoint's model is not named.", hint="Add --endpoint-model NAME.")
    return RemoteGenerator(endpoint, endpoint_model, api_key_env=api_key_env, registered=registered)
