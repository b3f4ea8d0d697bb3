"""The process in which llama.cpp quantises: an abort in its C++ ends this one alone.

In: one JSON line on standard input, ``{"source", "target", "file_type", "threads", "importance"}``: the file type by
its number in GGUF files, the importance as an ``.npz`` of weights of columns, or null. Out: ``{"code": 0}`` on standard
output once the target is whole; llama.cpp's log on standard error. It ends with the process that started it. Run
``python -m spiritsafe.models.llama_cpp.quantise_child``.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

import numpy as np
from llama_cpp_py_sync._cffi_bindings import get_ffi, get_lib

from spiritsafe.core.process.children.child_process import take_stdout


def quantise_here(request: dict[str, Any]) -> int:
    """Quantise in this process; llama.cpp's own code, 0 for success."""
    ffi, lib = get_ffi(), get_lib()
    params = ffi.new("llama_model_quantize_params *", lib.llama_model_quantize_default_params())
    params.ftype, params.nthread = request["file_type"], request["threads"]
    kept: list[Any] = []  # what C points at and Python would free
    if request["importance"] is not None:
        with np.load(request["importance"], allow_pickle=False) as file:
            means = {name: np.ascontiguousarray(file[name].reshape(-1)) for name in file.files}
        entries = ffi.new("struct llama_model_imatrix_data[]", len(means) + 1)  # one without a name is the end
        for entry, (name, values) in zip(entries, means.items(), strict=False):
            kept += [ffi.new("char[]", name.encode()), ffi.from_buffer("float[]", values)]
            entry.name, entry.data, entry.size = kept[-2], kept[-1], values.size
        params.imatrix = entries
        kept.append(entries)
    code = lib.llama_model_quantize(os.fsencode(request["source"]), os.fsencode(request["target"]), params)
    return int(code)


def _end_with_parent() -> None:
    """Wait for the end of standard input: whoever wrote there is gone, and nobody wants the file."""
    sys.stdin.read()
    os._exit(1)


def main() -> int:
    """One request, one answer."""
    replies = take_stdout()
    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    code = quantise_here(request)
    replies.write(json.dumps({"code": code}) + "\n")
    replies.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
