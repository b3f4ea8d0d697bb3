"""The bill of materials: CycloneDX 1.6 JSON with a model card (ML-BOM).

In: a release, its certificates and the digests of its files. Out: a JSON value, the same for the same release: its
serial number is made from the release's digest. The library ``cyclonedx-python-lib`` has no model cards, so this is
written by hand and held against its schema in tests.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from spiritsafe.core.records import Checkpoint, Parent
from spiritsafe.release.contents import KEY_FILE, Release, ReleasedFile
from spiritsafe.release.texts.hub_metadata import hub_licence
from spiritsafe.release.texts.ladder import CertificatesByPath
from spiritsafe.stats import Estimate

BOM_VERSION = "1.6"
_SHA256 = "SHA-256"
_NAMESPACE = uuid.UUID("6c3cf1f6-6d6a-5d0b-9b51-6b6f1f0e2f11")
# a choice of SPDX ids: the schema knows all of them, and whatever is not here is named instead, which is right as well
_SPDX = {
    name.lower(): name
    for name in (
        *("Apache-2.0", "MIT", "MIT-0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "Zlib", "Unlicense", "CC0-1.0"),
        *("CC-BY-4.0", "CC-BY-SA-4.0", "CC-BY-NC-4.0", "CC-BY-NC-SA-4.0", "MPL-2.0", "EPL-2.0", "EUPL-1.2"),
        *("GPL-2.0-only", "GPL-3.0-only", "GPL-3.0-or-later", "LGPL-3.0-only", "AGPL-3.0-only", "AGPL-3.0-or-later"),
    )
}


def serial_number(release: Release) -> str:
    """``urn:uuid:…``, from the release's digest."""
    return uuid.uuid5(_NAMESPACE, release.content_digest).urn


def _licences(licence: str) -> list[Any]:
    known = _SPDX.get(licence.lower())
    return [{"license": {"id": known} if known else {"name": licence.removeprefix("LicenseRef-")}}]


def _hashes(digest: str) -> list[Any]:
    return [{"alg": _SHA256, "content": digest.removeprefix("sha256:")}]


def _ancestor(one: Checkpoint | Parent, used: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {
        "type": "machine-learning-model",
        "name": one.name,
        "licenses": _licences(one.license),
        "properties": [{"name": "spiritsafe:digest", "value": one.digest}],
    }
    if used:
        found["properties"].append({"name": "spiritsafe:used_as", "value": " ".join(used)})
    return found


def _ancestors(lineage: Mapping[str, Checkpoint], digest: str) -> list[dict[str, Any]]:
    """All that a model came from, nearest first, each once."""
    found: dict[str, dict[str, Any]] = {}
    queue = [digest]
    while queue:
        one = lineage.get(queue.pop(0))
        for parent in one.parents if one is not None else ():
            if parent.digest not in found and parent.digest != digest:
                found[parent.digest] = _ancestor(lineage.get(parent.digest, parent), parent.used_as)
                queue.append(parent.digest)
    return list(found.values())


def _metric(kind: str, value: Estimate, part: str) -> dict[str, Any]:
    return {
        "type": kind,
        "value": repr(value.value),
        "slice": part,
        "confidenceInterval": {"lowerBound": repr(value.low), "upperBound": repr(value.high)},
    }


def _metrics(file: ReleasedFile, certificates: CertificatesByPath) -> list[Any]:
    metrics = []
    for one in file.certificates:
        result = certificates[one.path].result
        score = result.predicted.score if result.predicted is not None else result.sealed.accuracy
        kind = "accuracy" if result.predicted is None else "predicted accuracy"
        metrics.append(_metric(kind, score, f"sealed half of {one.exam}, paper {result.paper_id}"))
    metrics += [_metric("KL divergence (nats a token)", one.kl, one.text) for one in file.divergences]
    return metrics


def _model_card(release: Release, file: ReleasedFile, certificates: CertificatesByPath) -> dict[str, Any]:
    parameters: dict[str, Any] = {
        "approach": {"type": release.learning},
        "task": "text generation",
        "architectureFamily": "transformer",
    }
    if release.architecture:
        parameters["modelArchitecture"] = release.architecture
    if release.datasets:
        parameters["datasets"] = [{"type": "dataset", "name": name} for name in release.datasets]
    parameters |= {"inputs": [{"format": "text"}], "outputs": [{"format": "text"}]}
    limits = sorted({certificates[one.path].result.gap_statement for one in file.certificates})
    considerations: dict[str, Any] = {
        "useCases": [release.about] if release.about else [],
        "technicalLimitations": limits,
        "ethicalConsiderations": [
            {"name": f"{duty.kind}: {duty.text}", "mitigationStrategy": f"See {duty.source} ({duty.date})."}
            for duty in release.duties
        ],
    }
    return {
        "modelParameters": parameters,
        "quantitativeAnalysis": {"performanceMetrics": _metrics(file, certificates)},
        "considerations": {key: value for key, value in considerations.items() if value},
    }


def _model(
    release: Release, file: ReleasedFile, certificates: CertificatesByPath, digests: Mapping[str, str]
) -> dict[str, Any]:
    lineage = {one.digest: one for one in release.lineage}
    own = lineage[file.digest]
    parts = [_file(path, digests[path]) for path in file.paths] if file.parts else []
    component: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{file.path}",
        "name": file.path if not file.parts else file.name,
        "version": release.version,
        "licenses": _licences(own.license),
        "properties": [
            {"name": "spiritsafe:digest", "value": file.digest},
            {"name": "spiritsafe:file_type", "value": file.file_type},
            {"name": "spiritsafe:bytes", "value": str(file.num_bytes)},
        ],
        "modelCard": _model_card(release, file, certificates),
    }
    if not file.parts:
        component["hashes"] = _hashes(file.digest)
    if ancestors := _ancestors(lineage, file.digest):
        component["pedigree"] = {"ancestors": ancestors}
    if parts:
        component["components"] = parts
    return component


def _file(path: str, digest: str) -> dict[str, Any]:
    return {"type": "file", "bom-ref": f"file:{path}", "name": path, "hashes": _hashes(digest)}


def bill_of_materials(release: Release, certificates: CertificatesByPath, digests: Mapping[str, str]) -> dict[str, Any]:
    """The BOM of a release.

    Args:
        digests: ``sha256:…`` of each file of the release but the BOM itself and the signature, by its path.
    """
    models = [_model(release, file, certificates, digests) for file in release.files]
    own = {path for file in release.files for path in file.paths}
    files = [_file(path, digest) for path, digest in sorted(digests.items()) if path not in own]
    licence = hub_licence(release.license)
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{BOM_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": BOM_VERSION,
        "serialNumber": serial_number(release),
        "version": 1,
        "metadata": {
            "timestamp": f"{release.date}T00:00:00Z",
            "component": {
                "type": "machine-learning-model",
                "bom-ref": f"release:{release.name}",
                "name": release.name,
                "version": release.version,
                "licenses": _licences(release.license),
                "properties": [
                    {"name": "spiritsafe:release", "value": release.content_digest},
                    {"name": "spiritsafe:signing_key", "value": digests.get(KEY_FILE, "")},
                    {"name": "huggingface:license", "value": licence["license"]},
                ],
            },
        },
        "components": [*models, *files],
        "dependencies": [
            {"ref": f"release:{release.name}", "dependsOn": [one["bom-ref"] for one in models]},
        ],
    }
