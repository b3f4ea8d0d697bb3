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
from collections.abc import Callable, Iterable, Iterator
from functools import partial
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
        "sys.setprofile",
        "sys.settrace",
        "sys.monitoring.register_callback",
    }
)
MEMORY_READERS = frozenset({"ctypes", "_ctypes", "_testcapi", "_testinternalcapi", "_testlimitedcapi"})
"""Modules that hand on anything, and tell no hook."""
_HAVE_CODE = frozenset(
    {types.FunctionType, types.FrameType, types.GeneratorType, types.CoroutineType, types.AsyncGeneratorType}
)
_MAY_READ = {
    "inspect": {"_signature_from_function", "_signature_is_functionlike", "_has_code_flag"},
    "traceback": {
        *("_walk_tb_with_full_positions", "_extract_from_extended_frame_gen", "extended_frame_gen"),
        "extract",  # of Python 3.9 and 3.10
    },
    "logging": {"findCaller", "_is_internal_frame"},
    "warnings": {"_is_internal_frame", "_is_internal_filename"},
    "unittest": {"_mock_add_spec", "_is_async_func", "_is_async_obj"},
}
"""Functions of Python's own library that read code and do not hand it on, by their modules."""
_OWN = ("_pytest", "pytest", "pluggy", "cloudpickle", "dill")
"""Other modules that do."""


TrustedCode = frozenset[int]
"""Code by its identity, which nothing else can have: that code is never given back."""


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
    """Code and all that is in it; it stays, and nobody can reach it from here."""
    parts = {id(part): part for code in codes for part in _with_parts(code)}
    sys.addaudithook(partial(getattr, tuple(parts.values())))  # does nothing, holds them, and has no frame
    return frozenset(parts)


def watch(path: str, place: str, trusted: TrustedCode, refuse: Callable[[], None]) -> None:
    """From here on, call ``refuse`` when code that is not trusted looks.

    Whoever looks may also say himself what an audit hook hears, with arguments of any kind, or leave it no stack.

    Args:
        path: The file name of the code that nobody shall look at.
        place: Its end, as of any copy that may be installed here.
        trusted: Code that may.
        refuse: Does not return. Raising would give whoever looked this function's frame.
    """
    busy: set[int] = set()
    own, frame_of, identity, whole, attributes = threading.get_ident, sys._getframe, id, _OTHERS, _CODE_OF
    tools, holders, plain = MEMORY_READERS, _HAVE_CODE, str
    own_ctypes = f"{sysconfig.get_path('stdlib')}/ctypes/"
    folder, _, name = f"/{place}".rpartition("/")
    text, compiled = f"{folder}/{name}", f"{folder}/__pycache__/{name.removesuffix('py')}"

    def is_secret(target: Any, attribute: Any) -> bool:
        if type(target) not in holders or type(attribute) is not plain or attribute not in attributes:
            return False
        return bool(getattr(target, attribute).co_filename == path)

    def opens(file: Any) -> bool:
        if isinstance(file, bytes):
            file = bytes.decode(file, "utf-8", "replace")
        if not isinstance(file, plain):
            return False
        file = plain.__str__(file)  # without the folder, where it is told by a descriptor
        return bool(file.endswith(text) or compiled in file or file == name)

    def is_stranger() -> bool:
        frame = frame_of(2)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(("<frozen importlib", own_ctypes)):
            frame = frame.f_back
        return identity(frame.f_code) not in trusted

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event != "object.__getattr__" and event != "open" and event != "import" and event not in whole:
            return
        try:
            thread = own()
            if thread in busy:
                return
            busy.add(thread)
            if event == "open":
                is_look = opens(*arguments[:1])
            elif event == "object.__getattr__":
                is_look = is_secret(*arguments) and is_stranger()
            elif event == "import":
                is_look = type(arguments[0]) is plain and arguments[0] in tools and is_stranger()
            else:
                is_look = is_stranger()
            if is_look:
                refuse()
            busy.discard(thread)
        except BaseException:  # noqa: BLE001  as where no stack is left: the error would lead whoever looks here
            while True:
                try:
                    refuse()
                except BaseException:  # noqa: BLE001  no stack is left for this either: time ends it
                    continue

    sys.addaudithook(hook)
