"""``spiritsafe serve TARGET…``: a server over models, until it is told to end."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import os
import re
import socket
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Literal

import click

from spiritsafe import serve
from spiritsafe.cli.answers.serve.targets import Target, find_targets
from spiritsafe.cli.model_options import local_model
from spiritsafe.cli.paths import EXISTING, LEDGER, NAMES_FILES, GuardedCommand
from spiritsafe.cli.terminal import TerminalSink, print_result
from spiritsafe.core.errors import RecipeError
from spiritsafe.core.files.atomic import ensure_directory
from spiritsafe.core.files.digests import digest_model

_Dtype = Literal["float32", "bfloat16"]
_DEVICE = re.compile(r"cpu|cuda(:[0-9]{1,3})?")
_MOST = 1_000_000
_LONGEST_S = 86_400.0


def _device(context: click.Context, parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _DEVICE.fullmatch(value):
        raise click.BadParameter(f"{value!r} is no device: give cpu, cuda or cuda:N.", context, parameter)
    return value


@click.command(cls=GuardedCommand, name="run")
@click.argument("targets", metavar="TARGET...", type=NAMES_FILES, nargs=-1, required=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; 0.0.0.0: all.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8080, show_default=True, help="0: any that is free.")
@click.option(
    "--router",
    "router_file",
    type=EXISTING,
    help="router.json of `spiritsafe serve calibrate`: the model `auto` asks the rung that it picks.",
)
@click.option("--name", help="What the model is called, where there is only one.")
@click.option("--keys", "keys_file", type=EXISTING, help="Who may ask; see `spiritsafe serve key`.")
@click.option("--no-keys", is_flag=True, help="Let everybody ask who reaches the port, from other machines too.")
@click.option("--usage", "usage_file", type=LEDGER, help="SQLite file of who used how much; made if missing.")
@click.option(
    "--max-batch", type=click.IntRange(1, 4096), default=64, show_default=True, help="Answers at a time, a model."
)
@click.option(
    "--queue", type=click.IntRange(0, _MOST), default=256, show_default=True, help="Requests that wait, a model."
)
@click.option(
    "--queue-timeout",
    type=click.FloatRange(0, _LONGEST_S),
    default=60.0,
    show_default=True,
    help="Seconds that a request waits.",
)
@click.option(
    "--shutdown-timeout",
    type=click.FloatRange(0, _LONGEST_S),
    default=30.0,
    show_default=True,
    help="Seconds that requests under way may take once the server is told to end.",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16"]),
    help="Number format of weights; what the machine does best, when left out. Not for GGUF files.",
)
@click.option(
    "--device",
    callback=_device,
    help="Where weights are: cpu, cuda or cuda:N; a GPU where there is one, when left out. Not for GGUF files.",
)
@click.option(
    "--max-context",
    type=click.IntRange(2, 1 << 31),
    help="Most tokens of prompt and answer together; each model's own, when left out, of a GGUF file as far as "
    "memory goes.",
)
def serve_run(
    targets: tuple[str, ...],
    host: str,
    port: int,
    router_file: Path | None,
    name: str | None,
    keys_file: Path | None,
    no_keys: bool,
    usage_file: Path | None,
    max_batch: int,
    queue: int,
    queue_timeout: float,
    shutdown_timeout: float,
    dtype: _Dtype | None,
    device: str | None,
    max_context: int | None,
) -> None:
    """Serve models until SIGTERM or Ctrl-C, which let requests under way end; a second one ends at once.

    A TARGET is a release, a run (its examined models), a model's directory, a GGUF file, or another source such as
    hf:org/name; name=PATH gives it a name. SIGHUP reads the keys again. `spiritsafe serve TARGET` is the same.
    """
    _require_engines()
    keys = _keys(keys_file, no_keys, host)
    found = find_targets(targets, name)
    router = None if router_file is None else _router(router_file, found)
    with ExitStack() as stack:
        opened = stack.enter_context(serve.open_port(host, port))
        usage = None if usage_file is None else serve.UsageLedger(usage_file)
        if usage is not None:
            stack.callback(usage.close)
        settings = serve.ServerSettings(
            keys=keys,
            only_local=keys is None and not no_keys,
            usage=usage,
            router=router,
            queues=serve.QueueLimits(places=max_batch, most_waiting=queue, longest_wait_s=queue_timeout),
            shutdown_timeout_s=shutdown_timeout,
        )
        sink = TerminalSink()
        placed = [(target, _directory(target, stack, sink)) for target in found]
        if router is not None:
            serve.require_served(router, [target.digest or digest_model(place) for target, place in placed])

        def command(place: Path) -> list[str]:
            return serve.worker_command(place, device=device, dtype=dtype, max_batch=max_batch, max_context=max_context)

        models = [_to_serve(target, place, command(place)) for target, place in placed]
        with _log_on_stderr():
            asyncio.run(
                serve.serve(models, opened, settings, watcher=sink, ready=lambda ready: _say(ready, opened, keys))
            )


def _require_engines() -> None:
    """Workers need what the light install leaves out; better said now than when the first one dies of it."""
    for name in ("torch", "transformers"):
        if importlib.util.find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _keys(file: Path | None, no_keys: bool, host: str) -> serve.KeyRing | None:
    """The keys, unless there are none and that is safe or wanted."""
    if file is not None and no_keys:
        raise RecipeError("Both --keys and --no-keys were given.", hint="Leave one of them out.")
    if file is None and not no_keys and not serve.is_loopback(host):
        raise RecipeError(
            f"--host {host} is reached from other machines, and no keys were given.",
            hint="Make some (spiritsafe serve key NAME --keys keys.toml) and give --keys keys.toml; or say --no-keys.",
        )
    return None if file is None else serve.KeyRing(file)


def _router(file: Path, found: Sequence[Target]) -> serve.Router:
    """The router, if it can be served beside these models: as far as that is known before any of them is looked at.

    Raises:
        RecipeError: A model has the router's name.
        SpiritsafeError: The file is no router, or one of other features.
    """
    router = serve.read_router(file)
    if any(target.name == serve.AUTO for target in found):
        raise RecipeError(
            f"A model is called {serve.AUTO}, which is what the router is called.",
            hint="Give the model another name: name=PATH.",
        )
    if all(target.digest is not None for target in found):
        serve.require_served(router, [target.digest for target in found if target.digest is not None])
    return router


def _directory(target: Target, stack: ExitStack, sink: TerminalSink) -> Path:
    """Where a model's files are; fetched where they are not here."""
    source = target.source if not target.parts else str(stack.enter_context(_parts_alone(target)))
    directory = local_model(source, None, sink)
    if directory is None:
        raise RecipeError(f"{source} is no model.", hint="Give a model's directory or file.")
    return directory


def _to_serve(target: Target, directory: Path, command: list[str]) -> serve.ModelToServe:
    return serve.ModelToServe(
        name=target.name,
        start=lambda: serve.WorkerEngine(command),
        created=int(os.stat(directory).st_mtime),
        digest=target.digest,
        certificates=target.certificates,
    )


@contextmanager
def _parts_alone(target: Target) -> Iterator[Path]:
    """A folder that holds a release's Hugging Face directory and nothing else: its digest is over these files."""
    with tempfile.TemporaryDirectory(prefix="spiritsafe-serve-") as folder:
        for part in target.parts:
            link = Path(folder, part)
            ensure_directory(link.parent)
            link.symlink_to(Path(target.source, part).resolve())
        yield Path(folder)


@contextmanager
def _log_on_stderr() -> Iterator[None]:
    log = logging.getLogger("spiritsafe")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)


def _say(models: Mapping[str, serve.Deployment], opened: socket.socket, keys: serve.KeyRing | None) -> None:
    """The line that says that it answers; on stdout, for programs that wait for it."""
    if keys is not None:
        state = f"{len(keys)} keys" if len(keys) > 1 else "1 key"
    elif serve.is_loopback(opened.getsockname()[0]):
        state = "no keys: for this machine only"
    else:
        state = "no keys: for everybody who reaches it"
    print_result(f"{serve.url_of(opened)} serves {', '.join(models)} ({state})")
