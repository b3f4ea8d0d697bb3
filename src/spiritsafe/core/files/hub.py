"""What the Hugging Face hub's client raises, as errors that say what to do.

In: what is fetched. Out: the client, which is imported when it is asked for, and a :class:`SourceError` for whatever it
raises: its own errors, those of the HTTP library under it, which are neither of its kind nor the system's, and those of
the disk.
"""

from __future__ import annotations

import errno
import importlib
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from spiritsafe.core.errors import SourceError, SpiritsafeError, StorageError

_AGAIN = "Check the network and run the same command again; what was fetched so far is kept."
_OF_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)


def hub_client(what: str) -> Any:
    """The package ``huggingface_hub``.

    Args:
        what: What it is wanted for; begins the error.

    Raises:
        SourceError: It is not installed.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise SourceError(
            f"{what} comes from the Hugging Face hub, and fetching it needs the package huggingface-hub.",
            hint="Run `pip install huggingface-hub`, or download it and give its path.",
        )
    return importlib.import_module("huggingface_hub")


@contextmanager
def hub_errors(
    name: str, *, revision: str | None = None, page: str = "https://huggingface.co", hint: str = "Check its spelling."
) -> Iterator[None]:
    """Whatever the client raises while something of a repository is fetched.

    Args:
        name: ``organisation/name`` of the repository.
        revision: What was asked for; None for the default branch.
        page: Where its page is.
        hint: What to do if there is no such revision.

    Raises:
        SourceError: Which of them it was, and what to do.
        StorageError: The client's cache cannot be written.
    """
    errors: Any = importlib.import_module("huggingface_hub.errors")
    # of httpx, of a fork of it or of requests, as the client's version has it
    of_http = next(kind for kind in errors.HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
    transfer = (getattr(errors, "XetDownloadError", OSError), getattr(errors, "EntryNotFoundError", OSError))
    try:
        yield
    except SpiritsafeError:
        raise
    except errors.GatedRepoError as error:
        raise SourceError(
            f"{name} is gated.",
            hint=f"Accept its terms on {page}/{name}, then set HF_TOKEN to a token of your account.",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise SourceError(f"{name} has no revision {revision!r}.", hint=hint) from error
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as error:
        raise SourceError(
            f"There is no repository {name!r}, or it is private.",
            hint="Check the spelling of organisation/name; set HF_TOKEN for a private one.",
        ) from error
    except (errors.LocalEntryNotFoundError, errors.OfflineModeIsEnabled) as error:
        said = f": {_said(error.__cause__)}" if error.__cause__ else ""
        raise SourceError(
            f"{name} is not on this machine and the Hugging Face hub cannot be reached{said}.",
            hint=f"{_AGAIN} Or give the path of a copy.",
        ) from error
    except (OSError, ValueError, RuntimeError, of_http, *transfer) as error:
        if isinstance(error, OSError) and error.errno in _OF_DISK:
            raise StorageError(
                f"{name} cannot be kept: {error.strerror}.",
                hint="Make room, or set HF_HOME to a folder of yours with more of it, and run the same command again.",
            ) from error
        raise SourceError(f"{name} cannot be fetched: {_said(error)}.", hint=_AGAIN) from error


def _said(error: BaseException) -> str:
    return (" ".join(str(error).split())[:200] or type(error).__name__).rstrip(".")
