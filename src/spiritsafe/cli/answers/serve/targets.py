"""What ``spiritsafe serve`` is given: models by name, each with the certificates that lie beside it.

In: a release, a run, a model directory, a GGUF file or any other source of a model, each perhaps as ``name=…``. Out: a
:class:`Target` a model. A release is verified before anything of it is served; the rungs of a run are the models that
it made and examined.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import final

from spiritsafe import exam, release, serve
from spiritsafe.core.errors import RecipeError, SourceError
from spiritsafe.core.files.atomic import read_json
from spiritsafe.core.files.digests import LINEAGE, ROUTED, is_routed
from spiritsafe.core.files.record_files import read_record
from spiritsafe.core.text.names import quoted_name
from spiritsafe.exam import records

_NAMED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._:-]{0,95})=(.+)", re.DOTALL)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,95}")
_RELEASE_FILE = "release.json"
_RUN_FILE = "resolved.json"
_CERTIFICATE = ".certificate.json"
_MOST_ABOVE = 4  # a run's model lies three folders below it


@final
@dataclass(frozen=True, kw_only=True)
class Target:
    """A model that is to be served.

    Attributes:
        name: By which requests ask for it.
        source: Its directory or file, or any other source of a model.
        parts: Of a release's Hugging Face directory: its files, which lie among others.
        digest: What the release says that it has.
        certificates: Those that may be of its bytes.
    """

    name: str
    source: str
    parts: tuple[str, ...] = ()
    digest: str | None = None
    certificates: tuple[serve.CertificateFiles, ...] = ()


def find_targets(words: Sequence[str], name: str | None) -> list[Target]:
    """The models that are named, in their order.

    Args:
        name: What the only one is called.

    Raises:
        RecipeError: Two have one name, or a name is given to several.
        SourceError: There is no such model.
        IntegrityError: A release does not verify.
    """
    found = [target for word in words for target in _targets_of(word)]
    if name is not None:
        if len(found) != 1:
            raise RecipeError(
                f"--name {name} names one model, and {len(found)} are to be served.",
                hint="Give names as name=PATH, one for each model.",
            )
        found = [replace(found[0], name=name)]
    seen: dict[str, Target] = {}
    for target in found:
        if not _NAME.fullmatch(target.name):
            raise RecipeError(
                f"{quoted_name(target.name)} is no name for a model: letters, digits and ._:/- make one.",
                hint="Give it another: name=PATH.",
            )
        other = seen.setdefault(target.name, target)
        if other is not target:
            raise RecipeError(
                f"Two models are called {target.name}: {other.source} and {target.source}.",
                hint="Give one of them another name: name=PATH.",
            )
    return found


def _targets_of(word: str) -> list[Target]:
    named = _NAMED.fullmatch(word)
    if named is not None and not os.path.lexists(word):
        targets = _targets_at(named[2])
        if len(targets) != 1:
            raise RecipeError(
                f"{named[2]} holds {len(targets)} models, which cannot all be called {named[1]}.",
                hint=f"Leave the name out; they are {', '.join(target.name for target in targets)}.",
            )
        return [replace(targets[0], name=named[1])]
    return _targets_at(word)


def _targets_at(source: str) -> list[Target]:
    place = Path(os.path.expanduser(source.removeprefix("gguf:")))
    if "\0" in source or not os.path.exists(place):
        if re.match(r"[a-z]+:", source) and not source.startswith("gguf:"):  # hf:…, wheel:…, tiny:…
            return [Target(name=source.rpartition("/")[2].partition("?")[0], source=source)]
        raise SourceError(
            f"There is nothing to serve at {quoted_name(source)}.",
            hint="Give a release, a run, a model's directory, a GGUF file, or hf:org/name; or name=PATH.",
        )
    if (place / _RELEASE_FILE).is_file():
        return _of_release(place)
    if (place / _RUN_FILE).is_file():
        return _of_run(place)
    if is_routed(place):
        raise RecipeError(
            f"{place} has no weights of its own: it asks other models.",
            hint=f"Serve those, with its router: name=PATH for each, and --router {place / ROUTED}.",
        )
    if not (place.is_file() or (place / "config.json").is_file() or any(place.glob("*.gguf"))):
        raise SourceError(
            f"{place} is neither a release, nor a run, nor a model's directory.",
            hint="A model's directory has config.json or one GGUF file, a release release.json, a run resolved.json.",
        )
    return [Target(name=_own_name(place), source=source, certificates=tuple(_certificates_around(place)))]


def _own_name(place: Path) -> str:
    """What a model is called: as its lineage says, else as its file or folder."""
    if place.is_file():
        return place.name.removesuffix(".gguf")
    if (place / LINEAGE).is_file():
        value = read_json(place / LINEAGE)
        name = value.get("name") if isinstance(value, dict) else None
        if isinstance(name, str):
            return name.rpartition("/")[2].removesuffix(".gguf")
    return place.resolve().name


def _of_release(place: Path) -> list[Target]:
    """The models of a release, once all of it verifies."""
    release.require_release(release.verify_release(place))
    record = read_record(place / _RELEASE_FILE, release.Release)
    targets = []
    for file in record.files:
        certificates = [
            _of_exam(place, record.exam(one.exam), place / one.path, is_models_own=True) for one in file.certificates
        ]
        targets.append(
            Target(
                name=file.name,
                source=str(place / file.path),
                parts=file.parts,
                digest=file.digest,
                certificates=tuple(certificates),
            )
        )
    return targets


def _of_exam(place: Path, sat: release.ReleasedExam, path: Path, *, is_models_own: bool) -> serve.CertificateFiles:
    materials = exam.Materials(
        certificate=path,
        paper=place / sat.paper,
        ledger=place / sat.ledger,
        sealed=place / sat.sealed if sat.sealed else None,
    )
    return serve.CertificateFiles(exam=sat.name, materials=materials, is_models_own=is_models_own)


def _of_run(place: Path) -> list[Target]:
    """The models that a run made; where it examined some, those."""
    made = {
        path.parent.name.partition("-")[2]: path
        for path in sorted(place.glob("stages/*/model"))
        if (path.parent / "done.json").is_file() and not is_routed(path)
    }
    certificates = list(_certificates_of_run(place))
    by_name: dict[str, list[serve.CertificateFiles]] = {}
    for one in certificates:
        name = one.materials.certificate.name.removesuffix(_CERTIFICATE)
        by_name.setdefault(name, []).append(replace(one, is_models_own=True))
    examined = {name: path for name, path in made.items() if name in by_name}
    if not made:
        raise SourceError(
            f"The run {place} has made no model yet.", hint="Finish it first: spiritsafe run with its recipe."
        )
    return [
        Target(name=name, source=str(path), certificates=tuple(by_name.get(name, ())))
        for name, path in (examined or made).items()
    ]


def _certificates_of_run(place: Path) -> Iterator[serve.CertificateFiles]:
    papers = {
        read_record(path, records.PublicPaper).header.paper_id: path
        for path in sorted(place.glob("stages/*/paper/paper.json"))
    }
    for path in sorted(place.glob(f"stages/*/*{_CERTIFICATE}")):
        paper_id = read_record(path, records.Certificate).paper.paper_id
        yield serve.CertificateFiles(
            exam=path.parent.name.partition("-")[2],
            materials=exam.Materials(certificate=path, paper=papers.get(paper_id), ledger=place / "ledger.jsonl"),
        )


def _certificates_around(place: Path) -> Iterator[serve.CertificateFiles]:
    """Certificates of the run or release that a model lies in; which are of its bytes, its digest tells."""
    for above in list(place.resolve().parents)[:_MOST_ABOVE]:
        if (above / _RUN_FILE).is_file():
            yield from _certificates_of_run(above)
            return
        if (above / _RELEASE_FILE).is_file():
            for target in _of_release(above):
                yield from (replace(one, is_models_own=False) for one in target.certificates)
            return
