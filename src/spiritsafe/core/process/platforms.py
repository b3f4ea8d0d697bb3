"""What computed the numbers in a folder: a resume elsewhere is refused or said, never silent.

In: a :class:`Platform`, plain data that whoever computes gives of itself. Out: ``platforms.json`` beside the files that
a killed run goes on from (the platforms that made them, in order), and a warning when another one goes on. Sums are
taken in another order by other processors, other numbers of threads and other versions of torch, so figures may differ
in their last bits; another number format is another computation, and is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import final

from pydantic import Field

from spiritsafe.core.errors import CompatibilityError, IntegrityError
from spiritsafe.core.events import EventSink
from spiritsafe.core.files.atomic import read_json, write_json
from spiritsafe.core.records import Record

PLATFORMS_FILE = "platforms.json"
_UNKNOWN = "a processor that was not recorded"
_MOST = 200
"""Characters: another program may have written them, and people read them in one line."""


@final
class Platform(Record):
    """What decides the last bits of a computation besides its inputs.

    Attributes:
        device: "cpu", or the accelerator's name.
        processor: Model of the CPU; empty where an accelerator computes.
        instructions: The instruction set that torch uses of it, and what narrows it.
        threads: That torch adds up with; 0 where an accelerator computes.
        compute_dtype: The number format that was chosen; empty where none decides.
    """

    device: str = Field(max_length=_MOST)
    processor: str = Field(default="", max_length=_MOST)
    instructions: str = Field(default="", max_length=_MOST)
    threads: int = Field(default=0, ge=0)
    torch: str = Field(max_length=_MOST)
    compute_dtype: str = Field(default="", max_length=_MOST)

    def text(self) -> str:
        """For people, in one line."""
        threads = f"{self.threads} thread{'' if self.threads == 1 else 's'}" if self.threads else ""
        name = self.processor or self.device
        parts = (name, self.instructions, threads, f"torch {self.torch}", self.compute_dtype)
        return ", ".join(part for part in parts if part)


Platforms = tuple[Platform | None, ...]
"""Those that worked on the same thing, in order; None: an earlier version did, and recorded nothing."""


def continued(known: Sequence[Platform | None], now: Platform) -> Platforms:
    """``known`` with ``now`` at its end, unless it stands there already."""
    return tuple(known) if known and known[-1] == now else (*known, now)


def in_a_row(parts: Iterable[Sequence[Platform | None]]) -> Platforms:
    """The platforms of several things that were made one after the other, without repetitions beside each other."""
    row: Platforms = ()
    for one in (one for part in parts for one in part):
        row = row if one in row[-1:] else (*row, one)
    return row


def other_text(known: Sequence[Platform | None], now: Platform, *, what: str, has_setting: bool = False) -> str | None:
    """What to say when ``now`` goes on with what others began; None when it is the same, or the first.

    Args:
        known: Who worked on it before.
        now: Who goes on.
        what: Names it.
        has_setting: Whether a recipe's ``compute_dtype`` decides the number format.

    Raises:
        CompatibilityError: The number format is another one.
    """
    if not known or all(one == now for one in known):
        return None
    formats = [one.compute_dtype for one in known if one is not None and one.compute_dtype]
    if formats and now.compute_dtype and formats[-1] != now.compute_dtype:
        begun = next(one for one in reversed(known) if one is not None and one.compute_dtype)
        raise CompatibilityError(
            f"{what} was begun in {formats[-1]} ({begun.text()}); here it would go on in {now.compute_dtype} "
            f"({now.text()}), which is another computation.",
            hint=_hint(formats[-1], has_setting=has_setting),
        )
    begun_on = _UNKNOWN if known[0] is None else known[0].text()
    return (
        f"{what} was begun on {begun_on} and goes on on {now.text()}: figures may differ in their last bits from those "
        "of a run on one of them."
    )


def _hint(wanted: str, *, has_setting: bool) -> str:
    wish = "on" if wanted == "bfloat16" else "off"
    lasting = (
        f' Set compute_dtype = "{wanted}" in the recipe to have every processor follow it; a changed recipe begins a '
        "run of its own."
        if has_setting
        else " Or begin in another directory."
    )
    return f"On a CPU, SPIRITSAFE_BF16={wish} in the environment computes in {wanted} and goes on with this.{lasting}"


def read_platforms(directory: Path) -> Platforms:
    """Those that worked in a folder; none where it says nothing.

    Raises:
        SourceError: The file cannot be read.
        IntegrityError: It is damaged.
    """
    path = directory / PLATFORMS_FILE
    if not path.exists():
        return ()
    held = read_json(path)
    if not isinstance(held, list):
        raise IntegrityError(
            f"{path} is no list of platforms.", hint="Restore it, or delete it: who began is unknown then."
        )
    return tuple(None if one is None else Platform.from_json(one) for one in held)


def continue_in(
    directory: Path, now: Platform, *, what: str, is_begun: bool, events: EventSink | None = None
) -> Platforms:
    """Record that a platform works in a folder from now on, and say so when another one began there.

    Args:
        now: Who works in it.
        what: What lies there, for people.
        is_begun: Whether something lies there to go on from.

    Returns:
        All that worked there, ``now`` the last.

    Raises:
        CompatibilityError: What lies there was begun in another number format.
    """
    known = read_platforms(directory) or (None,) if is_begun else ()
    text = other_text(known, now, what=what)
    platforms = continued(known, now)
    if platforms != known:
        write_json(directory / PLATFORMS_FILE, [None if one is None else one.to_json() for one in platforms])
        if text is not None and events is not None:
            events.metrics("warning", {"message": text})
    return platforms
