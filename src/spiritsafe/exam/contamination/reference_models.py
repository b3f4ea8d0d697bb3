"""Right answers of a student and of reference models on somebody else's benchmark and on fresh problems, from a file.

In: JSON, a list of rows or one row a line::

    {"name": "student", "student": true, "foreign": 310, "num_foreign": 400, "fresh": 220, "num_fresh": 400}
    {"name": "base", "foreign": 240, "num_foreign": 400, "fresh": 225, "num_fresh": 400}

Out: the test of :mod:`spiritsafe.stats.contamination.reference_models` and its lines for a terminal.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from spiritsafe.core.errors import RecipeError, SourceError
from spiritsafe.core.files.reading import parse_json
from spiritsafe.core.files.record_files import read_file
from spiritsafe.core.text.safe_text import one_line
from spiritsafe.stats import ForeignScores, ForeignTest, foreign_gap

_EXAMPLE = (
    '{"name": "base", "foreign": 240, "num_foreign": 400, "fresh": 225, "num_fresh": 400}, and "student": true in '
    "the student's."
)


class ForeignCounts(ForeignScores):
    """One model's row of the file.

    Attributes:
        student: The model in question; the others are its references.
    """

    name: str = Field(min_length=1, max_length=200)
    student: bool = Field(default=False, strict=True)


def _refuse(path: Path, message: str, hint: str = "") -> RecipeError:
    return RecipeError(f"{path}: {message}.", hint=hint or f"Write rows like {_EXAMPLE}")


def _rows(path: Path) -> list[Any]:
    """The rows of a list, or of lines."""
    data = read_file(path)
    try:
        if data.lstrip().startswith(b"["):
            rows: list[Any] = parse_json(data, path.name)
            return rows
        return [parse_json(line, path.name) for line in data.splitlines() if line.strip()]
    except SourceError as error:
        raise _refuse(path, f"neither a JSON list nor one JSON object a line ({error})") from error


def read_foreign(path: Path) -> list[ForeignCounts]:
    """Read the rows, the student's first.

    Raises:
        SourceError: The file cannot be read.
        RecipeError: A row is wrong, a name is doubled, or there is not exactly one student.
    """
    found = []
    for number, row in enumerate(_rows(path), start=1):
        try:
            found.append(ForeignCounts.model_validate(row, strict=True))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise _refuse(path, f"row {number}: {where + ': ' if where else ''}{first['msg']}") from error
    doubled = [name for name, count in Counter(row.name for row in found).items() if count > 1]
    if doubled:
        raise _refuse(path, f'"{doubled[0]}" has several rows', "Give each model one row.")
    students = sum(row.student for row in found)
    if students != 1:
        raise _refuse(path, f"{students} rows say that they are the student's", 'Write "student": true in exactly one.')
    if len(found) < 3:
        raise _refuse(
            path,
            f"{len(found) - 1} reference models cannot show how far models differ",
            "Give at least two reference models that did not study the benchmark, better eight.",
        )
    return sorted(found, key=lambda row: not row.student)


def foreign_test(rows: list[ForeignCounts]) -> ForeignTest:
    """Hold the student, the first row, against the references, all others.

    Raises:
        NumericalError: The references do not differ at all.
    """
    return foreign_gap(rows[0], rows[1:])


def foreign_lines(rows: list[ForeignCounts], test: ForeignTest) -> list[str]:
    """Table, finding and what could have been found, for a terminal."""
    width = max(len(one_line(row.name)) for row in rows)
    lines = [f"{'':{width}s}  {'foreign':>8s}  {'fresh':>8s}  {'gap':>7s}"]
    for row in rows:
        share = (row.foreign / row.num_foreign, row.fresh / row.num_fresh)
        what = "student" if row.student else "reference"
        lines.append(f"{one_line(row.name):{width}s}  {share[0]:8.1%}  {share[1]:8.1%}  {100 * row.gap:+7.1f}  {what}")
    lines.append(test.statement)
    lines.append(
        "Even a full leak could go unnoticed."
        if test.smallest_leak is None
        else f"Smallest leak that would be found with 80 % power: {test.smallest_leak:.0%} of the unsolved problems."
    )
    lines.append(
        "It stands on references that did not study the benchmark and differ from the student no more than from each "
        "other: that is the word of whoever wrote the file."
    )
    return lines
