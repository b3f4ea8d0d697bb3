"""Numbers as people read them.

In: shares, differences, bytes, counts, seconds. Out: text with units, a true minus sign and no-break spaces. Whatever
is a score comes as an :class:`Estimate` and is written with its interval or as one of the two halves of a table cell.
"""

from __future__ import annotations

import io
import math
from datetime import UTC, datetime

from rich.console import Console
from rich.table import Table
from rich.text import Text

from spiritsafe.stats import Estimate

_NBSP = "\u00a0"
_MINUS = "\u2212"


def _fixed(value: float, digits: int) -> str:
    """Decimal text with a true minus; never "−0.0"."""
    text = f"{value:.{digits}f}"
    if float(text) == 0.0:
        text = text.removeprefix("-")
    return text.replace("-", _MINUS)


def _signed(value: float, digits: int) -> str:
    text = _fixed(value, digits)
    return text if text.startswith(_MINUS) or float(text) == 0.0 else f"+{text}"


def score_value(score: Estimate, digits: int = 1) -> str:
    """``57.5 %``: the first line of a cell whose second line is :func:`score_range`."""
    return f"{_fixed(100 * score.value, digits)}{_NBSP}%"


def score_range(score: Estimate, digits: int = 1) -> str:
    """``50.9–63.9 %``."""
    low, high = _fixed(100 * score.low, digits), _fixed(100 * score.high, digits)
    dash = " to " if low.startswith(_MINUS) or high.startswith(_MINUS) else "–"
    return f"{low}{dash}{high}{_NBSP}%"


def score_text(score: Estimate, digits: int = 1) -> str:
    """``57.5 % (50.9–63.9 %)``."""
    return f"{score_value(score, digits)} ({score_range(score, digits)})"


def change_value(change: Estimate, digits: int = 1) -> str:
    """``+55.0``, in points."""
    return _signed(100 * change.value, digits)


def change_range(change: Estimate, digits: int = 1) -> str:
    """``+48.1 to +61.6``, in points."""
    return f"{_signed(100 * change.low, digits)} to {_signed(100 * change.high, digits)}"


def change_text(change: Estimate, digits: int = 1) -> str:
    """``+55.0 points (+48.1 to +61.6)``."""
    return f"{change_value(change, digits)}{_NBSP}points ({change_range(change, digits)})"


def nats_value(loss: Estimate) -> str:
    """``1.234``."""
    return _fixed(loss.value, 3)


def nats_range(loss: Estimate) -> str:
    """``1.201 to 1.266``."""
    return f"{_fixed(loss.low, 3)} to {_fixed(loss.high, 3)}"


def nats_change_value(change: Estimate) -> str:
    """``−0.312``."""
    return _signed(change.value, 3)


def nats_change_range(change: Estimate) -> str:
    """``−0.350 to −0.274``."""
    return f"{_signed(change.low, 3)} to {_signed(change.high, 3)}"


def share_text(part: float, whole: float) -> str:
    """``79 %``; one decimal below ten."""
    share = 100 * part / whole
    return f"{_fixed(share, 0 if share >= 10 else 1)}{_NBSP}%"


def _scaled(value: float, units: tuple[str, ...]) -> str:
    """Three significant digits and the unit of its thousand."""
    power = 0
    while power + 1 < len(units) and float(f"{value:.3g}") >= 1000:
        value, power = value / 1000, power + 1
    digits = max(0, 2 - math.floor(math.log10(float(f"{value:.3g}")))) if power else 0
    return f"{value:.{digits}f}{_NBSP}{units[power]}".rstrip(_NBSP)


def memory_text(num_bytes: float) -> str:
    """``212 MB``: decimal units, as disks are sold."""
    return _scaled(num_bytes, ("B", "kB", "MB", "GB", "TB", "PB"))


def scaled_count(number: float) -> str:
    """``134 M``, ``320 k``."""
    return _scaled(number, ("", "k", "M", "B", "T"))


def tick_count(number: float) -> str:
    """``50 k``: as :func:`scaled_count`, without trailing zeros, for axes."""
    text, _, unit = scaled_count(number).partition(_NBSP)
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{text}{_NBSP}{unit}" if unit else text


def count_text(number: int) -> str:
    """``80 000``: exact, in groups of three."""
    return f"{number:,}".replace(",", "\u202f") if number >= 10_000 else str(number)


def speed_text(tokens_per_s: float) -> str:
    """``283``, ``4.7``, ``115 k``."""
    return f"{tokens_per_s:.1f}" if tokens_per_s < 10 else scaled_count(tokens_per_s)


def time_text(seconds: float) -> str:
    """``8.3 s``, ``4 min 12 s``, ``2 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f}{_NBSP}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}{_NBSP}s"
    if whole < 3600:
        return f"{whole // 60}{_NBSP}min {whole % 60:02d}{_NBSP}s"
    minutes = round(seconds / 60)
    return f"{minutes // 60}{_NBSP}h {minutes % 60:02d}{_NBSP}min"


def work_text(operations: float) -> str:
    """``3.20 TFLOP``."""
    return _scaled(operations, tuple(f"{prefix}FLOP" for prefix in ("", "k", "M", "G", "T", "P", "E")))


def date_text(moment: datetime) -> str:
    """``23 November 2025, 22:45 UTC``."""
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


WIDTH = 100


def printed(content: Text | Table) -> str:
    """As a terminal of this width shows it: wide characters count double, long words are folded."""
    console = Console(file=io.StringIO(), width=WIDTH, no_color=True, force_terminal=False, legacy_windows=False)
    with console.capture() as captured:
        console.print(content, overflow="fold")
    return "\n".join(line.rstrip() for line in captured.get().splitlines())
