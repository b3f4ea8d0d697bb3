"""Which keys of a ``config.json`` transformers' own code for a family reads at all.

In: a ``model_type``. Out: every name that the family's modules, and the modules of transformers that these import, use
as an attribute, an argument or a string. A key outside it changes nothing in transformers: the Decoder may leave it
unread as well. Found by parsing the sources; nothing of them is run.
"""

from __future__ import annotations

import ast
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path


@lru_cache(maxsize=16)
def keys_read_by(family: str) -> frozenset[str] | None:
    """Names that transformers' code for a family uses; None where its sources cannot be read.

    Args:
        family: A ``model_type`` whose folder in ``transformers/models`` has its name.
    """
    spec = find_spec("transformers")
    if spec is None or spec.origin is None:
        return None
    root = Path(spec.origin).parent
    folder = root / "models" / family
    names: set[str] = set()
    try:
        own = [folder / f"configuration_{family}.py", folder / f"modeling_{family}.py"]
        trees = {path: ast.parse(path.read_text("utf-8")) for path in own}
        for path in sorted({used for file, tree in trees.items() for used in _imported(tree, file)} - set(own)):
            trees[path] = ast.parse(path.read_text("utf-8"))
    except (OSError, SyntaxError, ValueError):
        return None
    for tree in trees.values():
        names |= _names(tree)
    return frozenset(names)


def _imported(tree: ast.Module, file: Path) -> list[Path]:
    """Files of transformers that a module imports by relative imports."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level and node.module:
            base = file.parents[node.level - 1].joinpath(*node.module.split("."))
            found += [path for path in (base.with_suffix(".py"), base / "__init__.py") if path.is_file()]
    return found


def _names(tree: ast.Module) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name) | ast.arg(arg=name) | ast.keyword(arg=str(name)):
                names.add(name)
            case ast.Constant(value=str(name)) | ast.AnnAssign(target=ast.Name(id=name)):  # fields of a configuration
                names.add(name)
    return names
