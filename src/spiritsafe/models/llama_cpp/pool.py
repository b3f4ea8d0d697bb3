"""llama.cpp's processes for one file, lent and given back: one waits for the next user, a dead one is replaced.

In: a file. Out: an empty :class:`~spiritsafe.models.llama_cpp.process.LlamaProcess` that is large enough.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import final

from spiritsafe.core.errors import CompatibilityError, EndpointError, ProcedureError
from spiritsafe.models.llama_cpp.process import LlamaProcess


@final
class LlamaPool:
    """Lends processes. Not for several threads at once.

    Args:
        file: A GGUF file.
        threads: Of each process.
        rounded: How each keeps keys and values.
    """

    def __init__(self, file: Path, *, threads: int = 1, rounded: bool = False) -> None:
        self._file = file
        self._start = partial(LlamaProcess, file, threads=threads, rounded=rounded)
        self._idle: LlamaProcess | None = None
        self._peak_bytes = 0
        self._closed = False

    def take(self, *, context: int, num_sequences: int) -> LlamaProcess:
        """A process with so much room, all of it empty.

        Raises:
            CompatibilityError: llama.cpp is not installed, or ends while it loads the file.
            SourceError: It cannot load the file.
            BudgetError: There is no memory for so much room.
        """
        process, self._idle = self._idle, None
        if process is not None and self._is_emptied(process, context, num_sequences):
            return process
        try:
            return self._start(context=context, num_sequences=num_sequences)
        except EndpointError as error:  # before anything was asked, so nothing that was asked can be the reason
            raise CompatibilityError(
                f"llama.cpp cannot be made ready for {self._file.name}. {error.message}", hint=error.hint
            ) from error

    def _is_emptied(self, process: LlamaProcess, context: int, num_sequences: int) -> bool:
        """Whether a process that waited has the room now; it may have died meanwhile."""
        try:
            if context <= process.context and num_sequences <= process.num_sequences:
                process.clear()
            else:
                process.resize(context=context, num_sequences=num_sequences)
        except EndpointError:
            return False
        except BaseException:
            process.close()
            raise
        return True

    def give_back(self, process: LlamaProcess) -> None:
        """Take back what :meth:`take` lent, dead or alive."""
        with suppress(EndpointError, ProcedureError):  # it has died
            self._peak_bytes = max(self._peak_bytes, process.peak_bytes())
        if self._closed or self._idle is not None or not process.is_alive:
            process.close()
        else:
            self._idle = process

    def peak_bytes(self) -> int:
        """The most memory that was resident in one of those given back."""
        return self._peak_bytes

    def close(self) -> None:
        """End the process that waits; those still lent end when they are given back."""
        self._closed = True
        process, self._idle = self._idle, None
        if process is not None:
            process.close()
