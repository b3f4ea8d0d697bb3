"""Writes the pages and parts of pages that say what the code says: commands, public names, keys of recipes, rooms.

``python docs/generate.py`` writes them (``just fix`` does), ``python docs/generate.py --check`` names those that differ
(``just docs`` does). Nothing here depends on the width of a terminal, and sources are read without being imported, so
every Python and every click gives the same text.
"""

from __future__ import annotations

import ast
import inspect
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import click

from spiritsafe import pipeline, release, serve
from spiritsafe.cli import cli
from spiritsafe.core.errors import SpiritsafeError

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "spiritsafe"
NOTE = "<!-- Made by docs/generate.py: change the code, then run `just fix`. -->"
Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def pages() -> dict[Path, str]:
    """Each file that is generated, whole or in part, with the text that it should have."""
    return {
        ROOT / "docs" / "reference" / "cli.md": "\n".join(_cli()) + "\n",
        ROOT / "docs" / "reference" / "api.md": "\n".join(_api()) + "\n",
        ROOT / "docs" / "reference" / "recipes.md": "\n".join(_recipes()) + "\n",
        ROOT / "docs" / "reference" / "interfaces.md": "\n".join(_interfaces()) + "\n",
        ROOT / "docs" / "licence-duties.md": _with_parts(
            ROOT / "docs" / "licence-duties.md", {"licences": _licences(), "duties": _duties()}
        ),
        ROOT / "docs" / "architecture.md": _with_part(ROOT / "docs" / "architecture.md", "rooms", _rooms()),
        ROOT / "CONTRIBUTING.md": _with_part(ROOT / "CONTRIBUTING.md", "map", _map()),
    }


def _with_part(page: Path, name: str, lines: Iterator[str]) -> str:
    """The page with the part between its two marks written anew."""
    return _with_parts(page, {name: lines})


def _with_parts(page: Path, parts: Mapping[str, Iterator[str]]) -> str:
    """The same for several parts."""
    text = page.read_text("utf-8")
    for name, lines in parts.items():
        pattern = rf"(<!-- {name}: made by docs/generate\.py -->\n).*?(<!-- end of {name} -->\n)"
        part = "\n".join(lines)
        text, found = re.subn(pattern, lambda m, part=part: f"{m[1]}{part}\n{m[2]}", text, flags=re.S)
        if found != 1:
            raise SystemExit(f"{page}: the marks of the part {name!r} stand in it {found} times.")
    return text


# --- commands ---------------------------------------------------------------------------------------------------------


def _cli() -> Iterator[str]:
    yield f"# Commands\n\n{NOTE}\n"
    yield (
        "Every command has `--help`. An error prints one paragraph that says what to do next; `spiritsafe --verbose "
        "COMMAND` shows its traceback too."
    )
    yield from _commands(cli, ["spiritsafe"])
    yield "\n## Exit codes\n\n| code | what it says |\n|---|---|"
    yield "| 0 | Done. |\n| 2 | The command was called wrongly. |"
    for error in SpiritsafeError.__subclasses__():
        yield f"| {error.exit_code} | {inspect.getdoc(error)} (`{error.__name__}`) |"
    yield "| 70 | A defect in spiritsafe. |"


def _commands(group: click.Group, path: list[str]) -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if command is None or command.hidden:
            continue
        words = [*path, name]
        yield f"\n{'#' * len(words)} `{' '.join(words)}`\n"
        yield _paragraphs(command.help or "")
        if isinstance(command, click.Group):
            yield from _commands(command, words)
            continue
        parameters = command.params
        arguments = [_argument(each) for each in parameters if isinstance(each, click.Argument)]
        options = [each for each in parameters if isinstance(each, click.Option) and not each.hidden]
        shown = " ".join([*words, *(["[OPTIONS]"] if options else []), *arguments])
        yield f"\n```text\n{shown}\n```"
        if options:
            yield "\n| option | value | what it says |\n|---|---|---|"
            yield from (_option(option) for option in options)


def _argument(argument: click.Argument) -> str:
    word = argument.metavar or (argument.name or "").upper()
    word += "..." if argument.nargs == -1 and not word.endswith("...") else ""
    return word if argument.required else f"[{word}]"


def _option(option: click.Option) -> str:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    value = "" if option.is_flag else f"`{_value(option)}`"
    notes = ["required"] if option.required else []
    notes += ["may be repeated"] if option.multiple else []
    notes += [f"default `{option.default}`"] if option.show_default is True and not option.required else []
    said = f"{option.help or ''} {'; '.join(notes).join('()') if notes else ''}"
    return f"| {names} | {value} | {_cell(said)} |"


def _value(option: click.Option) -> str:
    if option.metavar:
        return option.metavar
    kind = option.type
    if isinstance(kind, click.Choice):
        return " \\| ".join(str(choice) for choice in kind.choices)
    if isinstance(kind, click.IntRange | click.FloatRange):
        low, high = kind.min, kind.max
        name = "INTEGER" if isinstance(kind, click.IntRange) else "NUMBER"
        if low is not None and high is not None:
            return f"{name} {low} to {high}"
        return name if low is None else f"{name} from {low}"
    return {"integer": "INTEGER", "float": "NUMBER", "text": "TEXT"}.get(kind.name, kind.name.upper())


def _paragraphs(help_text: str) -> str:
    """A command's help in one line a paragraph; what stands behind click's mark ``\\b`` keeps its lines."""
    parts = []
    for part in re.split(r"\n\s*\n", inspect.cleandoc(help_text)):
        if part.startswith("\b"):
            kept = part.removeprefix("\b").strip("\n")
            parts.append(f"```text\n{kept}\n```")
        else:
            parts.append(" ".join(part.split()))
    return "\n\n".join(parts)


# --- public names -----------------------------------------------------------------------------------------------------


def _api() -> Iterator[str]:
    yield f"# Public names\n\n{NOTE}\n"
    yield (
        "A room shows its public names on its face: `from spiritsafe.exam import verify`. A name is loaded when it is "
        "first asked for, so the examiner's rooms never load torch. `core` is named by module. Everything else is "
        "private and may change."
    )
    for face in [*_room_names(), "exam.records"]:
        if face in ("core", "cli"):
            continue
        package = SOURCE / face.replace(".", "/")
        yield f"\n## `spiritsafe.{face}`\n\n{_purpose(package)}"
        yield from _tables(_face(package))
    yield f"\n## `spiritsafe.core`\n\n{_purpose(SOURCE / 'core')} Import from the modules."
    names = {}
    for module in sorted((SOURCE / "core").rglob("*.py")):
        own = [each.name for each in _tree(module).body if isinstance(each, Definition) and each.name[0] != "_"]
        if module.name != "__init__.py" and own:
            names[_dotted(module)] = own
    yield from _tables(names)


def _tables(names: Mapping[str, list[str]]) -> Iterator[str]:
    for module, public in names.items():
        path = SOURCE.parent / f"{module.replace('.', '/')}.py"
        path = path if path.exists() else path.with_suffix("") / "__init__.py"
        yield f"\n`{module.removeprefix('spiritsafe.')}`: {_first_line(_tree(path))}\n"
        yield "| name | what it is |\n|---|---|"
        yield from (f"| `{name}` | {_cell(_said_of(name, path))} |" for name in public)


def _face(package: Path) -> dict[str, list[str]]:
    """The names that a face shows, by the module that each comes from, in the order of its imports."""
    tree = _tree(package / "__init__.py")
    public = next(
        set(ast.literal_eval(node.value))
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "__all__"
    )
    found: dict[str, list[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("spiritsafe."):
            names = [alias.asname or alias.name for alias in node.names]
            found.setdefault(str(node.module), []).extend(name for name in names if name in public)
    return {module: names for module, names in found.items() if names}


def _said_of(name: str, path: Path) -> str:
    """The first line of a definition's docstring, or of the string below an assignment."""
    body = _tree(path).body
    for node, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(node, Definition) and node.name == name:
            return _first_line(node)
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
                return inspect.cleandoc(str(following.value.value)).split("\n\n")[0]
            value = ast.get_source_segment(path.read_text("utf-8"), node.value)  # type: ignore[attr-defined]
            return f"`{' '.join((value or '').split())}`"
        if isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}:
            return _said_of(name, SOURCE.parent / f"{(node.module or '').replace('.', '/')}.py")
    return ""


# --- keys of recipes --------------------------------------------------------------------------------------------------


def _recipes() -> Iterator[str]:
    """Every table and key; what kinds there are is asked of the program, so it is imported here alone."""
    yield f"# Keys of recipes\n\n{NOTE}\n"
    yield (
        "Every key that a recipe may have. *Default* is what holds where a key is left out; where it is empty, nothing "
        "or what the last column says. [Recipes](../recipes.md) explains how the tables belong together; `spiritsafe "
        "recipes schema` prints all this as JSON Schema for editors."
    )
    part = ""
    for table in pipeline.recipe_tables():
        title = table.title if table.title[0].isupper() else re.sub(r"^(kind = .*|\S+?)(?=,? |$)", r"`\1`", table.title)
        if table.is_step or table.is_inside:
            name = "Steps" if table.is_step else "Tables inside tables"
            if name != part:
                yield f"\n## {name}"
            part = name
        yield f"\n{'###' if table.is_step or table.is_inside else '##'} {title}\n\n{table.said}\n"
        yield "| key | value | default | what it says |\n|---|---|---|---|"
        yield from (_key(key) for key in table.keys)


def _key(key: pipeline.RecipeKey) -> str:
    default = key.default if key.default in ("", "required") else f"`{key.default}`"
    anchor = re.sub(r"[^\w -]", "", key.table).replace(" ", "-")
    value = f"[table](#{anchor})" if key.table else _cell(key.value)
    return f"| `{key.name}` | {value} | {default} | {_cell(key.said)} |"


# --- interfaces of the server -----------------------------------------------------------------------------------------


def _interfaces() -> Iterator[str]:
    """What each interface takes, ignores and refuses."""
    yield f"# Interfaces of the server\n\n{NOTE}\n"
    yield (
        "Nothing that is asked for is ignored in silence. A field is honoured; or the request is refused with 400, the "
        "field's name in `param` and what to do instead; or it is listed as ignored below, and its name comes back in "
        "the header `spiritsafe-ignored`. Unknown fields are refused. `null` means that a field is absent. "
        "`/openapi.json` of a running server has types and bounds. Every answer has `x-request-id` and "
        "`spiritsafe-model-digest`, the digest of the bytes that answer; where a seed was drawn, `spiritsafe-seed` "
        "tells it, and with it the same request has the same answer."
    )
    for interface in serve.interfaces():
        request = interface.request
        honoured = [field.alias or name for name, field in request.model_fields.items() if name not in request.ignored]
        yield f"\n## `POST {interface.path}`\n\n{interface.summary}\n"
        yield f"Fields: {', '.join(f'`{name}`' for name in sorted(honoured))}."
        for title, said in (("ignored", request.ignored), ("refused", request.refused)):
            if said:
                yield f"\n| {title} | {'why that harms nobody' if title == 'ignored' else 'what to do'} |\n|---|---|"
                yield from (f"| `{name}` | {_cell(words)} |" for name, words in sorted(said.items()))


# --- licences ---------------------------------------------------------------------------------------------------------


def _licences() -> Iterator[str]:
    """Every licence of the table, and which text was read."""
    yield "| licence | text of | called | names that tell | read | where |\n|---|---|---|---|---|---|"
    for licence in release.licences().values():
        called = ", ".join(f"`{one}`" for one in licence.ids)
        names = ", ".join(f"`{one}`" for one in (*licence.models, *licence.hosts))
        where = "at its source" if licence.read_in is None else f"{licence.reading}: {licence.read_in}"
        changes = f". {licence.changes.rstrip('.')}" if licence.changes else ""
        version = licence.version or "no day in it"
        cells = (f"[{licence.name}]({licence.address})", version, called, names, str(licence.read), where + changes)
        yield f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _duties() -> Iterator[str]:
    """What each licence asks, by use."""
    yield "| licence | used as | what follows | clause |\n|---|---|---|---|"
    for licence in release.licences().values():
        for duty in licence.duties:
            said = release.DUTY_KINDS[duty.kind][0].replace("{text}", duty.text)
            if duty.except_on:
                said += f" (but models with weights under {' or '.join(duty.except_on)})"
            cells = (licence.name, _used(duty.uses), f"[{said}]({duty.at})" if duty.at else said, duty.clause or "")
            yield f"| {' | '.join(_cell(cell) for cell in cells)} |"


def _used(uses: tuple[str, ...]) -> str:
    signals = [use for use in uses if use != "weights"]
    told = ["signals"] if len(signals) == 3 else [use.replace("_", " ") for use in signals]
    return ", ".join([*(["weights"] if "weights" in uses else []), *told])


# --- rooms ------------------------------------------------------------------------------------------------------------


def _map() -> Iterator[str]:
    """Rooms and their folders, the lowest first, as a tree of text."""
    yield "```text\nsrc/spiritsafe/"
    for room in _room_names():
        yield f"  {f'{room}/':<26}{_purpose(SOURCE / room)}"
        for folder in _folders(SOURCE / room):
            depth = len(folder.relative_to(SOURCE).parts)
            yield f"  {'  ' * (depth - 1) + f'{folder.name}/':<26}{_purpose(folder)}"
    yield "```"


def _rooms() -> Iterator[str]:
    """Rooms one by one: purpose, floors inside, folders with their modules."""
    without_torch = (*_contract("The safe")["source_modules"], *_contract("The server holds")["source_modules"])
    light = {"cli", *(name.rpartition(".")[2] for name in without_torch)}
    for room in _room_names():
        package = SOURCE / room
        yield f"\n### `{room}`\n\n{_purpose(package)}{'' if room in light else ' Needs torch.'}\n"
        if own := _modules(package):
            yield f"- Modules: {own}."
        for folder in _folders(package):
            yield f"- `{folder.relative_to(package).as_posix()}/`: {_purpose(folder)} {_modules(folder)}."
        if inside := _contract(f"Inside {room}"):
            yield f"\nImports inside go one way only: {_floors(inside)}."


def _modules(folder: Path) -> str:
    return ", ".join(f"`{path.stem}`" for path in sorted(folder.glob("*.py")) if not path.stem.startswith("__"))


def _floors(contract: Mapping[str, list[str]]) -> str:
    return " > ".join(" | ".join(f"`{part.strip(' ()')}`" for part in layer.split("|")) for layer in contract["layers"])


def _room_names() -> list[str]:
    """Rooms as the import contract stacks them, the lowest first."""
    layers = _contract("Imports go downwards only")["layers"]
    names = [name.strip(" ()") for layer in reversed(layers) for name in layer.split("|")]
    return [name for name in names if (SOURCE / name / "__init__.py").exists()]


def _contract(start: str) -> dict[str, list[str]]:
    """An import contract of ``pyproject.toml`` by the start of its name; empty where there is none."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    return next((contract for contract in contracts if contract["name"].startswith(start)), {})


def _folders(package: Path) -> list[Path]:
    return sorted(path.parent for path in package.rglob("__init__.py") if path.parent != package)


# --- sources ----------------------------------------------------------------------------------------------------------


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _first_line(node: ast.Module | Definition) -> str:
    return (ast.get_docstring(node) or "").split("\n")[0].replace("``", "`")


def _purpose(package: Path) -> str:
    return _first_line(_tree(package / "__init__.py"))


def _dotted(module: Path) -> str:
    return ".".join(module.relative_to(SOURCE.parent).with_suffix("").parts)


def _cell(text: str) -> str:
    """Text in a cell of a table: in one line, in Markdown's own marks."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text.replace("``", "`"))
    return " ".join(text.replace("|", "\\|").split())


def main() -> None:
    """Writes what differs, or with ``--check`` names it and fails."""
    different = {page: text for page, text in pages().items() if not page.exists() or page.read_text("utf-8") != text}
    if "--check" in sys.argv[1:]:
        if different:
            names = ", ".join(page.relative_to(ROOT).as_posix() for page in different)
            raise SystemExit(f"Not what the code says: {names}. Run `just fix`.")
        return
    for page, text in different.items():
        page.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
