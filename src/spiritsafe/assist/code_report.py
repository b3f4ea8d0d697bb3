"""What reports on files of code have in common, and what they were made from.

In: nothing. Out: :class:`CodeReport`, on which the records in ``report.json`` are built. Where the same went in, the
same need not be asked again; where a file is not as it was written, somebody else has worked on it.
"""

from __future__ import annotations

from typing import Annotated, final

from pydantic import AfterValidator, JsonValue

from spiritsafe.assist.asker import AskingCost
from spiritsafe.core.records import Record


def _plain_name(text: str) -> str:
    """Whoever made the report may have written anything, and a file of this name is replaced."""
    if text in (".", "..") or any(char in text for char in "/\\\0"):
        raise ValueError("this is no name of a file in a folder")
    return text


_Name = Annotated[str, AfterValidator(_plain_name)]


@final
class FileTrouble(Record):
    """Why nothing can be said of a file.

    Attributes:
        reason: A sentence.
        hint: What its owner can do.
    """

    reason: str
    hint: str


@final
class ReportOrigin(Record):
    """What a report was made from, and the file that was written with it.

    Attributes:
        key: The file of code, as seen from the folder of the report.
        inputs: All that what was written hangs on, as far as it is known.
        file: The name of the file that was written, or would have been.
        digest: Of that file; "": there is none.
        before: Of the one that it replaces, until it is replaced; "": none.
    """

    key: str
    inputs: dict[str, JsonValue]
    file: _Name
    digest: str = ""
    before: str = ""


class CodeReport(Record):
    """What became of one file of code.

    Attributes:
        path: The file.
        language: Its language.
        source_digest: Of its text; "": it has none.
        tests_file: The file with the tests; "": there are none.
        model: The model's name.
        model_digest: See :class:`~spiritsafe.core.generator.GeneratorInfo`.
        sandbox: What held all runs; "": nothing was run.
        cost: Of all questions.
        seconds: From the first question to the last run.
        trouble: Why it could not be run at all, so that nothing was asked; None: it could.
        origin: What it was made from; None: nobody wrote it down.
    """

    path: str
    language: str
    source_digest: str
    tests_file: str = ""
    model: str
    model_digest: str
    sandbox: str = ""
    cost: AskingCost = AskingCost()
    seconds: float = 0.0
    trouble: FileTrouble | None = None
    origin: ReportOrigin | None = None
