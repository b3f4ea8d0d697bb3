"""Steps behind a valid signature: a maker who signs what is not so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spiritsafe.core.canonical import canonical_json
from spiritsafe.core.files.digests import digest_file
from spiritsafe.release import SigningKey, verify_release
from spiritsafe.release.directory import OF_DOWNLOADS, list_directory
from spiritsafe.release.signing import sign_files


def sign_again(directory: Path, key: SigningKey, *, ignored: tuple[str, ...] = OF_DOWNLOADS, bom: bool = True) -> None:
    """The bill of materials and the signature follow what is there now."""
    files = {path: digest_file(place)[7:] for path, place in list_directory(directory).files.items()}
    del files["model.sig"]
    if bom:
        value = json.loads((directory / "bom.cdx.json").read_bytes())
        for one in value["components"]:
            for part in [one, *one.get("components", [])]:
                if part["name"] in files:
                    part["hashes"] = [{"alg": "SHA-256", "content": files[part["name"]]}]
        (directory / "bom.cdx.json").write_bytes(canonical_json(value))
        files["bom.cdx.json"] = digest_file(directory / "bom.cdx.json")[7:]
    (directory / "model.sig").write_bytes(sign_files("x", files, key, ignored=(*ignored, "model.sig")))


def edit_json(directory: Path, path: str, change: Callable[[Any], None]) -> None:
    value = json.loads((directory / path).read_bytes())
    change(value)
    (directory / path).write_bytes(canonical_json(value))


def edit_text(directory: Path, path: str, old: str, new: str) -> None:
    text = (directory / path).read_text("utf-8")
    assert old in text
    (directory / path).write_text(text.replace(old, new, 1), "utf-8")


def _release(**change: Any) -> Callable[[Path], None]:
    return lambda directory: edit_json(directory, "release.json", lambda value: value.update(change))


def _file(number: int, **change: Any) -> Callable[[Path], None]:
    return lambda directory: edit_json(directory, "release.json", lambda value: value["files"][number].update(change))


def _text(path: str, old: str, new: str) -> Callable[[Path], None]:
    return lambda directory: edit_text(directory, path, old, new)


def _swap_certificates(directory: Path) -> None:
    first, second = (directory / f"exams/sums/toy-{kind}.certificate.json" for kind in ("q8_0", "q4_0"))
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)


def _cut_ledger(directory: Path) -> None:
    ledger = directory / "exams/ledger.jsonl"
    ledger.write_bytes(b"".join(ledger.read_bytes().splitlines(keepends=True)[:-1]))


@pytest.mark.parametrize(
    ("change", "step", "words"),
    [
        (_text("release.json", "{", "{ "), "release record", "release.json is not in canonical form"),
        (
            _release(others=[]),
            "release record",
            "does not name docker/Dockerfile, docker/compose.yaml, toy-q4_0.Modelfile, toy-q8_0.Modelfile",
        ),
        (_release(recipe_file="recipe.toml"), "release record", "not there: recipe.toml"),
        (_file(0, num_bytes=1), "release record", "another size of toy-q8_0.gguf"),
        (lambda d: (d / "hf/config.json").write_bytes(b"{}"), "release record", "another digest of hf/config.json"),
        (_release(version="2.0"), "bill of materials", "of another release"),
        (_swap_certificates, "certificates", "exams/sums/toy-q8_0.certificate.json is of sha256:"),
        (_cut_ledger, "certificates", "certificate.json does not verify: step"),
        (_text("README.md", "| 2,052 |", "| 1,052 |"), "card", "says '1,052' for Bytes of toy-q8_0.gguf"),
        (_text("README.md", "| 66.7", "| 96.7"), "card", "for Score, sums of toy-q4_0.gguf"),
        (_text("README.md", "`toy-q4_0.gguf` |", "`toy.gguf` |"), "card", "no row of toy-q4_0.gguf"),
        (_text("README.md", "**Built with Llama**", ""), "duties", "README.md does not show 'Built with Llama'"),
        (_text("NOTICE", "Community", "community"), "duties", "NOTICE does not hold"),
        (lambda d: (d / "LICENSE").write_bytes(b" \n"), "duties", "LICENSE is empty"),
        (lambda d: (d / "NOTICE").write_bytes(b"\xff"), "duties", "NOTICE is no UTF-8"),
        (lambda d: (d / "README.md").write_bytes(b"\xff"), "card", "README.md is no UTF-8"),
    ],
)
def test_a_valid_signature_over_something_wrong(
    released: Any, copied: Callable[[], Path], change: Any, step: str, words: str
) -> None:
    directory = copied()
    change(directory)
    sign_again(directory, released.parts.key)
    found = next(one for one in verify_release(directory) if not one.ok)
    assert (found.name, words in found.detail) == (step, True), found


def test_a_dominated_file_is_not_passed_off_as_a_good_one(released: Any, copied: Callable[[], Path]) -> None:
    directory = copied()
    _file(2, is_dominated=False)(directory)
    edit_text(directory, "README.md", "| dominated |", "|  |")
    edit_json(directory, "bom.cdx.json", lambda value: value.update(serialNumber=_serial(directory)))
    sign_again(directory, released.parts.key)
    found = next(one for one in verify_release(directory) if not one.ok)
    assert "is wrong on whether hf/config.json, hf/model.safetensors is dominated" in found.detail


def _serial(directory: Path) -> str:
    from spiritsafe.release import Release
    from spiritsafe.release.bom import serial_number

    return serial_number(Release.from_json(json.loads((directory / "release.json").read_bytes())))


def test_a_bill_of_materials_with_other_digests(released: Any, copied: Callable[[], Path]) -> None:
    directory = copied()
    for change, words in (
        (lambda value: value["components"][0]["hashes"][0].update(content="0" * 64), "none, of toy-q8_0.gguf"),
        (lambda value: value["components"].pop(), "or none, of"),
        (lambda value: value.update(specVersion="1.4"), "no CycloneDX 1.6"),
        (lambda value: value.update(components=[1, {"hashes": 5, "components": [[]]}]), "or none, of"),
    ):
        data = (directory / "bom.cdx.json").read_bytes()
        edit_json(directory, "bom.cdx.json", change)
        sign_again(directory, released.parts.key, bom=False)
        found = next(one for one in verify_release(directory) if not one.ok)
        assert found.name == "bill of materials"
        assert words in found.detail
        (directory / "bom.cdx.json").write_bytes(data)


def test_nothing_is_left_out_of_a_signature(released: Any, copied: Callable[[], Path]) -> None:
    directory = copied()
    sign_again(directory, released.parts.key, ignored=("toy-q8_0.gguf",))
    assert "model.sig leaves out toy-q8_0.gguf" in verify_release(directory)[1].detail
    (directory / "a b").write_bytes(b"")
    sign_again(directory, released.parts.key)
    assert "Names that no release has: a b" in verify_release(directory)[1].detail


def test_a_signed_directory_that_is_no_release(released: Any, tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    digests = {"model.gguf": digest_file(tmp_path / "model.gguf")[7:]}
    (tmp_path / "signing-key.pem").write_bytes(released.parts.key.public.pem)
    digests["signing-key.pem"] = digest_file(tmp_path / "signing-key.pem")[7:]
    (tmp_path / "model.sig").write_bytes(sign_files("x", digests, released.parts.key))
    found = verify_release(tmp_path)[1]
    assert "no release of spiritsafe: release.json, README.md, bom.cdx.json is missing" in found.detail


GARBAGE = {
    "empty": b"",
    "null": b"null",
    "list": b"[[], {}]",
    "deep": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "number": b'{"format": ' + b"9" * 5_000 + b"}",
    "infinite": b'{"serialNumber": 1e400, "files": NaN}',
    "bytes": b"\xff\xfe\x00" * 50,
    "surrogate": b'{"name": "\\ud800"}',
}


@pytest.mark.parametrize("kind", GARBAGE)
def test_a_maker_who_signs_garbage(released: Any, copied: Callable[[], Path], kind: str) -> None:
    """Whatever stands in a file that is read, the findings name it; nothing escapes."""
    directory = copied()
    paths = ["release.json", "bom.cdx.json", "README.md", "NOTICE", "exams/ledger.jsonl"]
    paths += [f"exams/sums/{name}" for name in ("paper.json", "sealed.age", "toy.certificate.json")]
    for path in paths:
        data = (directory / path).read_bytes()
        (directory / path).write_bytes(GARBAGE[kind])
        sign_again(directory, released.parts.key, bom=path != "bom.cdx.json")
        found = next((step for step in verify_release(directory) if not step.ok), None)
        assert found is not None, path
        assert found.number >= 4
        part = {"paper.json": "paper", "ledger.jsonl": "ledger", "sealed.age": "seal"}.get(Path(path).name, path)
        assert part in found.detail, (path, found.detail)
        (directory / path).write_bytes(data)
        sign_again(directory, released.parts.key)
