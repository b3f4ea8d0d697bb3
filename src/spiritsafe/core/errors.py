"""Every error that spiritsafe raises on purpose, in one tree.

::

    SpiritsafeError
    ├── RecipeError        (ValueError)       a recipe or an option is wrong
    ├── TaskError          (ValueError)       a task or its data cannot be used
    ├── SourceError        (OSError)          a model or data set cannot be found or read
    ├── CompatibilityError (ValueError)       two things do not fit together (teacher and student, model and engine)
    ├── BudgetError        (MemoryError)      a plan does not fit the memory or byte budget, or one is used up
    ├── NumericalError     (ArithmeticError)  NaN or infinity where a number is needed
    ├── StorageError       (OSError)          a file cannot be written (disk full, no permission)
    ├── EndpointError      (ConnectionError)  a remote model failed, timed out or answered nonsense
    ├── IntegrityError     (ValueError)       a hash, signature or chain does not match
    ├── ProcedureError     (RuntimeError)     an exam step is out of order (a sitting without a registration)
    └── StoppedError       (InterruptedError) the user asked to stop; the same command goes on

Each error carries the next step for its reader: ``SourceError("no file at x", hint="Check the path.")``.
The command line prints ``str(error)`` and ``error.hint`` as one paragraph and exits with ``error.exit_code``.
"""

from __future__ import annotations

from typing import Any


class SpiritsafeError(Exception):
    """Base of the tree.

    Args:
        message: What went wrong, in plain words.
        hint: What the reader should do next; required, because an error without a next step is half an error.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message

    def diagnostics(self) -> str:
        """The paragraph that a user reads: what happened, then what to do."""
        return f"{self.message} {self.hint}"


class RecipeError(SpiritsafeError, ValueError):
    """A recipe or an option is wrong."""

    exit_code = 2


class TaskError(SpiritsafeError, ValueError):
    """A task or its data cannot be used."""

    exit_code = 2


class SourceError(SpiritsafeError, OSError):
    """A model or data set cannot be found or read."""

    exit_code = 3


class CompatibilityError(SpiritsafeError, ValueError):
    """Two things do not fit together."""

    exit_code = 4


class BudgetError(SpiritsafeError, MemoryError):
    """A plan does not fit the memory or byte budget, or what an endpoint may be asked is used up."""

    exit_code = 5


class NumericalError(SpiritsafeError, ArithmeticError):
    """NaN or infinity where a number is needed."""

    exit_code = 6


class StorageError(SpiritsafeError, OSError):
    """A file cannot be written."""

    exit_code = 7


class EndpointError(SpiritsafeError, ConnectionError):
    """A remote model failed, timed out or answered nonsense."""

    exit_code = 8


class IntegrityError(SpiritsafeError, ValueError):
    """A hash, a signature or a chain does not match."""

    exit_code = 9


class ProcedureError(SpiritsafeError, RuntimeError):
    """An exam step is out of order."""

    exit_code = 10


class StoppedError(SpiritsafeError, InterruptedError):
    """The user asked to stop."""

    exit_code = 130


def error_fields(error: Exception) -> dict[str, str]:
    """An error as it crosses a pipe: ``type``, ``message``, ``hint``; one that is none of ours is called a defect."""
    if isinstance(error, SpiritsafeError):
        return {"type": type(error).__name__, "message": error.message, "hint": error.hint}
    return {
        "type": type(error).__name__,
        "message": f"{type(error).__name__}: {error}",
        "hint": "This is a defect of the worker; its standard error may say more.",
    }


def error_from_fields(fields: Any, *, hint: str) -> SpiritsafeError:
    """The error that another process tells of: of the same class where it is one of this tree, else an EndpointError.

    Args:
        fields: What came; it may be anything.
        hint: The next step where the other process names none.
    """
    known = fields if isinstance(fields, dict) else {}
    kind = globals().get(str(known.get("type")))
    if not (isinstance(kind, type) and issubclass(kind, SpiritsafeError)):
        kind = EndpointError
    message = str(known.get("message") or "The worker reports an error without a message.")
    return kind(message, hint=str(known.get("hint") or hint))
