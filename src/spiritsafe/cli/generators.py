"""The options that say which model answers: local weights in their own process, or an endpoint."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import click

from spiritsafe.core.errors import RecipeError
from spiritsafe.core.generator import Generator
from spiritsafe.rollouts import PipeGenerator, RemoteGenerator

__all__ = ["endpoint_options", "generator_options", "open_any_generator"]


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
    return click.option("--model", help="A local model directory.")(endpoint_options(function))


def open_any_generator(
    model: str | None,
    endpoint: str | None,
    endpoint_model: str | None,
    api_key_env: str | None,
    *,
    max_batch: int = 64,
) -> Generator:
    """Local weights in a worker process, or a remote endpoint.

    Raises:
        RecipeError: Neither or both were given, or the endpoint's model is missing.
    """
    if (model is None) == (endpoint is None):
        raise RecipeError("No single model was named.", hint="Give either --model DIRECTORY or --endpoint URL.")
    if model is not None:
        return PipeGenerator([sys.executable, "-m", "spiritsafe.models.worker", model, "--max-batch", str(max_batch)])
    if endpoint is None or endpoint_model is None:
        raise RecipeError("The endpoint's model is not named.", hint="Add --endpoint-model NAME.")
    return RemoteGenerator(endpoint, endpoint_model, api_key_env=api_key_env)
