"""The hub client's errors become ours, whatever library they come from."""

from __future__ import annotations

import errno
import importlib.util

import pytest
from huggingface_hub import errors

from spiritsafe.core.errors import SourceError, StorageError
from spiritsafe.core.files.hub import hub_client, hub_errors

HTTP = next(kind for kind in errors.HfHubHTTPError.__mro__ if kind.__name__ == "HTTPError")
TRANSPORT = next(kind for kind in HTTP.__subclasses__() if kind.__name__ == "RequestError")


@pytest.mark.parametrize(
    ("raised", "said", "hint"),
    [
        (TRANSPORT("the peer reset the connection"), "the peer reset the connection", "run the same command again"),
        (OSError("connection reset"), "connection reset", "run the same command again"),
        (errors.EntryNotFoundError("no such entry"), "no such entry", "run the same command again"),
        (errors.XetDownloadError("xet"), "xet", "run the same command again"),
        (errors.LocalEntryNotFoundError("x"), "cannot be reached", "path of a copy"),
        (errors.OfflineModeIsEnabled("x"), "cannot be reached", "run the same command again"),
        (errors.HFValidationError("x"), "no repository", "spelling"),
    ],
)
def test_what_the_client_raises(raised: Exception, said: str, hint: str) -> None:
    """Errors of the HTTP library are neither the client's own nor the system's: they went through as defects."""
    with pytest.raises(SourceError, match=said) as caught, hub_errors("org/name"):
        raise raised
    assert hint in caught.value.hint


def test_a_full_disk_is_no_matter_of_the_network() -> None:
    with pytest.raises(StorageError, match="No space left") as caught, hub_errors("org/name"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert "HF_HOME" in caught.value.hint


def test_our_own_errors_pass() -> None:
    with pytest.raises(SourceError, match="ours"), hub_errors("org/name"):
        raise SourceError("ours", hint="as it is")


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    assert hub_client("A set").HfApi
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SourceError, match="A set comes from the Hugging Face hub") as caught:
        hub_client("A set")
    assert "pip install huggingface-hub" in caught.value.hint
