"""The bill of materials, held against CycloneDX's own schema as the library brings it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from release_parts import FILES, sha256

from spiritsafe.core.records import Checkpoint, Parent
from spiritsafe.release.bom import bill_of_materials, serial_number


def schema_faults(value: Any) -> Any:
    schema = pytest.importorskip("cyclonedx.schema", reason="cyclonedx-python-lib is not installed")
    from cyclonedx.validation.json import JsonStrictValidator

    return JsonStrictValidator(schema.SchemaVersion.V1_6).validate_str(json.dumps(value))


def made(released: Any) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((released.directory / "bom.cdx.json").read_bytes())
    return value


def test_it_fits_the_schema_and_the_schema_can_say_no(released: Any) -> None:
    value = made(released)
    assert schema_faults(value) is None
    value["components"][0]["modelCard"]["modelParameters"]["approach"]["type"] = "magic"
    assert schema_faults(value) is not None


def test_what_it_says(released: Any) -> None:
    value = made(released)
    first, _, folder = value["components"][:3]
    assert first["name"] == "toy-q8_0.gguf"
    assert first["hashes"] == [{"alg": "SHA-256", "content": sha256(FILES["toy-q8_0"])[7:]}]
    assert [one["name"] for one in folder["components"]] == ["hf/config.json", "hf/model.safetensors"]
    assert [one["name"] for one in first["pedigree"]["ancestors"]] == ["toy", "meta-llama/Llama-3.2-1B", "teacher"]
    assert first["pedigree"]["ancestors"][2]["licenses"] == [{"license": {"id": "MIT"}}]
    assert first["licenses"] == [{"license": {"name": "llama3.2"}}]
    accuracy, kl = first["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    certificate = json.loads((released.directory / "exams/sums/toy-q8_0.certificate.json").read_bytes())
    sealed = certificate["result"]["sealed"]["accuracy"]
    assert float(accuracy["value"]) == sealed["value"]
    bounds = {"lowerBound": repr(sealed["low"]), "upperBound": repr(sealed["high"])}
    assert accuracy["confidenceInterval"] == bounds
    assert kl["type"] == "KL divergence (nats a token)"
    files = {one["name"] for one in value["components"][3:]}
    assert {"LICENSE", "README.md", "release.json", "exams/ledger.jsonl", "signing-key.pem"} <= files
    assert not {"model.sig", "bom.cdx.json"} & files


def test_it_is_the_same_for_the_same_release_and_another_for_another(released: Any) -> None:
    record = released.record
    assert made(released)["serialNumber"] == serial_number(record)
    assert serial_number(record) != serial_number(record.model_copy(update={"version": "1.1"}))


def test_lineage_in_a_circle_has_an_end_and_hostile_names_fit(released: Any) -> None:
    """Merges of merges: each ancestor once, whatever a stranger's lineage says."""
    own = released.record.files[0].digest
    name = 'a"\n</script>|`\u202e'
    loop = [
        Checkpoint(
            name=name,
            digest=digest,
            license=name,
            num_parameters=1,
            weight_bytes=1,
            parents=tuple(Parent(name=name, digest=one, license=name, used_as=("weights",)) for one in parents),
        )
        for digest, parents in {own: ["a", "b"], "a": ["b", own], "b": ["a"]}.items()
    ]
    record = released.record.model_copy(update={"lineage": (*released.record.lineage[1:], *loop), "about": name})
    paths = released.record.named_paths()
    certificates = {one.path: _certificate(released, one.path) for file in record.files for one in file.certificates}
    value = bill_of_materials(record, certificates, dict.fromkeys(paths, own))
    assert schema_faults(value) is None
    assert len(value["components"][0]["pedigree"]["ancestors"]) == 2


def _certificate(released: Any, path: str) -> Any:
    from spiritsafe.exam import load_certificate

    return load_certificate(released.directory / path)
