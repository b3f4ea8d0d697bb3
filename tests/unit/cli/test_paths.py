"""No output of any command takes the place of an input, a key, a ledger, or a file of another kind."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

from spiritsafe import cli
from spiritsafe.cli import paths
from spiritsafe.cli.paths import GuardedCommand, Kind, NamesFiles, OutputFile, OutputFolder, record_kind
from spiritsafe.core.errors import RecipeError
from spiritsafe.ledger import KeyPair
from spiritsafe.ledger.records import PublicKey

OURS = (paths._Input, NamesFiles, OutputFile, OutputFolder)


def commands() -> Iterator[tuple[str, click.Command]]:
    context = click.Context(cli.cli)
    for name in cli.cli.list_commands(context):
        command = cli.cli.get_command(context, name)
        assert command is not None
        inner = command.commands.items() if isinstance(command, click.Group) else [("", command)]
        yield from ((f"{name} {sub}".strip(), each) for sub, each in inner)


COMMANDS = dict(commands())
READS = [(name, param) for name, each in COMMANDS.items() for param in each.params if isinstance(param.type, OURS[:2])]
WRITES = [(name, param) for name, each in COMMANDS.items() for param in each.params if isinstance(param.type, OURS[2:])]
BOTH = [
    pytest.param(name, out, read, id=f"{name} {out.opts[0]}={read.opts[0]}")
    for name, out in WRITES
    for its, read in READS
    if its == name
]


def test_every_command_is_guarded_and_every_path_says_what_it_is() -> None:
    for name, command in COMMANDS.items():
        assert isinstance(command, GuardedCommand) or not command.params, name
        for param in command.params:
            assert not isinstance(param.type, (click.Path, click.File)) or isinstance(param.type, OURS), (name, param)
    assert len(WRITES) >= 20
    assert {"--out", "--work", "--trust-page", "--root", "--curve"} <= {param.opts[0] for _, param in WRITES}
    written = {name for name, _ in WRITES}
    for name, command in COMMANDS.items():  # what is called an output is one
        assert name in written or not {"--out", "--root"} & {opt for p in command.params for opt in p.opts}, name


def test_keys_are_made_by_one_command_only() -> None:
    makers = [name for name, param in READS if param.type is paths.NEW_KEY]
    assert makers == ["exam key", "release key"]
    keys = {(name, opt) for name, param in READS if param.type is paths.KEY for opt in param.opts}
    named = {(name, opt) for name, c in COMMANDS.items() for p in c.params for opt in p.opts if opt.endswith("-key")}
    public = {("release push", "--key"), ("release verify", "--key")}
    assert named - keys - public == {("exam verify", "--witness-key")}  # a text


class Desk:
    """A folder with a file for whatever a command wants."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.key = self.make_key("some.key")
        self.folder = root / "folder"
        self.folder.mkdir()

    def make_key(self, name: str) -> Path:
        path = self.root / name
        if not path.exists():
            KeyPair.generate("Eve").save(path)
        return path

    def value(self, param: click.Parameter) -> str:
        """Something for a parameter that is required."""
        if param.type is paths.KEY:
            return str(self.make_key(f"{param.name}.key"))
        if param.type is paths.FOLDER or (isinstance(param.type, NamesFiles) and param.type._model):
            return str(self.folder)
        if isinstance(param.type, paths._Input | NamesFiles):
            path = self.root / f"{param.name}.json"
            path.write_text("mine")
            return str(path)
        if isinstance(param.type, OutputFile | OutputFolder):
            return str(self.root / f"new-{param.name}")
        if isinstance(param.type, click.Choice):
            return str(param.type.choices[0])
        return "1"

    def arguments(self, command: click.Command, given: dict[str, str]) -> list[str]:
        """What it wants at least, and what is given."""
        found = []
        for param in command.params:
            if param.name not in given and not param.required:
                continue
            value = given.get(str(param.name)) or self.value(param)
            values = [value] * param.nargs if param.nargs > 1 else [value]
            found += values if isinstance(param, click.Argument) else [param.opts[0], *values]
        return found

    def contents(self) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(self.root.rglob("*")) if path.is_file()}


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.chdir(tmp_path)
    return Desk(tmp_path)


def call(name: str, arguments: list[str]) -> Result:
    return CliRunner().invoke(cli.cli, [*name.split(), *arguments])


def refused(done: Result) -> str:
    assert isinstance(done.exception, RecipeError), (done.output, done.exception)
    assert "Nothing was done" in done.exception.hint or "folder" in done.exception.hint
    return done.exception.message


def names_of(target: Path, root: Path) -> list[Path]:
    """One file by other names."""
    (root / "symlink").symlink_to(target)
    others = [target, Path(".") / target.name, root / "folder" / ".." / target.name, root / "symlink"]
    if target.is_file():
        os.link(target, root / "hardlink")
        others.append(root / "hardlink")
    return others


def _label(param: click.Parameter) -> str:
    return max(param.opts, key=len) if isinstance(param, click.Option) else param.human_readable_name.upper()


@pytest.mark.parametrize(("name", "out", "read"), BOTH)
def test_no_output_is_an_input(name: str, out: click.Parameter, read: click.Parameter, desk: Desk) -> None:
    folder = isinstance(out.type, OutputFolder)
    is_folder = read.type is paths.FOLDER or (isinstance(read.type, NamesFiles) and read.type._model)
    target = Path(desk.value(read))
    said = {str(read.name): f"score {target} x" if "--claim" in read.opts else str(target)}
    if folder and not is_folder:  # it would be a file in the folder, if the folder's files are known
        known = sorted(path.name for path in out.type.files(desk.folder))  # type: ignore[union-attr]
        if not known:
            done = call(name, desk.arguments(COMMANDS[name], {**said, str(out.name): str(target)}))
            assert "is a file, not a folder" in refused(done)
            return
        target = desk.folder / known[0]
        target.write_bytes(desk.key.read_bytes() if read.type is paths.KEY else b"mine")
        target.chmod(0o600)
        before = desk.contents()
        done = call(
            name, desk.arguments(COMMANDS[name], {str(read.name): str(target), str(out.name): str(desk.folder)})
        )
        refused(done)
        assert before.items() <= desk.contents().items()
        return
    others = names_of(target, desk.root)
    before = desk.contents()
    for other in others:
        done = call(name, desk.arguments(COMMANDS[name], {**said, str(out.name): str(other)}))
        alike = [read, *(one for one in COMMANDS[name].params if one is not read and one.type is read.type)]
        assert any(f"would replace what {_label(one)} names" in refused(done) for one in alike)
        assert before.items() <= desk.contents().items()


@pytest.mark.parametrize(("name", "out"), [pytest.param(n, p, id=f"{n} {p.opts[0]}") for n, p in WRITES])
def test_no_output_replaces_a_file_of_another_kind(name: str, out: click.Parameter, desk: Desk) -> None:
    """A key, a ledger, a text, binary data, something that is no file."""
    foreign = {
        "key": desk.key.read_bytes(),
        "ledger": b'{"body":{},"index":0,"kind":"x","previous":"sha256:0","signature":{},"time":""}\n',
        "text": b"notes of mine\n",
        "empty object": b"{}",
        "page": b"<!doctype html><title>mine</title>",
        "bytes": bytes(range(256)),
    }
    assert isinstance(out.type, OutputFile | OutputFolder)
    given: dict[str, str] = {}
    for number, (what, data) in enumerate(foreign.items()):
        if isinstance(out.type, OutputFolder):
            place = desk.root / f"out-{number}"
            files = [path for path, kind in out.type.files(place).items() if kind is not None]
            given[str(out.name)] = str(place)
            if files:
                place.mkdir()
            (files[0] if files else place).write_bytes(data)
        else:
            place = desk.root / f"out-{number}.svg"
            given[str(out.name)] = str(place)
            place.write_bytes(data)
        before = desk.contents()
        refused(call(name, desk.arguments(COMMANDS[name], given)))
        assert before.items() <= desk.contents().items(), what
    if isinstance(out.type, OutputFile):
        for place in (desk.folder, Path("/dev/null")):
            refused(call(name, desk.arguments(COMMANDS[name], {str(out.name): str(place)})))


def write_pair(tmp_path: Path) -> Callable[[Path, Path], None]:
    kind = record_kind("a public key", lambda: PublicKey)

    def write(read: Path, out: Path) -> None:
        command = GuardedCommand(
            "x", params=[click.Argument(["read"], type=paths.EXISTING), click.Option(["--out"], type=OutputFile(kind))]
        )
        paths.check_outputs(command, {"read": read, "out": out})

    return write


def test_what_it_wrote_before_is_replaced_and_what_is_empty(tmp_path: Path) -> None:
    write, out, read = write_pair(tmp_path), tmp_path / "out", tmp_path / "read"
    read.write_text("x")
    write(read, out)
    out.touch()
    write(read, out)
    out.write_bytes(KeyPair.generate("Eve").public.canonical())
    write(read, out)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    write(read, tmp_path / "dangling")


def test_a_folder_that_is_read_is_not_written_into_as_an_output(tmp_path: Path) -> None:
    command = GuardedCommand(
        "x", params=[click.Argument(["read"], type=paths.EXISTING), click.Option(["--out"], type=OutputFolder())]
    )
    paths.check_outputs(command, {"read": tmp_path, "out": tmp_path / "inner"})
    with pytest.raises(RecipeError, match="would replace what READ names"):
        paths.check_outputs(command, {"read": tmp_path, "out": tmp_path / "x" / ".."})


def test_two_outputs_do_not_replace_each_other(tmp_path: Path) -> None:
    notes, keys = (Kind(name, lambda data: True) for name in ("a note", "a key"))
    params: list[Any] = [
        click.Option(["--work"], type=OutputFolder(lambda: {"notes": None, "keys": keys})),
        click.Option(["--out"], type=OutputFile(keys)),
        click.Option(["--note"], type=OutputFile(notes)),
    ]
    command = GuardedCommand("x", params=params)
    paths.check_outputs(command, {"work": tmp_path, "out": tmp_path / "keys", "note": tmp_path / "n"})  # the same twice
    for given in ({"out": "notes"}, {"note": "keys"}, {"out": "a", "note": "a"}):
        with pytest.raises(RecipeError, match="would replace what --"):
            paths.check_outputs(command, {"work": tmp_path, **{name: tmp_path / file for name, file in given.items()}})


def test_a_mistyped_key_is_no_new_identity(desk: Desk) -> None:
    for name, param in READS:
        if param.type is not paths.KEY:
            continue
        missing = desk.root / "no such key"
        done = call(name, desk.arguments(COMMANDS[name], {str(param.name): str(missing)}))
        assert done.exit_code == 2, (name, done.output)
        said = " ".join(done.output.split())
        assert f"There is no key {missing}." in said
        assert f"spiritsafe exam key '{missing}' --holder" in said
        assert not missing.exists()


def test_the_words_of_a_text_count_where_they_are_files(desk: Desk) -> None:
    file = desk.root / "a file.jsonl"
    file.write_text("{}")
    for text in ("math:a%20file.jsonl?exam=x", "choice:x?exam=a%20file.jsonl", "a file.jsonl"):
        assert [path.resolve() for path in NamesFiles().paths(text)] == [file], text
    assert NamesFiles().paths("score >= 0.6 \0") == []
    assert NamesFiles().paths("arith:folder") == []
    assert NamesFiles(model=True).paths("folder") == [Path("folder")]
    (desk.root / "file.json").touch()
    assert NamesFiles(model=True).paths("gguf:file.json") == [Path("file.json")]
    assert NamesFiles(model=True).paths("hf:org/name") == []


@pytest.mark.parametrize(("name", "out"), [pytest.param(n, p, id=f"{n} {p.opts[0]}") for n, p in WRITES])
def test_no_output_takes_the_place_of_what_is_open(name: str, out: click.Parameter, desk: Desk) -> None:
    """``--out /dev/stdout > empty`` put a file where the system's link was."""
    if isinstance(out.type, OutputFolder):
        return
    with (desk.root / "redirected").open("wb") as file:
        for place in (f"/dev/fd/{file.fileno()}", f"/proc/self/fd/{file.fileno()}", "/dev/stdout"):
            refused(call(name, desk.arguments(COMMANDS[name], {str(out.name): place})))


WORDS = [
    (name, param)
    for name, each in COMMANDS.items()
    for param in each.params
    if isinstance(param.type, click.types.StringParamType | click.types.FloatParamType | click.FloatRange)
    and not isinstance(param.type, NamesFiles)
]


@pytest.mark.parametrize(("name", "param"), [pytest.param(n, p, id=f"{n} {p.name}") for n, p in WORDS])
def test_words_that_are_no_text_and_numbers_that_are_none_are_refused(
    name: str, param: click.Parameter, desk: Desk
) -> None:
    is_text = isinstance(param.type, click.types.StringParamType)
    for value in ("a\udcff",) if is_text else ("nan", "inf"):
        done = call(name, desk.arguments(COMMANDS[name], {str(param.name): value}))
        assert done.exit_code == 2 or isinstance(done.exception, RecipeError), (name, done.output, done.exception)


def test_no_file_is_made_for_a_word_that_is_no_text(desk: Desk) -> None:
    done = call("exam key", ["new", "--holder", "a\udcff"])
    assert isinstance(done.exception, RecipeError)
    assert "--holder is no text" in done.exception.message
    assert not (desk.root / "new").exists()
