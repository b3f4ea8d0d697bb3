"""llama.cpp behind a pipe: one GGUF file, commands in, logits out; it may crash without taking anybody along.

Run ``python -m spiritsafe.models.llama_cpp.child FILE LOGITS --threads 1 --context 512 --sequences 1``. Commands are
JSON lines on the standard input, each answered by one on the output that the process was started with; what llama.cpp
prints goes to standard error. Logits, float32, are rows of the file LOGITS, which both ends map::

    {"op":"describe"}                          → {"vocab_size":…,"context_length":…,"version":…, …}
    {"op":"resize","context":…,"sequences":…}  → {"rows":…}: an empty cache; so many rows of logits at once
    {"op":"decode","tokens":[…],"positions":[…],"sequences":[…],"wanted":[…]}
                                               → {"rows":N}: logits of the entries wanted are rows 0..N-1
    {"op":"copy","source":…,"targets":[…],"length":…}  → {}: the targets become the source's first tokens
    {"op":"clear","sequence":…}                → {}: forgets a sequence; null: all of them
    {"op":"tokenize","text":…,"special":…}     → {"tokens":[…]}
    {"op":"peak"}                              → {"bytes":…}: the most memory that was resident
    {"op":"close"} or the end of the input     → the end of the process
    any failure                                → {"error":{"type":…,"message":…,"hint":…}}

Attention and its cache are float32, and each sequence has a cache of its own: nothing is rounded but what the file
rounds, and a sequence's numbers do not depend on what is computed beside it. With ``--rounded`` they are llama.cpp's
own defaults, float16 and flash attention, which are faster the more sequences are computed at once.
"""

from __future__ import annotations

import argparse
import json
import mmap
import os
import resource
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, TextIO, final

import llama_cpp_py_sync
import numpy as np
from llama_cpp_py_sync import _cffi_bindings as bindings

from spiritsafe.core.errors import BudgetError, CompatibilityError, IntegrityError, SourceError, error_fields
from spiritsafe.core.process.children.child_process import take_stdout
from spiritsafe.models.llama_cpp.process import BATCH_TOKENS, CACHE_STEP

_FEWEST_ROWS = 64
_FLASH_OFF, _FLASH_WHERE_POSSIBLE = 0, -1  # of enum llama_flash_attn_type
_FLOAT32, _FLOAT16 = 0, 1  # of enum ggml_type
_LOG_ERROR, _LOG_CONTINUED = 4, 5
_NO_SLOT = 1  # llama_decode: "could not find a KV slot for the batch"
_STATUS = Path("/proc/self/status")


def _peak_bytes() -> int:
    """The most memory of this process that was resident at a time."""
    if _STATUS.is_file():  # getrusage would tell the parent's peak as well: it survives exec
        for line in _STATUS.read_text("ascii", errors="replace").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


@final
class _Rows:
    """The file of logits, mapped."""

    def __init__(self, path: Path, width: int) -> None:
        self._file = path.open("r+b")
        self._width = width
        self.values_RV = np.empty((0, width), np.float32)

    def grow(self, count: int) -> None:
        """Make room for so many rows, really there, so that writing to them cannot fail later."""
        if count <= len(self.values_RV):
            return
        size = count * self._width * 4
        self._file.truncate(size)
        if sys.platform != "darwin":
            os.posix_fallocate(self._file.fileno(), 0, size)
        whole = mmap.mmap(self._file.fileno(), size)
        self.values_RV = np.frombuffer(whole, np.float32).reshape(count, self._width)


@final
class _Llama:
    """A model of llama.cpp and one context of it."""

    def __init__(self, file: Path, rows: Path, *, threads: int, rounded: bool) -> None:
        try:
            self._lib: Any = bindings.get_lib()
        except RuntimeError as error:
            raise CompatibilityError(
                f"llama.cpp cannot be loaded: {error}.", hint="Reinstall it: pip install 'spiritsafe[gguf]'."
            ) from error
        self._ffi: Any = bindings.get_ffi()
        self._threads = threads
        self._flash, self._stored = (_FLASH_WHERE_POSSIBLE, _FLOAT16) if rounded else (_FLASH_OFF, _FLOAT32)
        self._shown = False
        self._logger = self._ffi.callback("ggml_log_callback", self._log)
        self._lib.llama_log_set(self._logger, self._ffi.NULL)
        self._lib.llama_backend_init()
        settings = self._lib.llama_model_default_params()
        settings.n_gpu_layers = 0  # what computes is said of the file's results: this processor
        settings.check_tensors = True
        self._model = self._lib.llama_model_load_from_file(os.fsencode(file), settings)
        if self._model == self._ffi.NULL:
            raise SourceError(
                f"llama.cpp cannot load {file}.",
                hint="Check that it is a whole GGUF file of a language model; a newer llama.cpp may know its kind.",
            )
        self._vocab = self._lib.llama_model_get_vocab(self._model)
        self._vocab_size = int(self._lib.llama_vocab_n_tokens(self._vocab))
        self._rows = _Rows(rows, self._vocab_size)
        self._batch = self._lib.llama_batch_init(BATCH_TOKENS, 0, 1)
        self._context: Any = self._ffi.NULL
        self._num_sequences = 0

    def _log(self, level: int, text: Any, _: Any) -> None:
        if level != _LOG_CONTINUED:
            self._shown = level == _LOG_ERROR
        if self._shown:
            sys.stderr.write(self._ffi.string(text).decode("utf-8", "replace"))

    def describe(self) -> dict[str, Any]:
        """What runs, and what it holds."""
        told = self._ffi.string(self._lib.llama_print_system_info()).decode("utf-8", "replace")
        names = [part.split("=")[0].split(":")[-1].strip() for part in told.split("|") if part.strip().endswith("= 1")]
        return {
            "vocab_size": self._vocab_size,
            "rows": len(self._rows.values_RV),
            "context_length": int(self._lib.llama_model_n_ctx_train(self._model)),
            "most_sequences": int(self._lib.llama_max_parallel_sequences()),
            "version": llama_cpp_py_sync.__llama_cpp_tag__,
            "commit": llama_cpp_py_sync.__llama_cpp_commit__,
            "instructions": names,
        }

    def resize(self, context: int, sequences: int) -> dict[str, Any]:
        """Begin anew with room for so many tokens in each of so many sequences."""
        if self._context != self._ffi.NULL:
            self._lib.llama_free(self._context)
            self._num_sequences = 0
        settings = self._lib.llama_context_default_params()
        count = max(sequences, _FEWEST_ROWS)
        settings.n_ctx = -(-context // CACHE_STEP) * CACHE_STEP * sequences  # llama.cpp rounds so itself, but the whole
        settings.n_seq_max = sequences
        settings.n_batch = settings.n_ubatch = BATCH_TOKENS
        settings.n_outputs_max = count
        settings.n_threads = settings.n_threads_batch = self._threads
        settings.flash_attn_type = self._flash
        settings.type_k = settings.type_v = self._stored
        settings.kv_unified = False
        self._context = self._lib.llama_init_from_model(self._model, settings)
        if self._context == self._ffi.NULL:
            raise BudgetError(
                f"llama.cpp cannot make a cache for {sequences} sequences of {context} tokens.",
                hint="Ask for fewer at once (max_batch) or for a shorter context (max_context).",
            )
        self._memory = self._lib.llama_get_memory(self._context)
        self._num_sequences = sequences
        self._rows.grow(count)
        return {"rows": count}

    def _known(self, *sequences: int) -> None:
        """llama.cpp ends the process where a number is out of range."""
        if not all(0 <= sequence < self._num_sequences for sequence in sequences):
            raise IntegrityError(
                f"A sequence of {sorted(set(sequences))} is not one of {self._num_sequences}.", hint="Resize first."
            )

    def decode(
        self, tokens: Sequence[int], positions: Sequence[int], sequences: Sequence[int], wanted: Sequence[int]
    ) -> dict[str, Any]:
        """Feed tokens; write the logits of the entries wanted, in their order, into the first rows."""
        count = len(tokens)
        self._known(*sequences)
        if not 0 < count <= BATCH_TOKENS or not count == len(positions) == len(sequences):
            raise IntegrityError(
                f"{count} tokens, {len(positions)} positions, {len(sequences)} sequences.",
                hint=f"Send one of each for each of at most {BATCH_TOKENS} tokens.",
            )
        if len(wanted) > len(self._rows.values_RV) or not all(0 <= entry < count for entry in wanted):
            raise IntegrityError("The entries wanted are not among those fed.", hint="Send their places in the batch.")
        if count > int(self._lib.llama_n_batch(self._context)):  # llama.cpp makes it no longer than all caches
            raise BudgetError("A sequence is longer than its cache.", hint="Resize with a longer context.")
        batch = self._batch
        batch.n_tokens = count
        asked = set(wanted)
        for place in range(count):
            batch.token[place] = tokens[place]
            batch.pos[place] = positions[place]
            batch.n_seq_id[place] = 1
            batch.seq_id[place][0] = sequences[place]
            batch.logits[place] = place in asked
        status = self._lib.llama_decode(self._context, batch)
        if status == _NO_SLOT:
            raise BudgetError("A sequence is longer than its cache.", hint="Resize with a longer context.")
        if status != 0:
            raise IntegrityError(
                f"llama.cpp refuses a batch with status {status}.", hint="Feed each sequence its positions in order."
            )
        for row, place in enumerate(wanted):
            logits = self._lib.llama_get_logits_ith(self._context, place)
            self._rows.values_RV[row] = np.frombuffer(self._ffi.buffer(logits, 4 * self._vocab_size), np.float32)
        return {"rows": len(wanted)}

    def copy(self, source: int, targets: Sequence[int], length: int) -> dict[str, Any]:
        """The targets become the source's first ``length`` tokens."""
        self._known(source, *targets)
        for target in targets:
            if target != source:
                self._lib.llama_memory_seq_rm(self._memory, target, -1, -1)
                # Between caches of their own only whole ones are copied, with the next decode.
                self._lib.llama_memory_seq_cp(self._memory, source, target, -1, -1)
            self._lib.llama_memory_seq_rm(self._memory, target, length, -1)
        return {}

    def clear(self, sequence: int | None) -> dict[str, Any]:
        """Forget a sequence, or all of them."""
        self._known(*range(self._num_sequences) if sequence is None else (sequence,))
        self._lib.llama_memory_seq_rm(self._memory, -1 if sequence is None else sequence, -1, -1)
        return {}

    def tokenize(self, text: str, special: bool) -> dict[str, Any]:
        """Token ids of a text, nothing added; text that looks like a special token is one if ``special``."""
        raw = text.encode()
        most = len(raw) + 16
        ids = self._ffi.new("llama_token[]", most)
        count = self._lib.llama_tokenize(self._vocab, raw, len(raw), ids, most, False, special)
        if count < 0:
            raise CompatibilityError(
                f"llama.cpp makes more than {most} tokens of {len(raw)} bytes.", hint="Check the file's vocabulary."
            )
        return {"tokens": list(ids[0:count])}


def _answer(llama: _Llama, command: dict[str, Any]) -> dict[str, Any]:
    operation = str(command.pop("op", None))
    operations: dict[str, Callable[..., dict[str, Any]]] = {
        "describe": llama.describe,
        "resize": llama.resize,
        "decode": llama.decode,
        "copy": llama.copy,
        "clear": llama.clear,
        "tokenize": llama.tokenize,
        "peak": lambda: {"bytes": _peak_bytes()},
    }
    if operation not in operations:
        raise IntegrityError(f"Unknown operation {operation!r}.", hint=f"Use one of {', '.join(operations)} or close.")
    return operations[operation](**command)


def _write(replies: TextIO, reply: dict[str, Any]) -> None:
    replies.write(json.dumps(reply) + "\n")
    replies.flush()


def run_commands(llama: _Llama, commands: Iterable[str], replies: TextIO) -> None:
    """Answer commands until "close" or their end."""
    for line in commands:
        try:
            command = json.loads(line)
            if command.get("op") == "close":
                return
            reply = _answer(llama, command)
        except Exception as error:  # noqa: BLE001  # the process boundary: nothing may leave it unreported
            reply = {"error": error_fields(error)}
        _write(replies, reply)


def main(arguments: Sequence[str] | None = None) -> int:
    """Load a file and follow commands on it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m spiritsafe.models.llama_cpp.child")
    parser.add_argument("file", type=Path)
    parser.add_argument("logits", type=Path, help="an empty file that becomes the rows of logits")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounded", action="store_true")
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--sequences", type=int, default=1)
    options = parser.parse_args(arguments)
    replies = take_stdout()
    try:
        llama = _Llama(options.file, options.logits, threads=options.threads, rounded=options.rounded)
        llama.resize(options.context, options.sequences)
    except Exception as error:  # noqa: BLE001  # the process boundary
        _write(replies, {"error": error_fields(error)})
        return 1
    run_commands(llama, sys.stdin, replies)
    return 0


if __name__ == "__main__":
    sys.exit(main())
