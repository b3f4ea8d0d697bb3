"""What a chat template is told beside the messages: the day it takes for today, and options of its own.

In: a recipe's ``date`` and ``template_kwargs``, or the file that a saved model carries. Out: a frozen record. The clock
is never asked: what a model reads must be the same tomorrow, elsewhere and in a re-run.
"""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Any, final

from pydantic import AfterValidator, BeforeValidator, Field, JsonValue, ValidationError

from spiritsafe.core.errors import SourceError
from spiritsafe.core.files.atomic import read_json, write_json
from spiritsafe.core.records import Record

CHAT_OPTIONS = "chat_options.json"
"""Lies beside the tokenizer's files of a model whose options are not the defaults."""

DEFAULT_DATE = "2024-07-26"
"""What a template that prints today's date prints where nobody chose a date: the day that Llama-3's templates take
where there is no clock. A constant, so that a run repeated on another day is the same run."""


def _text_of(value: object) -> object:
    """A date of TOML is the day that it looks like."""
    return value.isoformat() if type(value) is datetime.date else value


def _checked(text: str) -> str:
    try:
        if datetime.date.fromisoformat(text).isoformat() == text:
            return text
    except ValueError:
        pass
    raise ValueError("write the date as year-month-day: 2024-07-26")


Day = Annotated[str, BeforeValidator(_text_of), AfterValidator(_checked)]
"""A day as ``2024-07-26``."""


THINKING_SWITCHES = ("enable_thinking", "thinking")
"""What templates call the option that lets a model think or not: Qwen3, SmolLM3, GLM; DeepSeek, Granite."""


@final
class ChatOptions(Record):
    """What a chat template is told.

    Attributes:
        date: The day that it takes for today, as ``2024-07-26``.
        template_kwargs: Its own options, such as ``enable_thinking`` or ``reasoning_effort``.
    """

    date: Day = DEFAULT_DATE
    template_kwargs: dict[str, JsonValue] = Field(default_factory=dict)

    @property
    def day(self) -> datetime.date:
        """The date."""
        return datetime.date.fromisoformat(self.date)

    @classmethod
    def of_directory(cls, directory: Path) -> ChatOptions:
        """What a model directory carries; the defaults where it carries nothing.

        Raises:
            SourceError: The file is no such record.
        """
        path = directory / CHAT_OPTIONS
        if not path.is_file():
            return cls()
        try:
            return cls.model_validate(read_json(path))
        except ValidationError as error:
            raise SourceError(
                f"{path} is not understood: {error.errors()[0]['msg']}.",
                hint="Delete it to use the template's defaults, or fetch the model again.",
            ) from error

    def write(self, directory: Path) -> None:
        """Leave them in a model directory, unless they are the defaults.

        Raises:
            StorageError: It cannot be written.
        """
        if self != ChatOptions():
            content: dict[str, Any] = self.to_json()
            write_json(directory / CHAT_OPTIONS, content)
