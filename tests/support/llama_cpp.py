"""llama.cpp's own word on a GGUF file: tokens, logits, blocks, quantised files. Each call is a process of its own.

It is reached through llama-cpp-py-sync; tests that need it are skipped, with the reason, where that is missing. A crash
in there is a failed call here.
"""

from __future__ import annotations

import ctypes
import importlib.util
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

MISSING = importlib.util.find_spec("llama_cpp_py_sync") is None
needs_llama_cpp = pytest.mark.skipif(MISSING, reason="llama-cpp-py-sync (llama.cpp) is not installed: extra gguf")


_NEXT = "---- next file type ----\n"
_TENSOR = re.compile(r"\[ *\d+/ *\d+\] (\S+) +- \[.*?\], type = +(\w+), size = .*?(?:\((\w+)\))?$", re.MULTILINE)


def _call(what: str, **arguments: Any) -> Any:
    return _heard(what, **arguments)[0]


def _heard(what: str, **arguments: Any) -> tuple[Any, str]:
    """What the call gave, and what it said on the way."""
    done = subprocess.run(
        [sys.executable, __file__, what],
        input=json.dumps(arguments),
        capture_output=True,
        text=True,
        errors="replace",
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def llama_tokens(file: Path, texts: Sequence[str], *, special: bool = True, around: bool = False) -> list[list[int]]:
    """Tokens of each text.

    Args:
        special: Whether names of special tokens in a text are these tokens.
        around: Whether first and last token are added as the file says.
    """
    return list(_call("tokens", file=str(file), texts=list(texts), special=special, around=around))


def llama_logits(file: Path, ids: Sequence[int]) -> np.ndarray:
    """Logits at every position."""
    with tempfile.TemporaryDirectory() as folder:
        _call("logits", file=str(file), ids=list(ids), out=f"{folder}/logits.npy")
        return np.load(f"{folder}/logits.npy")


def llama_quantise(source: Path, target: Path, number: int, *, importance: Path | None = None) -> bool:
    """Whether llama.cpp's quantiser wrote the file.

    Args:
        number: Of the file type.
        importance: An ``.npz`` with a vector for each tensor.
    """
    given = None if importance is None else str(importance)
    return bool(_call("quantise", source=str(source), target=str(target), number=number, importance=given))


def llama_plans(source: Path, wanted: Sequence[tuple[int, Path | None]]) -> list[dict[str, str] | None]:
    """For each file type and importance matrix: the type of each tensor that llama.cpp would write; None: no file."""
    rows = [(number, None if given is None else str(given)) for number, given in wanted]
    done, said = _heard("plans", source=str(source), rows=rows)
    parts = said.split(_NEXT)[1:]
    assert len(parts) == len(done) == len(rows)
    return [
        {m[1]: (m[3] or m[2]).lower() for m in _TENSOR.finditer(part)} if ok else None
        for ok, part in zip(done, parts, strict=True)
    ]


def llama_blocks(values: np.ndarray, number: int, num_bytes: int) -> np.ndarray:
    """Rows as llama.cpp's own blocks of a tensor type."""
    with tempfile.TemporaryDirectory() as folder:
        np.save(f"{folder}/values.npy", values)
        _call("blocks", folder=folder, number=number, num_bytes=num_bytes)
        return np.load(f"{folder}/blocks.npy")


def llama_children(file: Path) -> list[psutil.Process]:
    """Our processes that run this file, or one in this directory; other tests' are not counted."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):  # it ends meanwhile
            if any(argument.startswith(str(file)) for argument in child.cmdline()):
                found.append(child)
    return found


def _opened(file: str, *, vocab_only: bool) -> tuple[Any, Any, Any]:
    from llama_cpp_py_sync._cffi_bindings import get_ffi, get_lib

    lib, ffi = get_lib(), get_ffi()
    lib.llama_backend_init()
    parameters = lib.llama_model_default_params()
    parameters.vocab_only = vocab_only
    model = lib.llama_model_load_from_file(file.encode(), parameters)
    assert model != ffi.NULL, f"llama.cpp does not load {file}"
    return lib, ffi, model


def _tokens(file: str, texts: list[str], special: bool, around: bool) -> list[list[int]]:
    lib, ffi, model = _opened(file, vocab_only=True)
    vocab, out = lib.llama_model_get_vocab(model), []
    for text in texts:
        raw = text.encode("utf-8")
        room = ffi.new("llama_token[]", len(raw) + 8)
        count = lib.llama_tokenize(vocab, raw, len(raw), room, len(raw) + 8, around, special)
        assert count >= 0
        out.append([int(room[i]) for i in range(count)])
    return out


def _logits(file: str, ids: list[int], out: str) -> bool:
    lib, ffi, model = _opened(file, vocab_only=False)
    parameters = lib.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = len(ids) + 8
    parameters.n_threads = parameters.n_threads_batch = 1
    parameters.type_k = parameters.type_v = 0  # float32
    parameters.flash_attn_type = 0
    context = lib.llama_init_from_model(model, parameters)
    assert context != ffi.NULL
    batch = lib.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for place, token in enumerate(ids):
        batch.token[place], batch.pos[place], batch.n_seq_id[place] = token, place, 1
        batch.seq_id[place][0], batch.logits[place] = 0, 1
    assert lib.llama_decode(context, batch) == 0
    width = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))
    flat = ffi.buffer(lib.llama_get_logits(context), 4 * width * len(ids))
    np.save(out, np.frombuffer(flat, np.float32).reshape(len(ids), width))
    return True


def _quantise(source: str, target: str, number: int, importance: str | None, dry: bool = False) -> bool:
    from llama_cpp_py_sync._cffi_bindings import get_ffi, get_lib

    lib, ffi = get_lib(), get_ffi()
    parameters = ffi.new("llama_model_quantize_params *", lib.llama_model_quantize_default_params())
    parameters.ftype, parameters.nthread, parameters.dry_run = number, 1, dry
    if importance is not None:
        given = np.load(importance)
        rows = ffi.new("struct llama_model_imatrix_data[]", len(given.files) + 1)
        kept = []
        for row, name in enumerate(given.files):
            values = np.ascontiguousarray(given[name], np.float32)
            kept += [ffi.new("char[]", name.encode()), ffi.from_buffer("float[]", values), values]
            rows[row].name, rows[row].data, rows[row].size = kept[-3], kept[-2], values.size
        parameters.imatrix = rows
    return bool(lib.llama_model_quantize(source.encode(), target.encode(), parameters) == 0)


def _plans(source: str, rows: list[tuple[int, str | None]]) -> list[bool]:
    done = []
    for number, importance in rows:
        sys.stderr.write(_NEXT)
        sys.stderr.flush()
        done.append(_quantise(source, "/dev/null", number, importance, dry=True))
    return done


def _blocks(folder: str, number: int, num_bytes: int) -> bool:
    import llama_cpp_py_sync

    lib = ctypes.CDLL(str(Path(llama_cpp_py_sync.__file__).parent / "libggml-base.so.0"))
    values = np.ascontiguousarray(np.load(f"{folder}/values.npy"), np.float32)
    out = np.zeros(num_bytes, np.uint8)
    longs = [ctypes.c_int64] * 3
    lib.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, *longs, ctypes.c_void_p]
    lib.ggml_quantize_chunk(number, values.ctypes.data, out.ctypes.data, 0, *values.shape, None)
    np.save(f"{folder}/blocks.npy", out)
    return True


if __name__ == "__main__":
    does = {"tokens": _tokens, "logits": _logits, "quantise": _quantise, "blocks": _blocks, "plans": _plans}[
        sys.argv[1]
    ]
    sys.stdout.write("\n" + json.dumps(does(**json.loads(sys.stdin.read()))) + "\n")
