"""The table: which files another one makes needless, and cells that can be computed again."""

from __future__ import annotations

from typing import Any

import pytest

from spiritsafe.exam import load_certificate
from spiritsafe.exam.records import Certificate
from spiritsafe.release import FileCertificate, ReleasedFile
from spiritsafe.release.texts.ladder import file_cells, is_dominated, ladder_lines
from spiritsafe.release.texts.markdown import read_tables


@pytest.fixture(scope="module")
def certificate(released: Any) -> Certificate:
    return load_certificate(released.directory / "exams/sums/toy.certificate.json")


def _scored(certificate: Certificate, value: float, **change: Any) -> Certificate:
    accuracy = certificate.result.sealed.accuracy.model_copy(update={"value": value})
    sealed = certificate.result.sealed.model_copy(update={"accuracy": accuracy})
    return certificate.model_copy(update={"result": certificate.result.model_copy(update={"sealed": sealed, **change})})


def _file(name: str, size: int, *exams: str) -> ReleasedFile:
    return ReleasedFile(
        name=name,
        path=f"{name}.gguf",
        digest="sha256:" + "0" * 64,
        num_bytes=size,
        file_type="Q8_0",
        certificates=tuple(FileCertificate(exam=exam, path=f"{name}-{exam}.json") for exam in exams),
    )


def test_what_dominates_what(certificate: Certificate) -> None:
    """(bytes, score in one exam, score in another or None): which of them are dominated."""
    cases: list[tuple[list[tuple[int, float, float | None]], set[int]]] = [
        ([(100, 0.5, None), (50, 0.5, None)], {0}),  # smaller, as good
        ([(100, 0.5, None), (100, 0.6, None)], {0}),  # as large, better
        ([(100, 0.5, None), (50, 0.4, None)], set()),  # smaller, worse
        ([(100, 0.5, None), (100, 0.5, None)], set()),  # the same
        ([(100, 0.5, 0.5), (50, 0.6, 0.4)], set()),  # better in one exam only
        ([(100, 0.5, 0.5), (50, 0.6, 0.5)], {0}),
        ([(100, 0.5, 0.5), (50, 0.6, None)], set()),  # the other exam it did not sit
        ([(100, 0.5, None), (50, 0.6, 0.1)], {0}),  # what the larger did not sit decides nothing
    ]
    for rows, dominated in cases:
        files, certificates = [], {}
        for number, (size, one, two) in enumerate(rows):
            files.append(_file(str(number), size, "one", *(["two"] if two is not None else [])))
            certificates[f"{number}-one.json"] = _scored(certificate, one)
            certificates[f"{number}-two.json"] = _scored(certificate, two or 0.0)
        found = {number for number, file in enumerate(files) if is_dominated(file, tuple(files), certificates)}
        assert found == dominated, rows


def test_other_papers_and_cut_sittings_are_not_compared(certificate: Certificate) -> None:
    files = (_file("a", 100, "one"), _file("b", 50, "one"))
    good = _scored(certificate, 0.9)
    for worse in (
        _scored(certificate, 0.1, not_asked=(3,)),
        _scored(certificate, 0.1).model_copy(
            update={"paper": certificate.paper.model_copy(update={"bank_root": "0" * 64})}
        ),
        _scored(certificate, 0.1).model_copy(
            update={"registration": certificate.registration.model_copy(update={"num_tries": 3})}
        ),
    ):
        assert not is_dominated(files[0], files, {"a-one.json": worse, "b-one.json": good})
    same = {"a-one.json": _scored(certificate, 0.1), "b-one.json": good}
    assert is_dominated(files[0], files, same)
    unexamined = (_file("a", 100), _file("b", 50, "one"))
    assert not is_dominated(unexamined[0], unexamined, same)


def test_the_table_reads_back_as_its_cells(released: Any) -> None:
    record = released.record
    paths = [one.path for file in record.files for one in file.certificates] + list(record.exams[0].others)
    certificates = {path: load_certificate(released.directory / path) for path in paths}
    (rows,) = read_tables("\n".join(ladder_lines(record, certificates)))
    assert len(rows) == 4
    for file, row in zip(record.files, rows, strict=False):
        cells = file_cells(record, file, certificates)
        assert {head: row[head] for head in cells} == cells
    sealed = certificates["exams/sums/toy-q4_0.certificate.json"].result.sealed.accuracy
    assert rows[1]["Score, sums"].startswith(f"{100 * sealed.value:.1f}\u00a0% (")
    assert [row["Note"] for row in rows] == ["", "", "dominated", "not in this release"]
    assert rows[0]["KL, in task"] == "0.020 (0.010 to 0.030)"
    assert (rows[0]["Bytes"], rows[3]["Bytes"]) == ("2,052", "–")
