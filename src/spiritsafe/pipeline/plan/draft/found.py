"""What is found in somebody's data and said of their models, as far as it decides what a first recipe looks like.

In: a path, the name of a hub set or a task; a server's URL or a reference to a model. Out: facts. What cannot be
reached is a note and not an error: a recipe can be written for it all the same, and ``plan`` will tell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal, final

from spiritsafe.core.errors import CompatibilityError, EndpointError, SourceError, SpiritsafeError, TaskError
from spiritsafe.core.files.tables import ENDINGS
from spiritsafe.core.records import Problem
from spiritsafe.models import ChatFormat, SourceConfig, require_same_vocabulary, source_config
from spiritsafe.rollouts import served_models
from spiritsafe.tasks import Split, Task, build_task, data_spec

_LOOKED_AT = 200
_CHARACTERS = 3
"""Of a token at least, where no tokenizer is here."""
_ENDLESS = 1000
"""Problems that are taken of a task that makes them without end."""
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")

PLACEHOLDER = "NAME-OF-THE-MODEL"


@final
@dataclass(frozen=True, kw_only=True)
class FoundData:
    """Somebody's data.

    Attributes:
        name: For its table.
        key: The line of the table that says where it is.
        spec: The task that it comes to.
        about: What it is, in a few words.
        verifies: Whether answers can be graded.
        sizes: Distinct problems of each split; None: without end.
        has_solutions: Whether most rows have an answer to learn from.
        longest: Of the rows that were looked at, those with the longest prompt and the longest answer.
    """

    name: str
    key: str
    spec: str
    about: str
    verifies: bool
    sizes: dict[Split, int] | None
    has_solutions: bool
    longest: tuple[Problem, ...]

    def prompt_tokens(self, chat: ChatFormat | None) -> int:
        """Of the longest prompt, about."""
        return max((_num_prompt_tokens(one, chat) for one in self.longest), default=0)

    def answer_tokens(self, chat: ChatFormat | None) -> int:
        """Of the longest answer, about; 0: there are none."""
        return max((_num_answer_tokens(one, chat) for one in self.longest), default=0)

    def characters_per_token(self, chat: ChatFormat | None) -> float:
        """Of what the rows say, about."""
        texts = [message.content for one in self.longest for message in one.messages]
        texts += [one.solution for one in self.longest if one.solution is not None]
        if chat is None or not any(texts):
            return float(_CHARACTERS)
        return sum(map(len, texts)) / sum(len(chat.text_ids(text)) for text in texts)


def find_data(given: str) -> FoundData:
    """Look at data.

    Args:
        given: A file, a folder or a pattern; ``org/name`` of a hub set; or a task.

    Raises:
        TaskError: It is none of these, its rows are of no known form, or too few.
        SourceError: A file cannot be read.
    """
    key, spec = _place(given)
    task = _task(given, spec)
    sizes = task.sizes() if task.finite else None
    count = _LOOKED_AT if sizes is None else min(_LOOKED_AT, sizes["train"])
    rows = list(islice(task.problems("train", seed=0, count=count), count))
    if sizes is None:
        key += f"\nproblems = {_ENDLESS}"
    solved = [row for row in rows if row.solution is not None]
    return FoundData(
        name=_table_name(given),
        key=key,
        spec=spec,
        about=_about(task, sizes, len(solved) / len(rows) if rows else 0.0),
        verifies=task.verifies,
        sizes=sizes,
        has_solutions=2 * len(solved) > len(rows),
        longest=_longest(rows),
    )


def toml_text(text: str) -> str:
    """A text as TOML writes it; JSON's escapes are TOML's."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _place(given: str) -> tuple[str, str]:
    """The key of the table that says where data are, and the task that they come to."""
    quoted = toml_text(given)
    if Path(given).exists() or given.endswith(ENDINGS) or any(sign in given for sign in "*["):
        return f"files = [{quoted}]", data_spec((given,))
    if _HUB_NAME.fullmatch(given):
        return f"hub = {quoted}", data_spec((), given)
    return f"task = {quoted}", given


def _task(given: str, spec: str) -> Task:
    try:
        return build_task(spec)
    except TaskError as error:
        if ":" in given or spec != given:
            raise
        raise SourceError(
            f"{given} is no file, no folder and no task.",
            hint="Give a file of rows, a folder of such, org/name of a Hugging Face data set, or a task "
            "(spiritsafe tasks list).",
        ) from error


def _about(task: Task, sizes: dict[Split, int] | None, share_solved: float) -> str:
    format = task.about().get("format", "")
    parts = [f"rows as {format}"] if format else []
    parts.append("problems without end" if sizes is None else f"{sum(sizes.values()):,} distinct prompts")
    what = "a worked solution" if task.verifies else "an answer"
    parts.append(
        {0.0: f"none with {what}", 1.0: f"all with {what}"}.get(share_solved, f"{share_solved:.0%} with {what}")
    )
    return ", ".join([*parts, "graded by a verifier" if task.verifies else "no verifier"])


def _longest(rows: Sequence[Problem]) -> tuple[Problem, ...]:
    if not rows:
        return ()
    by_prompt = max(rows, key=lambda row: sum(len(message.content) for message in row.messages))
    return (by_prompt, max(rows, key=lambda row: len(row.solution or "")))


def _num_prompt_tokens(problem: Problem, chat: ChatFormat | None) -> int:
    guess = sum(len(message.content) for message in problem.messages) // _CHARACTERS
    if chat is None:
        return guess
    try:
        return len(chat.prompt_ids(problem.messages))
    except CompatibilityError:  # a template that takes no such turns: the plan tells
        return guess


def _num_answer_tokens(problem: Problem, chat: ChatFormat | None) -> int:
    if problem.solution is None:
        return 0
    guess = len(problem.solution) // _CHARACTERS
    if chat is None:
        return guess
    try:
        return len(chat.completion_ids(problem.solution)) + 1
    except CompatibilityError:
        return guess


def _table_name(given: str) -> str:
    """A name for the table: of the file, of the task."""
    stem = given.partition("?")[0].rstrip("/").rpartition("/")[2].rpartition(":")[2].partition(".")[0].lower()
    name = re.sub(r"[^a-z0-9_-]+", "-", stem).strip("-_")
    return name if name and name not in _TAKEN and not name.startswith(_PREFIXES) else f"my-{name or 'data'}"


_TAKEN = frozenset({"teacher", "base", "student", "answers", "held-out", "check", "seal", "exam", "report"})
_PREFIXES = ("before-", "after-", "seal-", "exam-")


@final
@dataclass(frozen=True, kw_only=True)
class FoundModel:
    """A model that somebody named.

    Attributes:
        reference: As they did.
        kind: Served by an endpoint, or here.
        model: The endpoint's name of it.
        config: What is known of one that is here.
        chat: Its tokenizer, if it is here.
        notes: For the recipe: what was found, what was not.
    """

    reference: str
    kind: Literal["served", "local"]
    model: str = ""
    config: SourceConfig | None = None
    chat: ChatFormat | None = None
    notes: tuple[str, ...] = field(default=())


def find_model(reference: str, *, cache: Path, model: str | None = None, api_key_env: str | None = None) -> FoundModel:
    """Look at a model.

    Args:
        reference: A server's URL, or any reference to a model.
        cache: Where small files go.
        model: A server's name of it; None: it is asked.
        api_key_env: Variable with the server's key.

    Raises:
        RecipeError: The URL is none, or the variable is not set.
        StorageError: The cache cannot be written.
    """
    if not re.match(r"https?://", reference):
        return _find_local(reference, cache)
    if model is not None:
        return FoundModel(reference=reference, kind="served", model=model)
    try:
        names = served_models(reference, api_key_env=api_key_env)
    except EndpointError as error:
        note = f"{error.message.rstrip('.')}. Put the server's name of the model here:"
        return FoundModel(reference=reference, kind="served", model=PLACEHOLDER, notes=(note,))
    others = f"It serves {', '.join(names[1:6])} as well." if names[1:] else ""
    return FoundModel(reference=reference, kind="served", model=names[0], notes=(others,) if others else ())


def _find_local(reference: str, cache: Path) -> FoundModel:
    try:
        config = source_config(reference, cache=cache)
    except SpiritsafeError as error:
        return FoundModel(reference=reference, kind="local", notes=(f"not looked at: {error.message.rstrip('.')}",))
    note = f"{config.num_parameters / 1e6:,.1f} M parameters, {config.license}"
    if config.download_bytes:
        note += f", {config.download_bytes / 1e9:.1f} GB to fetch"
    try:
        chat = config.chat_format()
    except SpiritsafeError as error:
        return FoundModel(reference=reference, kind="local", config=config, notes=(note, error.message.rstrip(".")))
    return FoundModel(reference=reference, kind="local", config=config, chat=chat, notes=(note,))


def share_vocabulary(teacher: FoundModel, student: FoundModel) -> bool:
    """Whether two models are known to have the same tokens."""
    if teacher.chat is None or student.chat is None:
        return False
    try:
        require_same_vocabulary(teacher.chat, student.chat)
    except CompatibilityError:
        return False
    return True
