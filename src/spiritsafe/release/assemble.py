"""A release becomes one signed directory, whole or not at all.

In: a :class:`ReleasePlan`: what is released and where its files lie now. Out: the directory, with ``release.json``,
card, bill of materials, Modelfiles, licence texts, the signing key's public half and ``model.sig``. It is built beside
its place, verified as a stranger would, and renamed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

from spiritsafe.core.canonical import canonical_json
from spiritsafe.core.errors import IntegrityError, SourceError, StorageError
from spiritsafe.core.files.atomic import ensure_directory, new_beside, storage_errors, sync_directory
from spiritsafe.core.files.digests import digest_file
from spiritsafe.core.files.reading import read_bytes
from spiritsafe.core.files.record_files import parse_record, record_bytes
from spiritsafe.exam.records import Certificate
from spiritsafe.release.bom import bill_of_materials
from spiritsafe.release.contents import (
    BOM_FILE,
    CARD_FILE,
    KEY_FILE,
    LICENCE_FILE,
    RELEASE_FILE,
    SIGNATURE_FILE,
    Release,
    ReleasedFile,
    digest_of_parts,
    is_release_path,
)
from spiritsafe.release.directory import OF_DOWNLOADS, list_directory
from spiritsafe.release.signing import SigningKey, sign_files
from spiritsafe.release.texts.card import card_text
from spiritsafe.release.texts.container import container_files
from spiritsafe.release.texts.ladder import is_dominated
from spiritsafe.release.texts.modelfile import RecognisedChat, modelfile_path, modelfile_text
from spiritsafe.release.verification.verify import require_release, verify_release

_MOST_LICENCE_BYTES = 1 << 20
_LARGE = 1 << 20
"""Bytes from which a second copy is worth avoiding."""


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePlan:
    """What is to be released.

    Attributes:
        release: The record. Sizes and which files are dominated are filled in, and ``others`` gets what is written
            beside.
        sources: For each path that the record names: the file to take, or its bytes.
        chats: How the model of a GGUF file writes chats, by the file's path, where that was recognised.
        modelfiles: Whether GGUF files get one.
        containers: Whether there are container files, for the first GGUF file.
        extra: More small files by path: recipe, container files.
    """

    release: Release
    sources: Mapping[str, Path | bytes]
    chats: Mapping[str, RecognisedChat] = field(default_factory=dict)
    modelfiles: bool = True
    containers: bool = True
    extra: Mapping[str, bytes] = field(default_factory=dict)


def write_release(target: Path, plan: ReleasePlan, key: SigningKey) -> Release:
    """Write the directory.

    Args:
        target: A new directory, or an empty one.
        key: Signs it.

    Returns:
        The record as it was written.

    Raises:
        StorageError: The target is there already and holds something, or it cannot be written.
        SourceError: A file that the record names is missing.
        IntegrityError: What was written does not verify: a certificate is of other bytes, for example.
    """
    _refuse_taken(target)
    ensure_directory(target.parent)
    with storage_errors(target):
        place = new_beside(target, ".tmp", lambda new: new.mkdir())
        try:
            release = _fill(place, plan, key)
            require_release(verify_release(place))
            for path in (*list_directory(place).files.values(), place):
                _sync(path)
            _refuse_taken(target)
            os.replace(place, target)  # over an empty directory, and no other
            sync_directory(target.parent)
        finally:
            shutil.rmtree(place, ignore_errors=True)
    return release


def copy_release(source: Path, target: Path) -> None:
    """A release in another place, whole or not at all; models are not copied where the file system can link them.

    Raises:
        StorageError: The target is there already and holds something, or it cannot be written.
        IntegrityError: What is copied does not verify.
    """
    _refuse_taken(target)
    ensure_directory(target.parent)
    with storage_errors(target):
        place = new_beside(target, ".tmp", lambda new: new.mkdir())
        try:
            for path, file in list_directory(source).files.items():
                _put(place, path, file, link=file.stat().st_size > _LARGE)
            require_release(verify_release(place))
            _refuse_taken(target)
            os.replace(place, target)
            sync_directory(target.parent)
        finally:
            shutil.rmtree(place, ignore_errors=True)


def _refuse_taken(target: Path) -> None:
    if os.path.lexists(target) and (target.is_symlink() or not target.is_dir() or any(target.iterdir())):
        raise StorageError(
            f"{target} is there already.", hint="Give a new directory: no release is written over another."
        )


def _sync(path: Path) -> None:
    if path.is_dir():
        sync_directory(path)
        return
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _fill(place: Path, plan: ReleasePlan, key: SigningKey) -> Release:
    """Everything but the last look at it."""
    containers = container_files(plan.release) if plan.containers else {}
    small = {**plan.extra, **_modelfiles(plan), **{path: text.encode("utf-8") for path, text in containers.items()}}
    models = {path for file in plan.release.files for path in file.paths}
    for path, source in plan.sources.items():
        _put(place, path, source, link=path in models)
    for path, data in small.items():
        _put(place, path, data)
    _put(place, KEY_FILE, key.public.pem)
    digests = {path: digest_file(file) for path, file in list_directory(place).files.items()}
    sizes = {path: (place / path).stat().st_size for path in digests}
    others = (*plan.release.others, *sorted(set(small) - set(plan.release.named_paths())))
    release = plan.release.model_copy(update={"others": others})
    if missing := [path for path in release.named_paths() if path not in digests]:
        raise SourceError(
            f"The release names {missing[0]}, and nothing was given for it.",
            hint="Give a source for each of its files.",
        )
    certificates = _certificates(place, release)
    files = tuple(_filled(file, digests, sizes) for file in release.files)
    marked = tuple(file.model_copy(update={"is_dominated": is_dominated(file, files, certificates)}) for file in files)
    release = Release.from_json(release.model_copy(update={"files": marked}).to_json())
    for path, data in (
        (RELEASE_FILE, record_bytes(release)),
        (CARD_FILE, card_text(release, certificates, fingerprint=key.public.fingerprint).encode("utf-8")),
    ):
        _put(place, path, data)
        digests[path] = digest_file(place / path)
    bom: Any = bill_of_materials(release, certificates, digests)
    _put(place, BOM_FILE, canonical_json(bom))
    digests[BOM_FILE] = digest_file(place / BOM_FILE)
    signed = {path: value.removeprefix("sha256:") for path, value in digests.items()}
    signature = sign_files(release.name, signed, key, ignored=(*OF_DOWNLOADS, SIGNATURE_FILE))
    (place / SIGNATURE_FILE).write_bytes(signature)
    return release


def _modelfiles(plan: ReleasePlan) -> dict[str, bytes]:
    if not plan.modelfiles:
        return {}
    licence = plan.sources.get(LICENCE_FILE, b"")
    data = licence if isinstance(licence, bytes) else read_bytes(licence, most_bytes=_MOST_LICENCE_BYTES)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise SourceError(f"{LICENCE_FILE} is no UTF-8 text.", hint="Give the licence as UTF-8.") from error
    return {
        modelfile_path(file.path): modelfile_text(
            file.path,
            chat=plan.chats.get(file.path),
            context_length=plan.release.context_length,
            licence=text,
        ).encode("utf-8")
        for file in plan.release.files
        if not file.parts
    }


def _put(place: Path, path: str, source: Path | bytes, *, link: bool = False) -> None:
    """A file of the release.

    Args:
        link: Without a second copy of its gigabytes, where the file system can: models are replaced when they change,
            never rewritten. A ledger grows in its place, so what is small is copied.
    """
    if not is_release_path(path):
        raise SourceError(
            f"{path!r} is no name for a file of a release.",
            hint="Use letters, digits, and . _ + - in names that do not begin with a dot.",
        )
    target = place / path
    if os.path.lexists(target):
        raise SourceError(f"Two files of the release are called {path}.", hint="Give each a name of its own.")
    target.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(source, bytes):
        target.write_bytes(source)
        return
    if not source.is_file():
        raise SourceError(f"{source} is no file.", hint="Check the path; it was to become a part of the release.")
    real = source.resolve()
    if link:
        with suppress(OSError):  # another file system, or one without links
            os.link(real, target)
            return
    shutil.copyfile(real, target)


def _certificates(place: Path, release: Release) -> dict[str, Certificate]:
    own = [one.path for file in release.files for one in file.certificates]
    paths: Sequence[str] = [*own, *(path for exam in release.exams for path in exam.others)]
    return {path: parse_record((place / path).read_bytes(), Certificate, path) for path in paths}


def _filled(file: ReleasedFile, digests: Mapping[str, str], sizes: Mapping[str, int]) -> ReleasedFile:
    """With its size, and known to be what sat the exam."""
    parts = [(part, digests[path]) for part, path in zip(file.parts, file.paths, strict=False)]
    found = digest_of_parts(parts) if parts else digests[file.path]
    if found != file.digest:
        raise IntegrityError(
            f"{', '.join(file.paths)}: the digest is {found}, and the record has {file.digest}.",
            hint="Its certificates and its lineage are of other bytes: release the very files that sat the exam.",
        )
    return file.model_copy(update={"num_bytes": sum(sizes[path] for path in file.paths)})
