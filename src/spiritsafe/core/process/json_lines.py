"""JSON lines between processes: fast, and able to carry every text that Python can hold.

Half a character (a lone surrogate, as JSON that was cut within an emoji reads) is no Unicode, and the fast library
refuses it. It must reach the other end all the same, where somebody can say which field it stands in.
"""

from __future__ import annotations

import json
from typing import Any

import orjson


def to_line(value: Any) -> bytes:
    """One line of JSON, with its end."""
    try:
        return orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    except TypeError:
        return json.dumps(value, allow_nan=False).encode("ascii") + b"\n"


def from_line(line: bytes) -> Any:
    """The value of a line.

    Raises:
        ValueError: It is no JSON.
    """
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        try:
            return json.loads(line)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
