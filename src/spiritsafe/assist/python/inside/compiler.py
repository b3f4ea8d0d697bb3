"""The side that has the programs; descriptor 3 leads to the side of the tests.

In: on standard input, as JSON, texts of a module, the first of which is the original, and the order of their turns.
Out: for each turn, to the other side, the module as compiled code or why it does not compile. The other side sees no
text.
"""

from __future__ import annotations

import ast
import base64
import io
import json
import marshal
import socket
import sys
import warnings
from typing import Any

from spiritsafe.tasks.code.duet.inside.channel import ChannelLost, hear, say

_NO_PROGRAM = (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError)


def compiled_like(source: str, original: str, path: str) -> bytes:
    """A program's code, whose lines have the numbers that they have in the original, as far as they are in both.

    Raises:
        SyntaxError: It is not Python; likewise the other errors of the compiler.
    """
    lines, wanted = (list(io.StringIO(text, newline=None)) for text in (source, original))
    shift = len(wanted) - len(lines)
    if not shift:
        return marshal.dumps(compile(source, path, "exec", dont_inherit=True))
    tree, num_same = ast.parse(source, path), 0
    while num_same < min(len(lines), len(wanted)) and lines[-1 - num_same] == wanted[-1 - num_same]:
        num_same += 1
    for node in ast.walk(tree):
        for field in {"lineno", "end_lineno"} & {*node._attributes}:
            if getattr(node, field) > len(lines) - num_same:
                setattr(node, field, getattr(node, field) + shift)
    return marshal.dumps(compile(tree, path, "exec", dont_inherit=True))


def _message(source: str, original: str, path: str) -> dict[str, Any]:
    try:
        code = compiled_like(source, original, path)
    except _NO_PROGRAM as error:
        return {"lost": f"{type(error).__name__}: {error}"[:300]}
    return {"code": base64.b64encode(code).decode("ascii")}


def main() -> None:
    """Compile each program when its turn comes near."""
    job = json.loads(sys.stdin.buffer.read())
    warnings.simplefilter("ignore")  # what the compiler thinks of a program's style
    programs, original = job["programs"], job["programs"][0]
    channel = socket.socket(fileno=3)
    try:
        path = f"{hear(channel)['root']}/{job['place']}"
        first = _message(original, original, path)
        for number in job["order"]:
            say(channel, first if number == 0 else _message(programs[number], original, path))
    except ChannelLost:  # the other side has ended, and says why
        return
    channel.shutdown(socket.SHUT_WR)
    channel.recv(1)  # until the other side has had its turns: where one of two runs ends, the other may be ended
