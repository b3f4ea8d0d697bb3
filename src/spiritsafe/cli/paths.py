"""Paths on the command line: what a command reads, what it appends to, what it writes and could therefore overwrite.

Every command is a :class:`GuardedCommand`, and every path of it has one of the types here (a test goes through all of
them). Before a command does anything, each of its outputs is held against each of its inputs: a file that it reads, a
key and a ledger are never replaced, under whatever name, and a file that is there already only if it is of the same
kind as what will be written.
"""

from __future__ import annotations

import math
import os
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final
from urllib.parse import unquote

import click

from spiritsafe.core.errors import RecipeError, SpiritsafeError
from spiritsafe.core.files.reading import is_descriptor, parse_json, read_bytes
from spiritsafe.core.records import Record


@final
@dataclass(frozen=True, slots=True)
class Kind:
    """What a file is.

    Attributes:
        name: With its article, for errors.
        is_one: Whether a file's bytes are of this kind; may raise what readers raise.
    """

    name: str
    is_one: Callable[[bytes], bool]

    def matches(self, path: Path) -> bool:
        """Whether the file is of this kind, or empty."""
        try:
            data = read_bytes(path)
            return not data or self.is_one(data)
        except (SpiritsafeError, LookupError, TypeError, ValueError):
            return False


def record_kind(name: str, record: Callable[[], type[Record]]) -> Kind:
    """Files that hold one record of a class, which is asked for when there is such a file."""
    return Kind(name, lambda data: bool(record().from_json(parse_json(data, name))))


PAGE = Kind("a page of spiritsafe", lambda data: data.startswith(b"<!doctype html>") and b"default-src" in data[:2000])


class _Input(click.Path):
    """What is read, or appended to: no output may take its place."""

    def __init__(self, *, exists: bool = True, file_okay: bool = True) -> None:
        super().__init__(exists=exists, file_okay=file_okay, path_type=Path)


EXISTING = _Input()
"""A file or folder that is read."""

FOLDER = _Input(file_okay=False)
"""A folder that is read."""

LEDGER = _Input(exists=False)
"""A ledger that is appended to; made if missing."""

NEW_KEY = _Input(exists=False)
"""A key file; made if missing. Of ``exam key`` only."""


@final
class _Key(_Input):
    """A key file that exists: a name that was mistyped must not become a new identity."""

    def __init__(self) -> None:
        super().__init__(exists=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not os.path.lexists(value):
            self.fail(
                f"There is no key {value}. Check the name, or make a key: "
                f'spiritsafe exam key {shlex.quote(os.fsdecode(value))} --holder "YOUR NAME"',
                param,
                ctx,
            )
        return super().convert(value, param, ctx)


KEY = _Key()
"""A key file that exists."""


@final
class NamesFiles(click.types.StringParamType):
    """A text in which files may be named: a recipe, a task over a data file, a claim; or one that names a model.

    Args:
        model: It is a model as a whole: a folder, or a source such as ``gguf:/path/file.gguf``.
    """

    def __init__(self, *, model: bool = False) -> None:
        self._model = model

    def paths(self, text: str) -> list[Path]:
        """The files that are named in it, or the model's folder or file."""
        if self._model:
            path = Path(os.path.expanduser(text.removeprefix("gguf:")))
            return [path] if os.path.isdir(path) or os.path.isfile(path) else []
        words = [text, *re.split(r"[\s:?&=|*]+", text)]
        found = {Path(name) for word in words for name in (word, unquote(word)) if name and "\0" not in name}
        return [path for path in found if os.path.isfile(path)]


NAMES_FILES = NamesFiles()
"""A recipe, a task or a claim."""

MODEL = NamesFiles(model=True)
"""A model: its folder, or any other source of one."""


@final
class OutputFile(click.Path):
    """A file that is written.

    Args:
        kind: What it will be; by its name, where that says what.
    """

    def __init__(self, kind: Kind | Callable[[Path], Kind]) -> None:
        super().__init__(path_type=Path)
        self.kind = kind

    def files(self, path: Path) -> dict[Path, Kind | None]:
        """The file and its kind."""
        return {path: self.kind if isinstance(self.kind, Kind) else self.kind(path)}


@final
class OutputFolder(click.Path):
    """A folder that files are written into.

    Args:
        files: Gives their names and kinds. None: whatever reads such a file checks that it is the command's own.
    """

    def __init__(self, files: Callable[[], Mapping[str, Kind | None]] = dict) -> None:
        super().__init__(path_type=Path)
        self._files = files

    def files(self, path: Path) -> dict[Path, Kind | None]:
        """The files in it, and their kinds."""
        return {path / name: kind for name, kind in self._files().items()}


def _same(one: Path, other: Path) -> bool:
    """Whether two names are of one file: a link and what it leads to are, and so are two hard links."""
    try:
        return os.path.samefile(one, other)
    except OSError:  # one of them is not there (yet)
        return os.path.realpath(one) == os.path.realpath(other)


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (tuple, list)):
        for part in value:
            yield from _flat(part)
    elif value is not None:
        yield value


def _label(param: click.Parameter) -> str:
    return max(param.opts, key=len) if isinstance(param, click.Option) else param.human_readable_name.upper()


def check_words(command: click.Command, values: Mapping[str, Any]) -> None:
    """Refuse words that are no Unicode text, and numbers that are none: no range of click's keeps NaN out.

    Args:
        command: Its parameters say which values are words; names of files may be any bytes.

    Raises:
        RecipeError: There is one.
    """
    for param in command.params:
        for value in _flat(values.get(param.name or "")):
            if isinstance(value, float) and not math.isfinite(value):
                raise RecipeError(f"{_label(param)} is {value}.", hint="Give a number.")
            is_text = isinstance(value, str) and not isinstance(param.type, NamesFiles)
            if is_text and any("\ud800" <= char <= "\udfff" for char in value):
                raise RecipeError(
                    f"{_label(param)} is no text: some of its bytes are no characters here.",
                    hint="Type it anew, in a shell whose locale is UTF-8 (export LC_ALL=C.UTF-8).",
                )


def check_outputs(command: click.Command, values: Mapping[str, Any]) -> None:
    """Refuse outputs that would destroy something.

    Args:
        command: Its parameters say which values are paths, and of what.

    Raises:
        RecipeError: An output is an input too, or a file of another kind is in its place.
    """
    given = [(param, value) for param in command.params if param.name for value in _flat(values.get(param.name))]
    taken: list[tuple[Path, str, Kind | None]] = []
    for param, value in given:
        if isinstance(param.type, _Input):
            taken.append((value, _label(param), None))
        elif isinstance(param.type, NamesFiles):
            taken += [(path, _label(param), None) for path in param.type.paths(value)]
    for param, value in given:
        if isinstance(param.type, (OutputFile, OutputFolder)):
            _check_output(value, param.type, _label(param), taken)


def _check_output(
    path: Path, kind: OutputFile | OutputFolder, label: str, taken: list[tuple[Path, str, Kind | None]]
) -> None:
    """One output against what is taken already; then what it writes is taken, too."""
    if isinstance(kind, OutputFolder):
        _refuse_same(path, label, None, [one for one in taken if os.path.isdir(one[0])])
        if os.path.exists(path) and not os.path.isdir(path):
            raise RecipeError(f"{label} {path} is a file, not a folder.", hint="Give the path of a folder.")
    for file, wanted in kind.files(path).items():
        if is_descriptor(file):  # a file beside it would be put in its place
            raise RecipeError(
                f"{label} {path} is no place for a file.", hint=f"Nothing was done. Give {label} the path of a file."
            )
        _refuse_same(file, label, wanted, taken)
        if os.path.exists(file) and wanted is not None and not wanted.matches(file):
            raise RecipeError(
                f"{label} {path} would replace {file}, which is not {wanted.name}.",
                hint=f"Nothing was done. Give {label} another path, or move {file.name} away.",
            )
        taken.append((file, label, wanted))


def _refuse_same(path: Path, label: str, kind: Kind | None, taken: list[tuple[Path, str, Kind | None]]) -> None:
    for other, its_label, its_kind in taken:
        if (kind is None or kind is not its_kind) and _same(path, other):
            raise RecipeError(
                f"{label} {path} would replace what {its_label} names.",
                hint=f"Nothing was done. Give {label} a path of its own.",
            )


class GuardedCommand(click.Command):
    """A command that looks at its outputs before it does anything."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it, unless an output would destroy something."""
        check_words(self, ctx.params)
        check_outputs(self, ctx.params)
        return super().invoke(ctx)


class GuardedGroup(click.Group):
    """A group whose commands are guarded.

    Attributes:
        default: The command that is meant where the first word is none's name.
    """

    command_class = GuardedCommand
    default: str | None = None

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """The first word is a command's name, or the default command is given it."""
        known = {*self.commands, *ctx.help_option_names}
        if self.default in self.commands and args and args[0] not in known:
            args = [str(self.default), *args]
        return super().parse_args(ctx, args)
