"""Whoever looks at the code under test, instead of at what it does, is ended.

In: the file name of that code, and what to do with whoever looks. Out: an audit hook, which nothing can take away. A
test that could read instructions, or other tests' memory, would notice every fault without knowing what is right.
"""

from __future__ import annotations

import gc
import sys
import sysconfig
import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

_CODE_OF = frozenset({"__code__", "f_code", "gi_code", "cr_code", "ag_code"})
_OTHERS = frozenset(
    {
        "gc.get_objects",
        "gc.get_referrers",
        "gc.get_referents",
        "ctypes.cdata",
        "ctypes.cdata/buffer",
        "ctypes.string_at",
        "sys._current_frames",
        "sys.monitoring.register_callback",
    }
)
_MAY_READ = {
    "inspect": {"_signature_from_function", "_signature_is_functionlike", "_has_code_flag"},
    "traceback": {"_walk_tb_with_full_positions", "_extract_from_extended_frame_gen", "extended_frame_gen"},
    "logging": {"findCaller", "_is_internal_frame"},
    "warnings": {"_is_internal_frame", "_is_internal_filename"},
    "unittest": {"_mock_add_spec", "_is_async_func", "_is_async_obj"},
}
"""Functions of Python's own library that read code and do not hand it on, by their modules."""
_OWN = ("_pytest", "pytest", "pluggy", "cloudpickle", "dill")
"""Other modules that do."""


TrustedCode = Mapping[int, types.CodeType]
"""Code by its identity, which nothing else can have while it is here."""


def trusted_code() -> TrustedCode:
    """Code that may look at code: of the libraries that are loaded now, but for what hands it on."""
    library = sysconfig.get_path("stdlib")
    found: list[types.CodeType] = []
    for function in gc.get_objects():
        if type(function) is not types.FunctionType:
            continue
        module = function.__module__ or ""
        top, code = module.partition(".")[0], function.__code__
        is_library = code.co_filename.startswith(library) and "site-packages" not in code.co_filename
        if function.__name__ in _MAY_READ.get(top, ()) if is_library else top not in _OWN:
            found.append(code)
    return code_parts(found)


def _with_parts(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for part in code.co_consts:
        if isinstance(part, types.CodeType):
            yield from _with_parts(part)


def code_parts(codes: Iterable[types.CodeType]) -> TrustedCode:
    """Code and all that is in it."""
    return types.MappingProxyType({id(part): part for code in codes for part in _with_parts(code)})


def watch(path: str, place: str, trusted: TrustedCode, refuse: Callable[[], None]) -> None:
    """From here on, call ``refuse`` when code that is not trusted looks.

    Args:
        path: The file name of the code that nobody shall look at.
        place: Its end, as of any copy that may be installed here.
        trusted: Code that may.
        refuse: Does not return. Raising would give whoever looked this function's frame.
    """
    busy: set[int] = set()
    own, frame_of, identity, whole = threading.get_ident, sys._getframe, id, _OTHERS
    attributes = _CODE_OF
    folder, _, name = f"/{place}".rpartition("/")
    text, compiled = f"{folder}/{name}", f"{folder}/__pycache__/{name.removesuffix('py')}"

    def is_secret(target: Any, name: str) -> bool:
        return bool(getattr(target, name).co_filename == path)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "object.__getattr__":
            if arguments[1] not in attributes:
                return
        elif event != "open" and event not in whole:
            return
        thread = own()
        if thread in busy:
            return
        busy.add(thread)
        try:
            if event == "open":
                opened = str(arguments[0])  # without the folder, where it is told by a descriptor
                if opened.endswith(text) or compiled in opened or opened == name:
                    refuse()
            elif identity(frame_of(1).f_code) not in trusted and (event in whole or is_secret(*arguments)):
                refuse()
        finally:
            busy.discard(thread)

    sys.addaudithook(hook)
