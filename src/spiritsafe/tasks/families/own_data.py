"""The spec of data that somebody brings: which family it is for, found by its first rows.

In: files or folders, or a set of the Hugging Face hub; what their user says of them. Out: a task spec. Questions
are for ``math:`` only where their answers end in something short that it can grade; everything that is written as
instruction, chat or completion is for ``chat:``, whatever its replies look like.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spiritsafe.core.errors import SourceError, TaskError
from spiritsafe.tasks.answers.claims import read_value
from spiritsafe.tasks.answers.extract import marked_spans
from spiritsafe.tasks.answers.formulas import one_formula
from spiritsafe.tasks.answers.numerals import tidy
from spiritsafe.tasks.data.locations import location_of
from spiritsafe.tasks.data.source import DataSource, is_hub_name, is_set
from spiritsafe.tasks.families.chat.layouts import (
    CHAT_FORMATS,
    Fields,
    find_layout,
    has_choices,
    questions_with_answers,
)
from spiritsafe.tasks.spec import canonical_name, nearest

_LOOKED_AT = 200
_GRADABLE_SHARE = 0.9
_MAX_FORMULA = 60
_CHOICE = "choice"
_RENAMED = ("question", "answer", "solution", "choices", "messages", "system", "tools", "input")
_OF_QUESTIONS = {"question", "answer", "solution"}


def data_spec(
    files: Sequence[Path | str] = (),
    hub: str | None = None,
    *,
    format: str | None = None,
    fields: Mapping[str, str] = {},
    config: str | None = None,
    split: str | None = None,
    revision: str | None = None,
    dedupe: bool = True,
) -> str:
    """The task spec of somebody's data.

    Args:
        files: Files of rows, folders of such, or patterns (``data/*.parquet``): all of them are read.
        hub: ``org/name`` of a set of the Hugging Face hub instead, or a folder that is laid out like one.
        format: Of the rows: one of ``chat:``'s, or "choice"; found by their fields when left out.
        fields: Which field holds what: ``{"question": "prompt", "answer": "reply"}``.
        config: Configuration of a set; the only or default one when left out.
        split: Split of a set; "train", or the only one, when left out.
        revision: Branch, tag or commit of a set of the hub; the default branch when left out.
        dedupe: Keep one reply to each prompt, the first. Where answers are graded, it is always so.

    Raises:
        TaskError: Rows are of no format that is known, or what was said of them does not fit.
        SourceError: The data cannot be read.
    """
    if bool(files) == (hub is not None):
        raise TaskError("Data are either files or a Hugging Face data set.", hint="Give files=… or hub=…, one of them.")
    chosen = {"config": config or "", "split": split or "", "revision": revision or ""}
    if hub is None and (useless := [what for what, name in chosen.items() if name]):
        raise TaskError(
            f"Files have no {' and no '.join(useless)}.",
            hint="Name the files that are meant; or give the set as hub=….",
        )
    formats = (*CHAT_FORMATS, _CHOICE)
    if format and format not in formats:
        raise TaskError(
            f'There is no format "{format}".', hint=f"{nearest(format, formats)}Formats: {', '.join(formats)}."
        )
    for what in fields:
        if what not in _RENAMED:
            raise TaskError(
                f'No format has a field called "{what}".',
                hint=f"{nearest(what, _RENAMED)}Name some of: {', '.join(_RENAMED)}.",
            )
    if hub is not None and not is_set(hub):
        raise TaskError(
            f'"{hub}" is no name of a Hugging Face data set, and no folder.',
            hint="Write org/name; or name files and folders as files.",
        )
    location = hub if hub is not None else location_of(files)
    if hub is None and is_hub_name(location):
        raise SourceError(
            f"There is no file {location}.",
            hint="Check the path; a Hugging Face data set is named as hub, not as file.",
        )
    rows = DataSource(location, **chosen).heads(_LOOKED_AT)
    if not rows:
        raise TaskError(
            f"{location} holds no rows.",
            hint='Write one JSON object a line, such as {"messages": […]}; or CSV with a line of names, or Parquet.',
        )
    family, knobs = _family(Fields(rows), rows, format, fields, location)
    if family == "chat":
        knobs = {**knobs, "format": format or "", **({} if dedupe else {"dedupe": False})}
    spec = canonical_name(family, location, {**knobs, **chosen})
    return f"{spec[:-1]}%20" if spec.endswith(" ") else spec  # blanks around a spec are not part of it


def _family(
    fields: Fields, rows: Sequence[Mapping[str, Any]], format: str | None, given: Mapping[str, str], where: str
) -> tuple[str, dict[str, Any]]:
    """The family, and the knobs that name its fields."""
    named = {what: name for what, name in given.items() if name}
    if format == _CHOICE or (format is None and ("choices" in named or (has_choices(fields) and _is_plain(fields)))):
        return "choice", _choice_fields(fields, named, where)
    has_turns = format is None and any(fields.has_turns(name) for name in fields.values)
    if format in (None, "question-answer") and not has_turns and not named.keys() - _OF_QUESTIONS:
        found = _questions(fields, rows, named)
        if found is not None:
            return "math", found
    find_layout(fields, {**named, "format": format or ""}, where)
    if lost := named.keys() & {"choices", "solution"}:
        raise TaskError(
            f"These rows are conversations, which have no {' and no '.join(sorted(lost))}.",
            hint="Leave that field out, or give the format of questions that can be graded.",
        )
    return "chat", dict(named)


def _is_plain(fields: Fields) -> bool:
    """Whether rows ask in one text."""
    return bool(fields.find("question", "problem", "prompt")) and not fields.has_turns(fields.find("messages"))


def _choice_fields(fields: Fields, named: Mapping[str, str], where: str) -> dict[str, Any]:
    found = {
        "question": named.get("question") or fields.find("question", "problem", "prompt"),
        "choices": named.get("choices") or fields.find("choices", "options"),
        "answer": named.get("answer") or fields.find("answer", "answerkey", "label", "answer_index"),
    }
    if missing := [what for what, name in found.items() if name not in fields.values]:
        raise TaskError(
            f"{where} has no {' and no '.join(missing)} for multiple choice: its rows have {fields.listed}.",
            hint=f"Name the fields: {', '.join(f'{what}=…' for what in missing)}.",
        )
    return {what: name for what, name in found.items() if name != what}


def _questions(fields: Fields, rows: Sequence[Mapping[str, Any]], named: Mapping[str, str]) -> dict[str, Any] | None:
    """The fields of questions whose answers can be graded as values; None: they cannot."""
    by_name = questions_with_answers(fields)
    question = named.get("question") or (by_name[0] if by_name else "")
    answer = named.get("answer") or (by_name[1] if by_name else "")
    if question not in fields.values or answer not in fields.values:
        return None
    answers = [row[answer] for row in rows if row.get(answer) is not None]
    if not answers or sum(map(_is_gradable, answers)) < _GRADABLE_SHARE * len(rows):
        return None
    solution = named.get("solution") or fields.find("solution")
    if solution and solution != answer:
        return _other_names({"question": question, "answer": answer, "solution": solution})
    return _other_names({"question": question, "answer": answer})


def _other_names(found: Mapping[str, str]) -> dict[str, Any]:
    return {what: name for what, name in found.items() if name != what or what == "solution"}


def _is_gradable(answer: Any) -> bool:
    """Whether an answer is, or is marked to end in, a number or a short formula."""
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        return False
    text = str(answer).strip()
    marked = next((span.strip() for _, span in marked_spans(text)), None)
    gold = text if marked is None else marked
    if not gold or len(gold) > _MAX_FORMULA or "\n" in gold:
        return False
    if marked is not None or read_value(tidy(gold)) is not None:
        return True
    has_mathematics = re.search(r"[0-9\\^=+*/]", gold) is not None
    return has_mathematics and one_formula(gold, gold)[0] is not None
