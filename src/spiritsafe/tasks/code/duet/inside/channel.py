"""Messages over a socket: JSON behind its length.

In: a socket to the other side, which may say anything. Out: messages; silence and nonsense end the talk.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

_MOST_BYTES = 16 << 20


class ChannelLost(Exception):
    """The other side ended, or says nonsense."""


def say(channel: socket.socket, message: Any) -> None:
    """Send a message.

    Raises:
        ChannelLost: Nobody takes it.
    """
    data = json.dumps(message).encode("ascii")
    try:
        channel.sendall(struct.pack("<I", len(data)) + data)
    except OSError as error:
        raise ChannelLost(str(error)) from None


def hear(channel: socket.socket) -> Any:
    """Receive one.

    Raises:
        ChannelLost: There is none.
    """
    (size,) = struct.unpack("<I", _exactly(channel, 4))
    if size > _MOST_BYTES:
        raise ChannelLost("a message is too long")
    try:
        return json.loads(_exactly(channel, size))
    except (ValueError, RecursionError):
        raise ChannelLost("a message makes no sense") from None


def _exactly(channel: socket.socket, size: int) -> bytes:
    parts = []
    while size:
        try:
            part = channel.recv(min(size, 1 << 16))
        except OSError as error:
            raise ChannelLost(str(error)) from None
        if not part:
            raise ChannelLost("the other side ended")
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
