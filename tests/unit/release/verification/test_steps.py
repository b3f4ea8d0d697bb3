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


CARD = "README.md"
MODELFILE = "toy-q8_0.Modelfile"
_ROW = "| teacher | – | "
"""How the row of a model begins that is not released."""


def _hide_the_table(directory: Path) -> None:
    """The true table in a comment, another one where people look."""
    lines = (directory / CARD).read_text("utf-8").split("\n")
    rows = [number for number, line in enumerate(lines) if line.startswith("|") and "toy-q8_0.gguf" in line]
    first = rows[0] - 2
    lines[first:first] = ["<!--", ""]
    (directory / CARD).write_text("\n".join(lines).replace("\nScores are", "\n-->\nScores are", 1), "utf-8")


def _second_table(directory: Path) -> None:
    text = (directory / CARD).read_text("utf-8")
    table = "\n".join(line for line in text.split("\n") if line.startswith("|") and "hf" not in line)
    (directory / CARD).write_text(f"{text}\n{table.replace('66.7', '99.9')}\n", "utf-8")


def _extra_column(directory: Path) -> None:
    text = (directory / CARD).read_text("utf-8")
    rows = [line for line in text.split("\n") if line.startswith("| ") and "Bytes" in line]
    begin = text.index(rows[0])
    table, rest = text[begin:].split("\n\n", 1)
    cells = ["Score, MMLU", "---", *["99.9 %"] * 9]
    wide = "\n".join(f"{line} {cell} |" for line, cell in zip(table.split("\n"), cells, strict=False))
    (directory / CARD).write_text(f"{text[:begin]}{wide}\n\n{rest}", "utf-8")


def _weak_teacher(directory: Path) -> None:
    text = (directory / CARD).read_text("utf-8")
    score = text.partition(_ROW)[2].partition(" |")[0]
    (directory / CARD).write_text(text.replace(f"{_ROW}{score}", f"{_ROW}1.0 (0.0–2.0)"), "utf-8")


def _other_key(directory: Path) -> None:
    (directory / "signing-key.pem").write_bytes(SigningKey.generate().public.pem)


@pytest.mark.parametrize(
    ("change", "step", "words"),
    [
        (_text(CARD, 'license: "llama3.2"', 'license: "mit"'), "card", "says another licence, base model or data set"),
        (_text(CARD, 'license: "llama3.2"', 'license: "llama3.2"\nlicense: "mit"'), "card", "another licence"),
        (_text(CARD, '- "meta-llama/Llama-3.2-1B"', '- "mistralai/Mistral-7B"'), "card", "another licence, base model"),
        (_hide_the_table, "card", "README.md holds HTML"),
        (_second_table, "card", "README.md has 2 tables of files"),
        (_extra_column, "card", "for Score, MMLU of"),
        (_weak_teacher, "card", "says '1.0 (0.0–2.0)' for Score, sums of teacher, not"),
        (_text(CARD, _ROW, f"{_ROW}1.0 (0.0–2.0) |\n{_ROW}"), "card", "has 2 rows of other models, not 1"),
        (_release(license="MIT"), "release record", 'says the licence "MIT", its lineage LicenseRef-llama3.2'),
        (_text(MODELFILE, "./toy-q8_0", "./toy-q4_0"), "release record", f"{MODELFILE} is of another model"),
        (_text(MODELFILE, 'LICENSE """', 'adapter ./x.gguf\nLICENSE """'), "release record", "of another model"),
        (_other_key, "release record", "signing-key.pem is another key than the one that signed"),
    ],
)
def test_a_maker_whose_card_or_record_says_what_the_evidence_does_not(
    released: Any, copied: Callable[[], Path], tmp_path: Path, change: Any, step: str, words: str
) -> None:
    directory = copied()
    change(directory)
    sign_again(directory, released.parts.key)
    key = tmp_path / "maker.pem"
    key.write_bytes(released.parts.key.public.pem)
    found = next(one for one in verify_release(directory, public_key=key) if not one.ok)
    assert (found.name, words in found.detail) == (step, True), found


def test_an_exam_that_is_called_another_or_that_nobody_sat(released: Any, copied: Callable[[], Path]) -> None:
    directory = copied()
    record = released.record.to_json()
    (exam,) = record["exams"]
    for exams, words in (
        ([{**exam, "task": "gsm8k"}], 'and release.json says "gsm8k"'),
        ([exam, {**exam, "name": "maths", "others": []}], 'the exam "maths", of which there is no certificate'),
    ):
        _release(exams=exams)(directory)
        edit_json(directory, "bom.cdx.json", lambda value: value.update(serialNumber=_serial(directory)))
        sign_again(directory, released.parts.key)
        found = next(one for one in verify_release(directory) if not one.ok)
        assert (found.name, words in found.detail) == ("certificates", True), found


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda value: value["metadata"]["component"].update(licenses=[{"license": {"id": "MIT"}}]), ".metadata"),
        (lambda value: value["components"][0]["pedigree"]["ancestors"].pop(), ".components.0.pedigree.ancestors"),
        (
            lambda value: value["components"][0]["modelCard"]["quantitativeAnalysis"]["performanceMetrics"][0].update(
                value="0.99"
            ),
            ".components.0.modelCard.quantitativeAnalysis.performanceMetrics.0.value",
        ),
        (lambda value: value["components"].insert(0, {**value["components"][0], "hashes": []}), ".components"),
    ],
)
def test_a_bill_of_materials_that_says_something_else(
    released: Any, copied: Callable[[], Path], change: Any, place: str
) -> None:
    directory = copied()
    edit_json(directory, "bom.cdx.json", change)
    sign_again(directory, released.parts.key)
    found = next(one for one in verify_release(directory) if not one.ok)
    assert f"bom.cdx.json says something else than record and certificates at {place}" in found.detail


def test_a_bill_of_materials_in_which_two_readers_read_two_things(released: Any, copied: Callable[[], Path]) -> None:
    directory = copied()
    edit_text(directory, "bom.cdx.json", '"bomFormat"', '"version":7,"bomFormat"')  # the last one counts, for us
    sign_again(directory, released.parts.key, bom=False)
    assert "bom.cdx.json is not in canonical form" in next(
        one.detail for one in verify_release(directory) if not one.ok
    )


def test_words_and_duties_that_no_table_holds_are_told(released: Any, copied: Callable[[], Path]) -> None:
    """Another version may write other words and know other licences, so neither is a fault."""
    directory = copied()
    steps = {one.name: one.detail for one in verify_release(directory)}
    assert "the maker's own" not in steps["card"]
    assert "“Built with Llama”" not in steps["duties"]
    edit_text(directory, CARD, "Sums of two numbers.", "Scores 99.9 % everywhere.")
    _release(duties=[], repository="ada/toy")(directory)
    edit_json(directory, "bom.cdx.json", lambda value: value.update(serialNumber=_serial(directory)))
    (directory / "bom.cdx.json").write_bytes(_bom_again(directory, released))
    sign_again(directory, released.parts.key)
    steps = {one.name: one.detail for one in verify_release(directory) if one.ok}
    assert "the maker's own" in steps["card"]
    assert "its lineage asks for more" in steps["duties"]
    assert "name begins with “Llama”" in steps["duties"]


def _bom_again(directory: Path, released: Any) -> bytes:
    from spiritsafe.exam import load_certificate
    from spiritsafe.release import Release
    from spiritsafe.release.bom import bill_of_materials

    record = Release.from_json(json.loads((directory / "release.json").read_bytes()))
    paths = [one.path for file in record.files for one in file.certificates]
    certificates = {path: load_certificate(directory / path) for path in paths}
    files = list_directory(directory).files
    digests = {path: digest_file(place) for path, place in files.items() if path not in ("bom.cdx.json", "model.sig")}
    value: Any = bill_of_materials(record, certificates, digests)
    return canonical_json(value)


def test_a_repository_whose_name_breaks_a_duty(released: Any, copied: Callable[[], Path]) -> None:
    directory = copied()
    _release(repository="ada/toy")(directory)
    (directory / "bom.cdx.json").write_bytes(_bom_again(directory, released))
    sign_again(directory, released.parts.key)
    found = next(one for one in verify_release(directory) if not one.ok)
    assert "The name \"toy\" does not begin with 'Llama'" in found.detail


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
