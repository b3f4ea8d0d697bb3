"""The steps of verifying a release, in their order; to add one, write its function and give it its place in CHECKS.

In: a :class:`ReleaseCase`. Out: a sentence of what was found, or an :class:`IntegrityError` that names the file.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from spiritsafe.core.canonical import canonical_json
from spiritsafe.core.files.digests import digest_file
from spiritsafe.core.text.names import quoted_name
from spiritsafe.release.bom import BOM_VERSION, bill_of_materials, serial_number
from spiritsafe.release.contents import (
    BOM_FILE,
    CARD_FILE,
    KEY_FILE,
    LICENCE_FILE,
    NOTICE_FILE,
    RELEASE_FILE,
    RELEASE_FILES,
    SIGNATURE_FILE,
    Release,
    digest_of_parts,
    is_release_path,
)
from spiritsafe.release.directory import OF_DOWNLOADS
from spiritsafe.release.duties.names import begins_as_asked
from spiritsafe.release.recorded_duties import unrecorded_duties
from spiritsafe.release.signing import VerifyingKey
from spiritsafe.release.texts.card import banner_line, card_text
from spiritsafe.release.texts.hub_metadata import claims_fit
from spiritsafe.release.texts.ladder import file_cells, is_dominated, other_rows
from spiritsafe.release.texts.markdown import hides_text, read_tables
from spiritsafe.release.texts.modelfile import modelfile_path, runs_nothing_else
from spiritsafe.release.verification.case import ReleaseCase, about, named, require_that
from spiritsafe.release.verification.exams import check_exam

_BESIDE_WEIGHTS = re.compile(r"[^/]+\.(gguf|Modelfile|toml)|(docker|exams|licences)/.+")
"""What no loader of a Hugging Face directory looks at."""
_MADE = (RELEASE_FILE, CARD_FILE, BOM_FILE, KEY_FILE)


def _signature(case: ReleaseCase) -> str:
    manifest = case.manifest
    with about(KEY_FILE if case.given_key is None else str(case.given_key)):
        key = case.key
    beside = f", which lies beside as {KEY_FILE}" if case.given_key is None else ", which was given"
    require_that(
        manifest.hint in ("", key.fingerprint),
        f"{SIGNATURE_FILE} is of the key {manifest.hint[:64]}, not of {key.fingerprint}{beside}.",
    )
    with about(SIGNATURE_FILE):
        manifest.require_signed(key)
        require_that(manifest.is_exact, "It was rewritten: it is not as model signing writes it.")
    if case.given_key is not None:
        return f"signed with the key that was given, sha256:{key.fingerprint}"
    return (
        f"signed with the key that lies beside, sha256:{key.fingerprint}: whose it is, that does not say; "
        "compare the fingerprint with the maker's, or give --key"
    )


def _manifest(case: ReleaseCase) -> str:
    manifest, listing = case.manifest, case.listing
    strange = set(manifest.ignored) - {*OF_DOWNLOADS, SIGNATURE_FILE}
    require_that(not strange, f"{SIGNATURE_FILE} leaves out {named(sorted(strange))}: a release leaves out nothing.")
    odd = [path for path in manifest.files if not is_release_path(path)]
    require_that(not odd, f"Names that no release has: {named(odd)}.")
    wrong = [f"no plain file: {named(listing.odd)}"] if listing.odd else []
    there = set(listing.files) - {SIGNATURE_FILE}
    for what, paths in (("missing", set(manifest.files) - there), ("not signed", there - set(manifest.files))):
        if paths:
            wrong.append(f"{what}: {named(sorted(paths))}")
    require_that(not wrong, f"The directory is not what was signed; {'; '.join(wrong)}.")
    missing = [path for path in _MADE if path not in manifest.files]
    require_that(not missing, f"This is no release of spiritsafe: {named(missing)} is missing.")
    left = f"; not looked at, as downloads write it: {named(listing.of_downloads)}" if listing.of_downloads else ""
    return f"{len(manifest.files)} files, all there and nothing else{left}"


def _digests(case: ReleaseCase) -> str:
    changed, num_bytes = [], 0
    for path, wanted in case.manifest.files.items():
        place = case.listing.files[path]
        num_bytes += place.stat().st_size
        if digest_file(place) != f"sha256:{wanted}":
            changed.append(path)
    require_that(not changed, f"Changed since it was signed: {named(changed)}.")
    return f"all {len(case.manifest.files)} files, {num_bytes:,} bytes, are those that were signed"


def _added_to_models(release: Release) -> list[str]:
    """Files that lie in a Hugging Face directory and are no part of it.

    Loaders take adapters, templates and settings by their names from wherever the weights lie.
    """
    folders = tuple(f"{file.path}/" for file in release.files if file.parts and file.path != ".")
    parts = {path for file in release.files if file.parts for path in file.paths}
    others = [path for path in release.named_paths() if path not in parts and path not in RELEASE_FILES]
    at_top = any(file.path == "." for file in release.files)
    return [path for path in others if path.startswith(folders) or (at_top and not _BESIDE_WEIGHTS.fullmatch(path))]


def _record(case: ReleaseCase) -> str:
    release, files = case.release, case.manifest.files
    missing = [path for path in release.named_paths() if path not in files]
    require_that(not missing, f"{RELEASE_FILE} names files that are not there: {named(missing)}.")
    unnamed = sorted(set(files) - {*release.named_paths(), *_MADE})
    require_that(not unnamed, f"{RELEASE_FILE} does not name {named(unnamed)}.")
    for file in release.files:
        parts = [(part, f"sha256:{files[path]}") for part, path in zip(file.parts, file.paths, strict=False)]
        found = digest_of_parts(parts) if parts else f"sha256:{files[file.path]}"
        require_that(found == file.digest, f"{RELEASE_FILE} has another digest of {named(file.paths)}.")
        size = sum(case.listing.files[path].stat().st_size for path in file.paths)
        require_that(size == file.num_bytes, f"{RELEASE_FILE} has another size of {named(file.paths)}.")
    added = _added_to_models(release)
    require_that(not added, f"Whatever loads a model here would load more than sat its exams: {named(added)}.")
    runs = {modelfile_path(file.path): file.path for file in release.files if not file.parts}
    for path in release.named_paths():
        if path.endswith("Modelfile"):
            true = path in runs and runs_nothing_else(case.text(path), runs[path])
            require_that(true, f"{path} is of another model than the file whose name it has.")
    with about(KEY_FILE):
        beside = VerifyingKey.parse(case.read(KEY_FILE), KEY_FILE).fingerprint
    require_that(beside == case.key.fingerprint, f"{KEY_FILE} is another key than the one that signed.")
    said = {release.license, *(part.strip("()") for part in release.license.split(" AND "))}
    borne = {one.license for one in release.lineage if one.digest in {file.digest for file in release.files}}
    require_that(
        borne <= said,
        f"{RELEASE_FILE} says the licence {quoted_name(release.license)}, its lineage {named(sorted(borne))}.",
    )
    return f"{release.name} {release.version}, {release.date}: {len(release.files)} models, {release.content_digest}"


def _components(value: Any) -> dict[str, str]:
    """Names and SHA-256 of all components, also of those inside others."""
    found: dict[str, str] = {}
    waiting = [value]
    while waiting:
        level = waiting.pop()
        for one in level if isinstance(level, list) else ():
            if not isinstance(one, dict):
                continue
            hashes = one.get("hashes")
            for each in hashes if isinstance(hashes, list) else ():
                if isinstance(each, dict) and each.get("alg") == "SHA-256":
                    found[str(one.get("name"))] = str(each.get("content"))
            waiting.append(one.get("components"))
    return found


def _bom(case: ReleaseCase) -> str:
    bom = case.bom
    require_that(
        isinstance(bom, dict) and (bom.get("bomFormat"), bom.get("specVersion")) == ("CycloneDX", BOM_VERSION),
        f"{BOM_FILE} is no CycloneDX {BOM_VERSION}.",
    )
    require_that(bom.get("serialNumber") == serial_number(case.release), f"{BOM_FILE} is of another release.")
    found = _components(bom.get("components"))
    wanted = {path: value for path, value in case.manifest.files.items() if path != BOM_FILE}
    wrong = sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path))
    require_that(not wrong, f"{BOM_FILE} has another digest, or none, of {named(wrong)}.")
    return f"CycloneDX {BOM_VERSION}, {len(found)} files with the digests that were signed"


def _certificates(case: ReleaseCase) -> str:
    release = case.release
    for file in release.files:
        for one in file.certificates:
            result = case.certificate(one.path).result
            require_that(
                result.model_digest == file.digest,
                f"{one.path} is of {result.model_digest}, not of {named(file.paths)} ({file.digest}).",
            )
    found = [check_exam(case, exam) for exam in release.exams]
    if not found:
        return "no exam was sat: nothing is certified"
    return " | ".join(found)


def _difference(found: Any, wanted: Any, place: str) -> str | None:
    """Where two JSON values differ first; None where they do not. It goes no deeper than what is wanted does."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys: list[Any] = sorted(found.keys() | wanted.keys())
        inside = [(key, found.get(key), wanted.get(key)) for key in keys]
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        inside = [(number, found[number], one) for number, one in enumerate(wanted)]
    else:
        return None if found == wanted else place
    for key, one, other in inside:
        if (where := _difference(one, other, f"{place}.{key}")) is not None:
            return where
    return None


def _says_the_same(case: ReleaseCase) -> None:
    """The bill of materials says of licences, origins and scores what record and certificates say."""
    digests = {path: f"sha256:{value}" for path, value in case.manifest.files.items() if path != BOM_FILE}
    wanted: Any = bill_of_materials(case.release, case.certificates, digests)
    where = _difference(case.bom, wanted, "")
    require_that(
        where is None, f"{BOM_FILE} says something else than record and certificates at {named([where or ''])}."
    )
    exact = canonical_json(case.bom) == case.read(BOM_FILE)
    require_that(exact, f"{BOM_FILE} is not in canonical form: two readers may read two things in it.")


def _card(case: ReleaseCase) -> str:
    release, certificates = case.release, case.certificates
    require_that(
        claims_fit(case.card, release),
        f"{CARD_FILE} says another licence, base model or data set at its top than {RELEASE_FILE}.",
    )
    require_that(not hides_text(case.card), f"{CARD_FILE} holds HTML, in which a reader may not see what stands there.")
    tables = [table for table in read_tables(case.card) if any("File" in row for row in table)]
    require_that(len(tables) == 1, f"{CARD_FILE} has {len(tables)} tables of files, not one.")
    rows = list(tables[0])
    for file in release.files:
        wanted = file_cells(release, file, certificates)
        row = next((row for row in rows if row.get("File") == wanted["File"]), None)
        require_that(row is not None, f"{CARD_FILE} has no row of {named(file.paths)}.")
        _check_row(row or {}, wanted, named(file.paths))
        rows.remove(row or {})
        dominated = is_dominated(file, release.files, certificates)
        require_that(
            dominated == file.is_dominated, f"{RELEASE_FILE} is wrong on whether {named(file.paths)} is dominated."
        )
    others = other_rows(release, certificates)
    require_that(len(rows) == len(others), f"{CARD_FILE} has {len(rows)} rows of other models, not {len(others)}.")
    for row, wanted in zip(rows, others, strict=True):
        _check_row(row, wanted, wanted["File"])
    require_that(case.key.fingerprint in case.card, f"{CARD_FILE} names another signing key.")
    _says_the_same(case)
    said = f"its table of {len(release.files)} files says what record and certificates say, and so does {BOM_FILE}"
    if case.card == card_text(release, certificates, fingerprint=case.key.fingerprint):
        return said
    return f"{said}; its other words are not those that this version writes of this record: they are the maker's own"


def _check_row(row: dict[str, str], wanted: dict[str, str], whose: str) -> None:
    """Every cell is as wanted, and no other one says anything."""
    for head in dict.fromkeys((*wanted, *row)):
        shown, cell = row.get(head), wanted.get(head, "–")
        is_blank = head not in wanted and shown in ("", "–")
        require_that(shown == cell or is_blank, f"{CARD_FILE} says {shown!r} for {head} of {whose}, not {cell!r}.")


def _duties(case: ReleaseCase) -> str:
    release, files = case.release, case.manifest.files
    for path in release.texts:
        require_that(case.read(path).strip() != b"", f"{path} is empty.")
    for duty in release.duties:
        text = duty.text
        if duty.kind == "name_prefix":
            for name in (release.name, *((release.repository.rpartition("/")[2],) if release.repository else ())):
                require_that(begins_as_asked(name, text), f"The name {quoted_name(name)} does not begin with {text!r}.")
        elif duty.kind == "banner":
            require_that(banner_line(text) in case.card.split("\n"), f"{CARD_FILE} does not show {text!r}.")
        elif duty.kind == "notice":
            require_that(
                NOTICE_FILE in files and text in case.text(NOTICE_FILE), f"{NOTICE_FILE} does not hold {text!r}."
            )
        elif duty.kind == "copy":
            require_that(duty.path in release.texts, f"There is no copy of {text!r} in the release.")
    held = f"{len(release.duties)} duties, those that can be looked for are met" if release.duties else "no duties"
    further = unrecorded_duties(release)
    more = f". By the licences that this version knows its lineage asks for more: {named(further)}" if further else ""
    return f"{LICENCE_FILE} is there; {held}{more}. This is not legal advice"


CHECKS: tuple[tuple[str, str, Callable[[ReleaseCase], str]], ...] = (
    ("signature", "The signature is the key's, and no byte of it was changed.", _signature),
    ("manifest", "The directory holds what was signed and nothing more, plain files only.", _manifest),
    ("digests", "Each file is the one that was signed.", _digests),
    (
        "release record",
        "release.json is canonical, names every file, and has the models' digests, sizes and licence.",
        _record,
    ),
    ("bill of materials", "The BOM is CycloneDX, of this release, with the digests of all files.", _bom),
    ("certificates", "Each certificate verifies offline and names the very file.", _certificates),
    ("card", "The card's table and licence, and the BOM, say what record and certificates say.", _card),
    ("duties", "Licence texts, notices, banners and the name are as the licences ask.", _duties),
)
