"""The material of one verification of a release; steps leave here what they found.

In: a directory that somebody else made. Out: its parts, each read once, within bounds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, final

from spiritsafe.core.errors import IntegrityError, SpiritsafeError
from spiritsafe.core.files.reading import parse_json, read_bytes
from spiritsafe.core.files.record_files import parse_record
from spiritsafe.core.text.safe_text import one_line
from spiritsafe.exam.records import Certificate
from spiritsafe.release.contents import BOM_FILE, CARD_FILE, KEY_FILE, RELEASE_FILE, SIGNATURE_FILE, Release
from spiritsafe.release.directory import DirectoryListing, list_directory
from spiritsafe.release.signing import SignedManifest, VerifyingKey, read_signature_file

GOOD_RELEASE = "Do not use this release; get it again from who made it, and tell them if it is so there as well."
_MOST_BYTES = 256 << 20
_MOST_NAMED = 20


def named(paths: Sequence[str]) -> str:
    """Some paths for a sentence; of many the first."""
    shown = ", ".join(one_line(path) for path in paths[:_MOST_NAMED])
    return f"{shown} and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else shown


@contextmanager
def about(path: str) -> Iterator[None]:
    """Whatever is found wrong here is about this file, and says so.

    Raises:
        IntegrityError: Naming it.
    """
    try:
        yield
    except SpiritsafeError as error:
        if path in error.message:
            raise
        raise IntegrityError(f"{path}: {error.message}", hint=GOOD_RELEASE) from error


@final
class ReleaseCase:
    """What is looked at.

    Attributes:
        directory: The release.
        given_key: A public key that the verifier has from elsewhere.
    """

    def __init__(self, directory: Path, given_key: Path | None) -> None:
        self.directory = directory
        own = directory / KEY_FILE
        is_own = given_key is not None and given_key.exists() and own.exists() and given_key.samefile(own)
        self.given_key = None if is_own else given_key
        self._certificates: dict[str, Certificate] = {}

    @cached_property
    def listing(self) -> DirectoryListing:
        """What lies there."""
        return list_directory(self.directory)

    @cached_property
    def manifest(self) -> SignedManifest:
        """What the signature names."""
        with about(SIGNATURE_FILE):
            return read_signature_file(self.directory / SIGNATURE_FILE)

    @cached_property
    def key(self) -> VerifyingKey:
        """The key that has to have signed."""
        if self.given_key is not None:
            return VerifyingKey.load(self.given_key)
        return VerifyingKey.parse(self.read(KEY_FILE), KEY_FILE)

    def read(self, path: str) -> bytes:
        """A file that is read whole; never one that the manifest does not name."""
        if path not in self.manifest.files:
            raise IntegrityError(f"{path} is not in this release.", hint=GOOD_RELEASE)
        with about(path):
            return read_bytes(self.directory / path, most_bytes=_MOST_BYTES)

    def text(self, path: str) -> str:
        """The same as UTF-8.

        Raises:
            IntegrityError: It is none.
        """
        try:
            return self.read(path).decode("utf-8")
        except UnicodeDecodeError as error:
            raise IntegrityError(f"{path} is no UTF-8 text.", hint=GOOD_RELEASE) from error

    @cached_property
    def release(self) -> Release:
        """The record."""
        with about(RELEASE_FILE):
            return parse_record(self.read(RELEASE_FILE), Release, RELEASE_FILE)

    @cached_property
    def bom(self) -> Any:
        """The bill of materials, as JSON."""
        return parse_json(self.read(BOM_FILE), BOM_FILE, hint=GOOD_RELEASE)

    @cached_property
    def card(self) -> str:
        """The card."""
        return self.text(CARD_FILE)

    def certificate(self, path: str) -> Certificate:
        """A certificate that the release names."""
        if path not in self._certificates:
            with about(path):
                self._certificates[path] = parse_record(self.read(path), Certificate, path)
        return self._certificates[path]

    @cached_property
    def certificates(self) -> dict[str, Certificate]:
        """All of them by path."""
        own = [one.path for file in self.release.files for one in file.certificates]
        others = [path for exam in self.release.exams for path in exam.others]
        return {path: self.certificate(path) for path in (*own, *others)}


def require_that(condition: bool, message: str) -> None:
    """Fail the step unless the condition holds.

    Raises:
        IntegrityError: It does not.
    """
    if not condition:
        raise IntegrityError(message, hint=GOOD_RELEASE)
