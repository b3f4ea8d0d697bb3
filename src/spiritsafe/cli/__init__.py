"""The command line: one file a command, loaded only when it is called; a new one is its file alone.

In: arguments. Out: exit codes. An error that spiritsafe raises on purpose becomes one paragraph on stderr and its own
exit code; ``--verbose`` adds the traceback.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import importlib.util
import io
import json
import os
import pkgutil
import re
import sys
import traceback
from functools import cache
from typing import Any, NamedTuple

import click

from spiritsafe import __version__
from spiritsafe.core.errors import CompatibilityError, RecipeError, StorageError
from spiritsafe.core.process.gc_pause import rare_collections
from spiritsafe.core.process.out_of_memory import is_out_of_memory, memory_error
from spiritsafe.core.process.torchrun import is_follower, linger
from spiritsafe.core.process.waiting_threads import wait_asleep
from spiritsafe.core.text.safe_text import one_line, visible

__all__ = ["main"]


def main() -> None:
    """Entry point: run the command, turn errors into one paragraph and an exit code."""
    wait_asleep()
    if is_follower():
        _follow()
    else:
        _lead()


def _follow() -> None:
    """Run it beside torchrun's first process, which speaks for all; ``--verbose`` shows what goes wrong in this one."""
    is_verbose = "--verbose" in sys.argv
    with open(os.devnull, "w", encoding="utf-8") as nowhere:
        if not is_verbose:
            sys.stdout = sys.stderr = nowhere
        try:
            cli.main(standalone_mode=False)
        except (click.Abort, KeyboardInterrupt):
            sys.exit(130)
        except Exception as error:  # noqa: BLE001  as in the first process
            if is_verbose:
                traceback.print_exc()
            linger()
            sys.exit(getattr(error, "exit_code", 70))
        finally:
            sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__


def _lead() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal has no letters for
    try:
        cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt) as error:
        words = str(error) or str(error.__cause__ or "") or "Stopped."  # click makes an Abort of an interrupt
        click.echo(f"\n{words} Run the same command again to go on.", err=True)
        sys.exit(130)
    except Exception as error:  # noqa: BLE001  the one boundary: whatever escapes becomes a message
        if "--verbose" in sys.argv:
            traceback.print_exc()
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT) and error.filename is None:
            hint = "Free some space, or send the output elsewhere, and run the same command again."
            error = StorageError(f"Nothing more can be written: {error.strerror}.", hint=hint)
        if isinstance(error, ModuleNotFoundError):
            error = _missing_part(error) or error
        if is_out_of_memory(error):
            error = memory_error(error)
        diagnostics = getattr(error, "diagnostics", None)
        if diagnostics is None:
            click.echo(
                f"Unexpected error: {type(error).__name__}: {one_line(str(error))} This is a defect in spiritsafe: "
                "please report it with the output of the same command with --verbose in front.",
                err=True,
            )
            sys.exit(70)
        if os.environ.get("SPIRITSAFE_PROGRESS") == "json":
            # the reader is another spiritsafe process (pipeline/stages/exam.py), which raises the error again
            record = {"kind": "error", "type": type(error).__name__, "message": str(error), "hint": _error_hint(error)}
            click.echo(json.dumps(record))
        show = visible if isinstance(error, RecipeError) else one_line  # a recipe's own lines; or a stranger's words
        click.echo(f"Error: {show(diagnostics())}", err=True)
        sys.exit(getattr(error, "exit_code", 1))


def _error_hint(error: Exception) -> str:
    """The next step that an error carries."""
    return str(getattr(error, "hint", ""))


_HELP = re.compile(r'"""``spiritsafe (\w+)[^`]*``: ([^\n"]+)')


class _Commands(click.Group):
    """The files that begin with their name and a line of help: each is imported when it is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_found())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _found():
            return None
        with rare_collections():  # what is loaded stays
            command: click.Command = importlib.import_module(_found()[cmd_name].module).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if not ctx.resilient_parsing and args and args[0][:1].isalpha() and args[0] not in _found():
            ctx.fail(f"No such command {args[0]!r}.{_meant(args[0])}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, one.help) for name, one in sorted(_found().items())])


class _Found(NamedTuple):
    """A command that was not imported yet: where it is, and its line of help."""

    module: str
    help: str


@cache
def _found() -> dict[str, _Found]:
    """By the commands' names; read from their sources, wherever these lie, so that ``--help`` stays quick.

    A folder that is no command holds some.
    """
    found = {}
    files = list(pkgutil.iter_modules(__path__, f"{__name__}."))
    for file in files:
        spec = importlib.util.find_spec(file.name)
        loader: Any = spec.loader if spec is not None else None
        if says := _HELP.match(loader.get_source(file.name)):
            found[says[1]] = _Found(file.name, says[2])
        elif spec is not None and file.ispkg:
            files += pkgutil.iter_modules(spec.submodule_search_locations, f"{file.name}.")
    return found


_ELSEWHERE = {
    "new": ("init", "create", "config", "cp"),
    "run": ("train", "sft", "tune", "distil", "distill", "distillation", "grpo", "resume", "start"),
    "plan": ("validate", "check", "estimate", "dry-run"),
    "recipes": ("recipe", "ls", "list", "examples"),
    "sample": ("generate", "chat", "infer", "answer"),
    "exam": ("eval", "evaluate", "test", "bench", "score"),
    "tasks": ("task", "data", "dataset", "datasets", "preprocess"),
    "models": ("model", "fetch", "download", "pull"),
    "doctor": ("env", "info", "version"),
    "report": ("summary", "results", "view"),
    "compare": ("diff", "versus"),
    "serve": ("server", "api", "host", "deploy", "endpoint"),
    "release": ("publish", "push", "upload", "export", "package"),
}
"""What other tools call what our commands do."""


def _meant(word: str) -> str:
    """A sentence that names the command that was probably meant; nothing where none is near."""
    known = _found()
    meant = [ours for ours, theirs in _ELSEWHERE.items() if word.lower() in theirs and ours in known]
    meant = meant or difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.7)
    return f" Did you mean {meant[0]!r}?" if meant else ""


_EXTRAS = {
    **dict.fromkeys(
        ("gguf", "huggingface_hub", "jinja2", "safetensors", "tokenizers", "torch", "transformers"), "train"
    ),
    **dict.fromkeys(("llguidance", "prometheus_client"), "serve"),
}
"""Which extra brings a module."""


def _missing_part(error: ModuleNotFoundError) -> CompatibilityError | None:
    """The error of a command that needs more than the light install; None: it is another module that is missing."""
    name = (error.name or "").partition(".")[0]
    if name not in _EXTRAS:
        return None
    return CompatibilityError(
        f"This command needs {name}, which the light install leaves out.",
        hint=f"Install it with: pip install 'spiritsafe[{_EXTRAS[name]}]'",
    )


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="spiritsafe")
@click.option("--verbose", is_flag=True, help="Show the traceback of an error.")
def cli(verbose: bool) -> None:
    """Distil one big open language model into a ladder of small ones, each certified by a sealed exam."""
