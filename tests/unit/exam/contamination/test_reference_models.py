from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spiritsafe.core.errors import NumericalError, RecipeError, SourceError
from spiritsafe.exam.contamination.reference_models import foreign_lines, foreign_test, read_foreign
from spiritsafe.stats.contamination.reference_models import ForeignScores, foreign_gap


def row(name: str, foreign: int, fresh: int, **more: Any) -> dict[str, Any]:
    return {"name": name, "foreign": foreign, "num_foreign": 400, "fresh": fresh, "num_fresh": 400, **more}


REFERENCES = [row(f"reference {k}", 240 + 3 * k, 220 + (k % 3)) for k in range(8)]
CLEAN = row("student", 255, 225, student=True)
STUDIED = row("student", 340, 225, student=True)


def write(path: Path, rows: list[Any], *, lines: bool = False) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)) + "\n" if lines else json.dumps(rows, indent=1))
    return path


@pytest.mark.parametrize("lines", [False, True])
def test_both_forms_give_the_librarys_own_test(tmp_path: Path, lines: bool) -> None:
    rows = read_foreign(write(tmp_path / "counts.json", [*REFERENCES, STUDIED], lines=lines))
    assert rows[0].name == "student"
    expected = foreign_gap(
        ForeignScores(foreign=340, num_foreign=400, fresh=225, num_fresh=400),
        [ForeignScores.from_json({k: v for k, v in r.items() if k != "name"}) for r in REFERENCES],
    )
    assert foreign_test(rows) == expected


def test_a_planted_leak_is_found_and_a_clean_student_is_not_accused(tmp_path: Path) -> None:
    for student, sign in ((STUDIED, "A sign of studying"), (CLEAN, "No sign of studying")):
        rows = read_foreign(write(tmp_path / "counts.json", [student, *REFERENCES]))
        test = foreign_test(rows)
        text = "\n".join(foreign_lines(rows, test))
        assert sign in text
        assert test.smallest_leak is not None
        assert f"with 80 % power: {test.smallest_leak:.0%}" in text
        assert text.count("reference ") >= 8
        assert "85.0%" in text or student is CLEAN


def test_two_references_that_differ_find_little(tmp_path: Path) -> None:
    rows = read_foreign(write(tmp_path / "counts.json", [CLEAN, row("a", 150, 250), row("b", 300, 200)]))
    text = "\n".join(foreign_lines(rows, foreign_test(rows)))
    assert "Cannot rule out studying" in text
    assert "Even a full leak could go unnoticed." in text


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([CLEAN, *REFERENCES[:1]], "1 reference models cannot show"),
        (REFERENCES, "0 rows say"),
        ([CLEAN, {**STUDIED, "name": "other"}, *REFERENCES], "2 rows say"),
        ([CLEAN, *REFERENCES, REFERENCES[0]], '"reference 0" has several rows'),
        ([CLEAN, row("x", 401, 1), *REFERENCES], "row 2: .*more right answers than answers"),
        ([CLEAN, row("x", -1, 1), *REFERENCES], "row 2: foreign: "),
        ([CLEAN, {**row("x", 1, 1), "num_fresh": 0}, *REFERENCES], "row 2: num_fresh: "),
        ([CLEAN, {**row("x", 1, 1), "score": 1}, *REFERENCES], "row 2: score: "),
        ([CLEAN, {**row("x", 1, 1), "foreign": 0.5}, *REFERENCES], "row 2: foreign: "),
        ([CLEAN, {**row("x", 1, 1), "foreign": "12"}, *REFERENCES], "row 2: foreign: "),
        ([CLEAN, {**row("x", 1, 1), "student": "yes"}, *REFERENCES], "row 2: student: "),
        ([CLEAN, {"name": "x"}, *REFERENCES], "row 2: foreign: Field required"),
        ([CLEAN, 7, *REFERENCES], "row 2: "),
        ([], "0 rows say"),
    ],
)
def test_a_wrong_file_is_refused_in_plain_words(tmp_path: Path, rows: list[Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words) as error:
        read_foreign(write(tmp_path / "counts.json", rows))
    assert error.value.hint


def test_what_is_no_json_or_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "counts.json").write_text("name,foreign\n")
    with pytest.raises(RecipeError, match="neither a JSON list nor"):
        read_foreign(tmp_path / "counts.json")
    (tmp_path / "counts.json").write_bytes(b"\xff\xfe")
    with pytest.raises(RecipeError, match="UTF-8"):
        read_foreign(tmp_path / "counts.json")
    with pytest.raises(SourceError):
        read_foreign(tmp_path / "missing.json")


def test_references_that_are_all_alike_show_no_spread(tmp_path: Path) -> None:
    alike = [row(f"r{k}", 240, 220) for k in range(3)]
    rows = read_foreign(write(tmp_path / "counts.json", [CLEAN, *alike]))
    with pytest.raises(NumericalError, match="no spread"):
        foreign_test(rows)
