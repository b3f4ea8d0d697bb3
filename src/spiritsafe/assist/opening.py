"""Files of code that are opened one after the other: in a folder, one that cannot be opened does not end the others.

In: files, and what opens one. Out: what was opened, and of the other files why not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, final

from spiritsafe.assist.code_report import FileTrouble
from spiritsafe.core.errors import SourceError, TaskError

_Item = TypeVar("_Item")
_Opened = TypeVar("_Opened")


@final
@dataclass(frozen=True, slots=True)
class UnusableFile:
    """A file that is no subject.

    Attributes:
        path: The file.
        language: Its language.
        trouble: Why not.
    """

    path: Path
    language: str
    trouble: FileTrouble


@final
class Opening:
    """Opens the files of a folder, or the one file that was named.

    Args:
        path: The folder or file.
        language: Of the files.

    Attributes:
        unusable: Files of the folder that could not be opened.
    """

    def __init__(self, path: Path, language: str) -> None:
        self._is_folder, self._language = path.is_dir(), language
        self.unusable: list[UnusableFile] = []

    def each(
        self, items: Iterable[_Item], path_of: Callable[[_Item], Path], work: Callable[[_Item], _Opened]
    ) -> list[_Opened]:
        """What is made of each.

        Raises:
            TaskError: The one file cannot be used; likewise :class:`SourceError`.
        """
        opened: list[_Opened] = []
        for item in items:
            try:
                opened.append(work(item))
            except (TaskError, SourceError) as error:
                if not self._is_folder:
                    raise
                trouble = FileTrouble(reason=error.message, hint=error.hint)
                self.unusable.append(UnusableFile(path_of(item), self._language, trouble))
        return opened
