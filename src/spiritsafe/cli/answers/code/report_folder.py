"""The folder that a command writes to: what earlier calls left in it, and what this one puts there.

In: ``report.json`` and the files that it tells of. Out: which files of code are as they were when they were done; and
files in their places, such that wherever a process is killed, the next one knows what it finds:

1. ``report.json`` is told what a file will be, beside what it is until then.
2. The file is put in its place.
3. ``report.json`` forgets what the file was.

So a file of which it does not tell, or not as it is, is somebody else's, and stays unless it may be replaced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from os.path import lexists, relpath
from pathlib import Path
from typing import Any, Generic, TypeVar, final

from spiritsafe import __version__, assist
from spiritsafe.core.canonical import JSON, digest_bytes
from spiritsafe.core.errors import RecipeError, SpiritsafeError
from spiritsafe.core.files.atomic import read_json, storage_errors, write_json, write_text
from spiritsafe.core.files.reading import read_bytes

REPORT = "report.json"
_Report = TypeVar("_Report", bound=assist.CodeReport)


@final
class ReportFolder(Generic[_Report]):
    """A folder with reports of one kind, each on a file of code and with a file of its own beside it.

    Args:
        folder: Where; it may be missing.
        kind: Of the reports.
        command: Which writes them.
        overwrite: Files that are not as earlier calls left them may be replaced.

    Raises:
        RecipeError: Its ``report.json`` is of another kind.
    """

    def __init__(self, folder: Path, kind: type[_Report], command: str, *, overwrite: bool) -> None:
        self._folder, self._kind, self._command, self._overwrite = folder, kind, command, overwrite
        self._reports = self._read()

    def _read(self) -> dict[str, _Report]:
        path = self._folder / REPORT
        if not lexists(path):
            return {}
        try:
            value = read_json(path)
            if value["command"] != self._command:
                raise ValueError
            reports = {_origin(one).key: one for one in map(self._kind.from_json, value["files"])}
            if any(_origin(one).file == REPORT for one in reports.values()):
                raise ValueError
            return reports
        except (SpiritsafeError, LookupError, TypeError, ValueError):
            if self._overwrite:
                return {}
            raise RecipeError(
                f"{path} is not a report of `spiritsafe {self._command}`, or not of this version.",
                hint="Nothing was done. Give another --out, or add --overwrite to replace it.",
            ) from None

    def names(self, wanted: Sequence[tuple[Path, str]]) -> list[str]:
        """Names for the files of some code: those that they had before, others with a folder's name or a number.

        Args:
            wanted: Of each file of code, its path and the name that it would like.
        """
        taken = {one.file for one in map(_origin, self._reports.values())}
        plain = [name for _, name in wanted]
        names: list[str] = []
        for path, name in wanted:
            known = self._reports.get(self._key(path))
            before = _origin(known).file if known is not None else ""
            names.append(before or next(new for new in _names(path, name, plain) if new not in taken))
            taken.add(names[-1])
        return names

    def name_of(self, path: Path) -> str | None:
        """The name of the file that was written for some code; None: there is none."""
        known = self._reports.get(self._key(path))
        return _origin(known).file if known is not None and _origin(known).digest else None

    def refuse_to_replace(self, wanted: Mapping[Path, str]) -> None:
        """Keep what somebody else wrote, unless it may be replaced.

        Args:
            wanted: Of each file of code, the name of its file.

        Raises:
            RecipeError: A file is there and is not as it was left.
        """
        foreign = [self._folder / name for path, name in wanted.items() if not self._is_own(path, name)]
        if folders := [path for path in foreign if path.is_dir()]:
            raise RecipeError(
                f"{folders[0]} is a folder.", hint="Nothing was done. Move it away, or give another --out."
            )
        if foreign and not self._overwrite:
            more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
            raise RecipeError(
                f"{foreign[0]}{more} is there already, and not as `spiritsafe {self._command}` left it.",
                hint="Nothing was done. Give another --out, or add --overwrite to replace it.",
            )

    def earlier(self, path: Path, inputs: Mapping[str, JSON]) -> _Report | None:
        """The report on some code for which there is nothing to do: the same went in, and its file is as it was left.

        A question that failed may be answered when it is asked again, so there is something to do then.
        """
        known = self._reports.get(self._key(path))
        if known is None or known.trouble is not None or known.cost.unanswered:
            return None
        origin = _origin(known)
        if origin.inputs != inputs or self._digest(origin.file) != origin.digest:
            return None
        return self._settled(known) if origin.before else known

    def put(self, path: Path, name: str, inputs: Mapping[str, JSON], report: _Report, text: str) -> _Report:
        """Write a report and its file; what is there of an earlier one goes.

        Args:
            path: Of the code.
            name: Of the file.
            inputs: What went in.
            report: On the code.
            text: The file; "": there is none.

        Returns:
            The report as it was written.
        """
        before = self._digest(name) if self._is_own(path, name) else ""
        origin = assist.ReportOrigin(
            key=self._key(path),
            inputs=dict(inputs),
            file=name,
            digest=digest_bytes(text.encode("utf-8")) if text else "",
            before=before,
        )
        self._write(report.model_copy(update={"origin": origin}))  # 1
        file = self._folder / name
        if text:
            write_text(file, text)  # 2
        elif before:
            with storage_errors(file):
                file.unlink()  # 2
        return self._settled(report.model_copy(update={"origin": origin}))

    def _settled(self, report: _Report) -> _Report:
        """A report whose file is in its place."""
        told = report.model_copy(update={"origin": _origin(report).model_copy(update={"before": ""})})
        self._write(told)  # 3
        return told

    def put_trouble(self, path: Path, name: str, report: _Report) -> _Report:
        """Write a report on code that could not be run; what earlier calls wrote for it stays."""
        known = self._reports.get(self._key(path))
        origin = assist.ReportOrigin(key=self._key(path), inputs={}, file=name)
        if known is not None:
            origin = _origin(known).model_copy(update={"inputs": {}})
        told = report.model_copy(update={"origin": origin})
        self._write(told)
        return told

    def _write(self, report: _Report) -> None:
        self._reports[_origin(report).key] = report
        files = [self._reports[key].to_json() for key in sorted(self._reports)]
        write_json(self._folder / REPORT, {"spiritsafe": __version__, "command": self._command, "files": files})

    def _key(self, path: Path) -> str:
        return Path(relpath(path.resolve(), self._folder.resolve())).as_posix()

    def _is_own(self, path: Path, name: str) -> bool:
        """Whether a file is missing, or as it was left for this code."""
        known = self._reports.get(self._key(path))
        known_digests = ("",) if known is None else ("", _origin(known).digest, _origin(known).before)
        return self._digest(name) in known_digests

    def _digest(self, name: str) -> str:
        """Of a file's bytes; "": there is none."""
        path = self._folder / name
        if not name or not lexists(path):
            return ""
        try:
            return digest_bytes(read_bytes(path))
        except SpiritsafeError:  # a folder, a pipe: whatever it is, nobody left it here
            return "unreadable"


def _origin(report: assist.CodeReport) -> assist.ReportOrigin:
    """Of a report that was written down.

    Raises:
        ValueError: It has none.
    """
    if report.origin is None:
        raise ValueError("the report does not say what it was made from")
    return report.origin


def _names(path: Path, name: str, plain: Sequence[str]) -> Iterator[str]:
    """Names that a file may have, the best first."""
    if plain.count(name) == 1:
        yield name
    suffix = Path(name).suffix
    stem = f"{name.removesuffix(suffix)}_{path.parent.name}".removesuffix("_")
    for number in count(1):
        yield f"{stem}{'' if number == 1 else f'_{number}'}{suffix}"


def subject_inputs(subject: assist.Subject, **more: Any) -> dict[str, JSON]:
    """What the work on a file hangs on: its text, what it needs, this version of spiritsafe, and what else is said."""
    source = digest_bytes(subject.source.encode("utf-8"))
    return {"spiritsafe": __version__, "source": source, "needs": subject.needs(), **more}
