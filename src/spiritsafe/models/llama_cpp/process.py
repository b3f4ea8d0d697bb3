"""One GGUF file in a child process that runs llama.cpp: tokens in, logits out, at arm's length.

In: the file, how long sequences may get and how many there are at once. Out: llama.cpp's own tokens of a text, and
float32 logits. llama.cpp is C++ that a damaged or hostile file may crash: the child ends then, and this process gets an
error. See :mod:`spiritsafe.models.llama_cpp.child` for the commands, and for what is computed how.
"""

from __future__ import annotations

import importlib.util
import json
import mmap
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO, Any, Self, final

import numpy as np
import numpy.typing as npt

from spiritsafe.core.errors import CompatibilityError, EndpointError, ProcedureError, SourceError, error_from_fields
from spiritsafe.core.files.atomic import storage_errors
from spiritsafe.core.process.children.child_process import ChildProcess
from spiritsafe.core.process.environment import child_environment

BATCH_TOKENS = 512
"""That one decode takes at most: llama.cpp's own size of a physical batch."""
CACHE_STEP = 256
"""A sequence's cache has room for a whole multiple of so many tokens."""
_CHILD = "spiritsafe.models.llama_cpp.child"
_CLOSE_TIMEOUT_S = 5.0

Logits = npt.NDArray[np.float32]


@final
@dataclass(frozen=True)
class LlamaFacts:
    """What runs in the child, and what it holds.

    Attributes:
        context_length: Tokens the model was made for.
        most_sequences: That llama.cpp can hold at once.
        version: Of llama.cpp, as its makers count builds.
        instructions: Of this processor, that its build uses.
    """

    vocab_size: int
    context_length: int
    most_sequences: int
    version: str
    commit: str
    instructions: tuple[str, ...]


def has_llama_cpp() -> bool:
    """Whether llama.cpp's package is installed."""
    return importlib.util.find_spec("llama_cpp_py_sync") is not None


def require_llama_cpp() -> None:
    """Raise a CompatibilityError where llama.cpp's package is not installed."""
    if not has_llama_cpp():
        raise CompatibilityError(
            "Running a GGUF file as it is needs llama.cpp, which is not installed.",
            hint="Install it: pip install 'spiritsafe[gguf]'. Without it, `gguf:FILE` converts the file to float32 "
            "and runs it in our engine, which is another computation.",
        )


@final
class LlamaProcess:
    """A context manager over one child. Not for several threads at once.

    Args:
        file: A GGUF file.
        threads: llama.cpp's threads wait for each other by spinning, so more than idle cores make it slow.
        context: Most tokens of a sequence.
        num_sequences: That are held at once.
        rounded: Keep keys and values in float16, as llama.cpp does by itself: half the memory, and faster.
        start_timeout_s: Most seconds until the weights are loaded.
        silence_timeout_s: Most seconds for one command.

    Attributes:
        facts: What runs and what it holds.

    Raises:
        CompatibilityError: llama.cpp is not installed, or cannot be loaded.
        SourceError: It cannot load the file.
        BudgetError: There is no memory for so many sequences of that length.
        EndpointError: The child died or fell silent.
    """

    def __init__(
        self,
        file: Path,
        *,
        threads: int = 1,
        context: int = 512,
        num_sequences: int = 1,
        rounded: bool = False,
        start_timeout_s: float = 600.0,
        silence_timeout_s: float = 600.0,
    ) -> None:
        require_llama_cpp()
        self._file = file
        self._silence_timeout_s = silence_timeout_s
        self._rows: Logits | None = None
        with storage_errors(Path(tempfile.gettempdir())):
            descriptor, name = tempfile.mkstemp(prefix="spiritsafe-logits-")
        self._shared: IO[bytes] = os.fdopen(descriptor, "r+b")
        self._child: ChildProcess | None = None
        command = [sys.executable, "-m", _CHILD, str(file), name, "--threads", str(threads)]
        command += ["--context", str(context), "--sequences", str(num_sequences)]
        command += ["--rounded"] if rounded else []
        try:
            self._child = self._start(command)
            described = self._ask({"op": "describe"}, timeout_s=start_timeout_s)
            rows = int(described.pop("rows"))
            self.facts = LlamaFacts(**{**described, "instructions": tuple(described["instructions"])})
            self.context, self.num_sequences = context, num_sequences
            self._map(rows)
        except SourceError as error:
            raise self._with_last_words(error) from error
        except BaseException:
            self.close()
            raise
        finally:
            os.unlink(name)  # both ends hold it open, so nobody has to tidy up after a kill

    def _start(self, command: Sequence[str]) -> ChildProcess:
        try:
            # A backtrace of a crash would start a debugger.
            return ChildProcess(command, env=child_environment(GGML_NO_BACKTRACE="1"))
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            if isinstance(error, CompatibilityError):
                raise
            raise EndpointError(
                f"llama.cpp's process cannot be started: {error}.", hint="Check the memory and the limits on processes."
            ) from error

    @property
    def pid(self) -> int:
        """Of the child."""
        return self._running().pid

    @property
    def is_alive(self) -> bool:
        """Whether it can be asked; after an EndpointError it cannot."""
        return self._child is not None

    @property
    def num_rows(self) -> int:
        """Most logits that one decode may be asked for."""
        return 0 if self._rows is None else len(self._rows)

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        """llama.cpp's own tokens of a text, nothing added.

        Args:
            special: Whether text that reads as a special token becomes one.
        """
        return [int(token) for token in self._ask({"op": "tokenize", "text": text, "special": special})["tokens"]]

    def logits(self, token_ids: Sequence[int]) -> Logits:
        """Logits ``[T, V]`` after each of T tokens; sequence 0 is forgotten.

        Raises:
            CompatibilityError: They are more than the context holds.
        """
        if len(token_ids) > self.context:
            raise CompatibilityError(
                f"{len(token_ids)} tokens do not fit the context of {self.context}.", hint="Make it longer."
            )
        self.clear(0)
        out = np.empty((len(token_ids), self.facts.vocab_size), np.float32)
        for start, end in chunks(len(token_ids), self.num_rows):
            count = end - start
            out[start:end] = self.decode(token_ids[start:end], range(start, end), [0] * count, range(count))
        self.clear(0)
        return out

    def decode(
        self, token_ids: Sequence[int], positions: Sequence[int], sequences: Sequence[int], wanted: Sequence[int]
    ) -> Logits:
        """Feed tokens, at most ``BATCH_TOKENS``, each to its sequence at its position.

        Args:
            wanted: Places among them.

        Returns:
            Logits ``[len(wanted), V]``, in memory that the next command overwrites.
        """
        command = {"op": "decode", "tokens": list(token_ids), "positions": list(positions)}
        self._ask({**command, "sequences": list(sequences), "wanted": list(wanted)})
        if self._rows is None:
            raise ProcedureError("This process was closed.", hint="Make a new one.")
        return self._rows[: len(wanted)]

    def copy(self, source: int, targets: Sequence[int], length: int) -> None:
        """Make sequences of the first ``length`` tokens of another one."""
        self._ask({"op": "copy", "source": source, "targets": list(targets), "length": length})

    def clear(self, sequence: int | None = None) -> None:
        """Forget what a sequence holds, or all of them."""
        self._ask({"op": "clear", "sequence": sequence})

    def resize(self, *, context: int, num_sequences: int) -> None:
        """Forget all sequences, and make room for others; the weights stay.

        Raises:
            BudgetError: There is no memory for them. Another resize may do.
        """
        rows = self._ask({"op": "resize", "context": context, "sequences": num_sequences})["rows"]
        self.context, self.num_sequences = context, num_sequences
        self._map(int(rows))

    def peak_bytes(self) -> int:
        """The most memory of the child that was resident at a time."""
        return int(self._ask({"op": "peak"})["bytes"])

    def close(self) -> None:
        """End the child; a second call does nothing."""
        child, self._child = self._child, None
        if child is not None:
            child.stop(_CLOSE_TIMEOUT_S)
        self._rows = None
        self._shared.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _map(self, count: int) -> None:
        whole = mmap.mmap(self._shared.fileno(), 4 * count * self.facts.vocab_size)
        self._rows = np.frombuffer(whole, np.float32).reshape(count, self.facts.vocab_size)

    def _running(self) -> ChildProcess:
        if self._child is None:
            raise ProcedureError("llama.cpp's process has ended.", hint="Start a new one.")
        return self._child

    def _ask(self, command: dict[str, Any], *, timeout_s: float | None = None) -> dict[str, Any]:
        child = self._running()
        patience_s = self._silence_timeout_s if timeout_s is None else timeout_s
        try:
            child.send(json.dumps(command).encode("ascii") + b"\n", patience_s)
            line = child.receive(patience_s)
        except TimeoutError:
            raise self._broken(f"said nothing for {patience_s:g} s", "It may need more time: try again.") from None
        if line is None:
            raise self._broken(*child.ending())
        answer = json.loads(line)
        if "error" in answer:
            raise error_from_fields(answer["error"], hint="Look at its last lines.")
        return dict(answer)

    def _with_last_words(self, error: SourceError) -> SourceError:
        """llama.cpp says only on its standard error why it cannot load a file."""
        child = self._child
        self.close()
        said = "" if child is None else child.stderr_tail().strip()
        return SourceError(f"{error.message} It said:\n{said}\n" if said else error.message, hint=error.hint)

    def _broken(self, how: str, hint: str) -> EndpointError:
        """The child is of no use any more: end it, and say how it went, with the last lines of its stderr."""
        child, self._child = self._child, None
        tail = ""
        if child is not None:
            child.stop(0.0)
            tail = child.stderr_tail()
        self.close()
        shown = f" Its last lines were:\n{tail}\n" if tail else ""
        return EndpointError(f"llama.cpp's process for {self._file.name} {how}.{shown}", hint=hint)


def chunks(length: int, most: int) -> list[tuple[int, int]]:
    """Cut ``length`` tokens into runs of at most ``most``, none of a single one unless there is only one.

    llama.cpp adds up a single token's attention in another order than that of several.
    """
    cuts = [*range(0, length, most), length] if length else [0]
    if len(cuts) > 2 and cuts[-1] - cuts[-2] == 1:
        cuts[-2] -= 1
    return list(pairwise(cuts))
